"""Drift reports in the admin: read, export, compute again."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.paginator import Paginator
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
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import display

from access.figures import figure
from access.staff import PAGES, actor_of, require, submitted
from audit import trail
from modelregistry.artifacts import DamagedArtifact
from monitoring import drift_inputs, report_features_page, report_page, report_tables_page
from monitoring.admin_report_acts import HANDLE, TRAIN, ReportActs, page_of
from monitoring.alert_page import MOMENT, cell
from monitoring.drift_inputs import NoInput
from monitoring.export import CHUNK, EXPORTS, HEADERS, record_export, safe_cell
from monitoring.models import DriftInput, DriftReport, MonitoringPolicy, Verdict
from monitoring.policy_page import first_check_words, may_check, state_words
from monitoring.serializers import DriftReportSerializer

VIEW, RUN = "monitoring.view_driftreport", "monitoring.run_driftcheck"
REPORTS = EXPORTS["reports"]
N_CARDS, N_CHECKS = 12, 100
"""Features and checks on one page of their own."""


@admin.register(DriftReport)
class DriftReportAdmin(ReportActs):
    page_template = "drift_report.html"
    list_before_template = f"{PAGES}/report_export.html"
    list_display = ["shown_at", "shown_verdict", "version", "in_words", "customers", "source"]
    ordering = ["-created_at", "-id"]
    list_filter = ["verdict", "model_type", "source"]
    list_select_related = ["version"]
    search_fields = ["summary", "created_by"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[DriftReport]:
        """Without the figures, which are most of a report: the page of one reads its own."""
        return super().get_queryset(request).defer("report", "arguments")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        require(request, VIEW)
        policy = MonitoringPolicy.shown()
        shown = {
            "never_checked": not DriftReport.objects.exists(),
            "first_check_words": first_check_words(policy),
            "check_words": state_words(policy, at=timezone.now()),
            "may_check": may_check(request, policy),
        }
        return super().changelist_view(request, shown | (extra_context or {}))

    @display(description="checked", ordering="created_at")
    def shown_at(self, report: DriftReport) -> str:
        return f"{report.created_at:{MOMENT}}"

    @display(description="in words", ordering="summary")
    def in_words(self, report: DriftReport) -> SafeString:
        return cell(report.summary)

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
        shown = report_page.context(obj, has_input=has_input, sees=sees)
        may_handle = request.user.has_perms(HANDLE) and bool(shown["open_alerts"])
        return shown | {
            "may_silence": may_handle,
            "may_acknowledge": may_handle
            and any(alert.acknowledged_at is None for alert in shown["open_alerts"]),
            "may_retrain": request.user.has_perms(TRAIN),
            "may_compute": has_input and request.user.has_perm(RUN),
        }

    def get_urls(self) -> list[URLPattern]:
        export = path(
            "export/",
            self.admin_site.admin_view(self.export_view),
            name="monitoring_driftreport_export",
        )
        mine = self.object_urls(
            json=self.json_view,
            again=self.again_view,
            features=self.features_view,
            checks=self.checks_view,
            acknowledge=self.acknowledge_view,
            silence=self.silence_view,
            retrain=self.retrain_view,
        )
        return [export, *mine, *super().get_urls()]

    def features_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Every feature with its distributions, a few at a time."""
        return self.part(
            request,
            object_id,
            report_features_page.by_effect,
            N_CARDS,
            lambda report, shown: {"cards": report_features_page.cards(report.report, shown)},
            template="drift_features.html",
            what="features",
        )

    def checks_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.part(
            request,
            object_id,
            report_tables_page.whole,
            N_CHECKS,
            lambda report, shown: {"table": report_tables_page.checks_table(shown)},
            template="drift_checks.html",
            what="checks",
        )

    def part(
        self,
        request: HttpRequest,
        object_id: str,
        rows_of: Callable[[Any], list[Any]],
        at_once: int,
        shown_as: Callable[[DriftReport, Any], dict[str, Any]],
        *,
        template: str,
        what: str,
    ) -> HttpResponse:
        """One page of what a report has much of."""
        report = self.found(request, object_id)
        if report is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        rows = Paginator(rows_of(report.report), at_once).get_page(request.GET.get("page"))
        return self.page(
            request,
            template,
            title=f"All {what} of drift report {report.pk}",
            report=report,
            rows=rows,
            **shown_as(report, rows.object_list),
        )

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
        require(request, VIEW, RUN)
        report = self.found(request, object_id)
        if report is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        page = page_of(report)
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
