"""The admin site: a home page of what serves; sessions and passwords that leave their entries."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from unfold.sites import UnfoldAdminSite

from access.staff import actor_of
from audit import trail
from audit.models import Outcome
from modelregistry.models import ActiveModel, TrainingJob
from monitoring import home_page
from monitoring.models import DriftReport
from segmentation_project.sign_in import SignInView
from segments.models import Assignment, Customer, VersionSegment

N_LATEST = 5


class SegmentationAdminSite(UnfoldAdminSite):
    index_title = "Overview"
    index_template = "admin/segmentation/home.html"

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        return super().index(request, {**home_context(request), **(extra_context or {})})

    @method_decorator(never_cache)
    @login_not_required
    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Django's page, whose view cannot be exchanged, with a view that records."""
        index = reverse("admin:index", current_app=self.name)
        if request.method == "GET" and self.has_permission(request):
            return HttpResponseRedirect(index)
        context = {
            **self.each_context(request),
            "title": "Log in",
            "subtitle": None,
            "app_path": request.get_full_path(),
            "username": request.user.get_username(),
            **(extra_context or {}),
        }
        if not {REDIRECT_FIELD_NAME} & {*request.GET, *request.POST}:
            context[REDIRECT_FIELD_NAME] = index
        request.current_app = self.name
        return SignInView.as_view(
            extra_context=context,
            authentication_form=self.login_form,
            template_name="admin/login.html",
        )(request)

    def logout(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        with transaction.atomic():
            if request.method == "POST":  # before the session goes, which says who it was
                name = request.user.get_username()
                trail.record("user.signed_out", by=actor_of(request), target=("user", name))
            return super().logout(request, extra_context)

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        with transaction.atomic():
            response = super().password_change(request, extra_context)
            if request.method == "POST":
                name = request.user.get_username()
                is_done = response.status_code == 302  # else the form is shown again
                trail.record(
                    "user.password_changed",
                    by=actor_of(request),
                    target=("user", name),
                    outcome=Outcome.SUCCEEDED if is_done else Outcome.REFUSED,
                )
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
