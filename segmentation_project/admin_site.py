"""The admin site: a home page of what serves, and a password change that leaves its entry."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.sites import UnfoldAdminSite

from access.staff import actor_of
from audit import trail
from modelregistry.models import ActiveModel, TrainingJob
from monitoring import home_page
from monitoring.models import DriftReport
from segments.models import Assignment, Customer, VersionSegment

N_LATEST = 5


class SegmentationAdminSite(UnfoldAdminSite):
    index_title = "Overview"
    index_template = "admin/segmentation/home.html"

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        return super().index(request, {**home_context(request), **(extra_context or {})})

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        with transaction.atomic():
            response = super().password_change(request, extra_context)
            if request.method == "POST" and response.status_code == 302:
                name = request.user.get_username()
                trail.record("user.password_changed", by=actor_of(request), target=("user", name))
        return response


def home_context(request: HttpRequest) -> dict[str, Any]:
    """What the person may see; each figure is a query, and nothing is asked for in vain."""
    context: dict[str, Any] = home_page.context(request)
    if request.user.has_perm("modelregistry.view_modelversion"):
        context["models"] = [_model(pointer) for pointer in _pointers()]
    if request.user.has_perm("modelregistry.view_trainingjob"):
        jobs = TrainingJob.objects.select_related("version")
        context["jobs"] = jobs[:N_LATEST]
    if request.user.has_perm("monitoring.view_driftreport"):
        context["reports"] = DriftReport.objects.select_related("version")[:N_LATEST]
    if request.user.has_perm("segments.view_customer"):
        context["n_customers"] = Customer.objects.count()
        context["last_customer"] = Customer.objects.order_by("-updated_at").first()
    return context


def _pointers() -> Any:
    return ActiveModel.objects.select_related("active", "previous").order_by("-model_type")


def _model(pointer: ActiveModel) -> dict[str, Any]:
    version = pointer.active
    if version is None:
        return {"pointer": pointer}
    return {
        "pointer": pointer,
        "version": version,
        "activation": version.activations.order_by("-generation").first(),
        "n_segments": VersionSegment.objects.filter(version=version).count(),
        "n_assigned": Assignment.objects.filter(version=version).count(),
    }
