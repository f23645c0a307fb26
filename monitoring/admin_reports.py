"""Drift reports in the admin: read, export, compute again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import URLPattern, path, reverse
from unfold.decorators import display

from access.figures import figure
from access.staff import PAGES, ReadOnlyAdmin, actor_of, require, submitted
from audit import trail
from modelregistry.artifacts import DamagedArtifact
from monitoring import drift_inputs, report_page
from monitoring.drift_inputs import NoInput
from monitoring.export import CHUNK, EXPORTS, HEADERS, record_export, safe_cell
from monitoring.models import DriftInput, DriftReport, Verdict
from monitoring.serializers import DriftReportSerializer

VIEW = "monitoring.view_driftreport"
REPORTS = EXPORTS["reports"]


@admin.register(DriftReport)
class DriftReportAdmin(ReadOnlyAdmin):
    page_template = "drift_report.html"
    list_before_template = f"{PAGES}/report_export.html"
    list_display = ["created_at", "version", "shown_verdict", "summary", "customers", "source"]
    list_filter = ["verdict", "model_type", "source"]
    list_select_related = ["version"]
    search_fields = ["summary", "created_by"]

    @display(
        description="verdict",
        ordering="verdict",
        label={
            Verdict.OK.label: "success",
            Verdict.DRIFT.label: "danger",
            Verdict.WARNING.label: "warning",
            Verdict.INSUFFICIENT_DATA.label: "info",
        },
    )
    def shown_verdict(self, report: DriftReport) -> str:
        return report.get_verdict_display()

    @display(description="customers", ordering="n_current")
    def customers(self, report: DriftReport) -> str:
        return figure(report.n_current)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup == "version__id__exact" or super().lookup_allowed(lookup, value, request)

    def page_context(self, request: HttpRequest, obj: DriftReport) -> dict[str, Any]:
        sees = {
            "alerts": request.user.has_perm("monitoring.view_alert"),
            "quality": request.user.has_perm("monitoring.view_qualitypoint"),
            "version": request.user.has_perm("modelregistry.view_modelversion"),
        }
        has_input = DriftInput.objects.filter(report=obj).exists()
        return report_page.context(obj, has_input=has_input, sees=sees)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        mine = [
            path("export/", view(self.export_view), name="monitoring_driftreport_export"),
            path(
                "<path:object_id>/json/", view(self.json_view), name="monitoring_driftreport_json"
            ),
            path(
                "<path:object_id>/again/",
                view(self.again_view),
                name="monitoring_driftreport_again",
            ),
        ]
        return [*mine, *super().get_urls()]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """The list as it is filtered, without its pages."""
        require(request, VIEW)
        reports = self.get_changelist_instance(request).get_queryset(request)
        record_export(("export", "reports"), reports.count(), by=actor_of(request))
        response = StreamingHttpResponse(csv_lines(reports), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="drift_reports.csv"'
        return response

    def json_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """One report as the API gives it."""
        report = self.found(request, object_id)
        if report is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        record_export(("drift_report", report.pk), 1, by=actor_of(request))
        name = f"drift_report_{report.pk}.json"
        return JsonResponse(
            DriftReportSerializer(report).data,
            json_dumps_params={"indent": 2},
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    def again_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make the report again from the customers that were kept, and say what came of it."""
        require(request, VIEW)
        report = self.found(request, object_id)
        if report is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        page = reverse("admin:monitoring_driftreport_change", args=[report.pk])
        form = forms.Form(submitted(request))
        if not form.is_valid():
            return self.page(
                request,
                "form.html",
                title=f"Compute drift report {report.pk} again",
                form=form,
                intro=["From the customers it compared, as they were. The report stays as it is."],
                button="Compute again",
                back=page,
                back_label="Back to the report",
            )
        self.compute_again(request, report)
        return HttpResponseRedirect(page)

    def compute_again(self, request: HttpRequest, report: DriftReport) -> None:
        try:
            outcome = drift_inputs.verify(report, directory=settings.MODEL_DIR)
        except (NoInput, DamagedArtifact) as error:
            messages.error(request, str(error))
            return
        with transaction.atomic():
            trail.record(
                "drift.computed_again",
                by=actor_of(request),
                target=("drift_report", report.pk),
                details={"is_same": outcome.is_same, "n_erased": outcome.n_erased},
            )
        show = messages.success if outcome.is_same else messages.warning
        show(request, outcome.sentence)


def csv_lines(reports: QuerySet[DriftReport]) -> Iterator[str]:
    """A header and a line a report, read from the database as they are sent."""
    yield csv_line([HEADERS.get(name, name) for name in REPORTS.columns])
    for row in reports.values_list(*REPORTS.columns).iterator(chunk_size=CHUNK):
        yield csv_line(map(safe_cell, row))


def csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
