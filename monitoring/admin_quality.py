"""The quality of versions over time in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import display

from access.figures import figure, share
from access.staff import PAGES, ReadOnlyAdmin, require
from modelregistry.models import ActiveModel, ModelVersion
from monitoring import quality_page, serving_page
from monitoring.alert_page import MOMENT, cell, link
from monitoring.models import QualityPoint


@admin.register(QualityPoint)
class QualityPointAdmin(ReadOnlyAdmin):
    list_before_template = f"{PAGES}/quality_list.html"
    list_display = [
        "shown_at",
        "shown_level",
        "version",
        "in_words",
        "shown_silhouette",
        "noise",
        "customers",
    ]
    ordering = ["-measured_at", "-id"]
    list_filter = ["level", "version__model_type"]
    list_select_related = ["version"]
    search_fields = ["sentence"]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        require(request, "monitoring.view_qualitypoint")
        serving = ActiveModel.objects.filter(active__isnull=False).select_related("active")
        shown = {
            "never_measured": not QualityPoint.objects.exists(),
            "versions": [
                (each.active, version_url(each.active.pk)) for each in serving if each.active
            ],
        }
        return super().changelist_view(request, shown | (extra_context or {}))

    @display(description="measured", ordering="measured_at")
    def shown_at(self, point: QualityPoint) -> str:
        return f"{point.measured_at:{MOMENT}}"

    @display(description="in words", ordering="sentence")
    def in_words(self, point: QualityPoint) -> SafeString:
        return cell(point.sentence)

    @display(
        description="verdict",
        ordering="level",
        label={"ok": "success", "warning": "warning", "alarm": "danger", "unknown": "info"},
    )
    def shown_level(self, point: QualityPoint) -> str:
        return point.level

    @display(description="silhouette", ordering="silhouette")
    def shown_silhouette(self, point: QualityPoint) -> str:
        return figure(point.silhouette)

    @display(description="noise", ordering="noise_share")
    def noise(self, point: QualityPoint) -> str:
        return share(point.noise_share)

    @display(description="customers", ordering="n_customers")
    def customers(self, point: QualityPoint) -> str:
        return figure(point.n_customers)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.version_view)
        mine = [path("version/<int:pk>/", view, name="monitoring_qualitypoint_version")]
        return [*mine, *super().get_urls()]

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kw: Any) -> Any:
        """A point alone says little: its page is that of the version's whole series."""
        point = self.found(request, object_id)
        if point is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return HttpResponseRedirect(version_url(point.version_id))

    def version_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, "monitoring.view_qualitypoint")
        version = get_object_or_404(ModelVersion, pk=pk)
        may_see = request.user.has_perm
        return self.page(
            request,
            "quality.html",
            **quality_page.context(version),
            serving=serving_page.context(version, at=timezone.now())
            if may_see("monitoring.view_servinghour")
            else None,
            version_link=version_link(version)
            if may_see("modelregistry.view_modelversion")
            else str(version),
        )


def version_url(pk: int) -> str:
    return reverse("admin:monitoring_qualitypoint_version", args=[pk])


def version_link(version: ModelVersion) -> SafeString:
    return link("modelregistry_modelversion", version.pk, version)
