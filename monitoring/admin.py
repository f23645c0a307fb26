"""Drift reports in the admin: the verdict first, then what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from access.figures import NONE, figure, p_value, share
from access.staff import ReadOnlyAdmin, Table
from monitoring.models import DriftReport, Verdict


@admin.register(DriftReport)
class DriftReportAdmin(ReadOnlyAdmin):
    page_template = "drift_report.html"
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

    def page_context(self, request: HttpRequest, obj: DriftReport) -> dict[str, Any]:
        return {
            "title": f"Drift report {obj.pk}",
            "report": obj,
            "findings": [finding["sentence"] for finding in obj.report["findings"]],
            "checks": checks_table(obj),
            "segments": segments_table(obj),
            "facts": [
                ("Version", obj.version),
                ("Reference", f"{obj.n_reference:,} customers, at training"),
                ("Current", f"{obj.n_current:,}: {obj.get_source_display().lower()}"),
                ("Family-wise error", figure(obj.threshold)),
                ("Checked", f"{obj.created_at:%d %b %Y %H:%M} by {obj.created_by}"),
                ("Mail", obj.mail_error or obj.mailed_at or "none was sent"),
            ],
        }


def checks_table(report: DriftReport) -> Table:
    """Every check, what was found first, then by the size of its effect."""
    checks = sorted(
        report.report["checks"], key=lambda check: (not check["drifted"], -abs(check["effect"]))
    )
    return Table(
        ["Feature", "Check", "Verdict", "Effect", "Floor", "Adjusted p", "PSI", "Shift in sd"],
        [
            (
                _subject(check),
                check["check"],
                "drift" if check["drifted"] else "ok",
                _signed(check["effect"]),
                share(check["floor"]),
                p_value(check["p_adjusted"]),
                figure(check["shown"]["psi"]),
                figure(check["shown"]["median_shift_sd"]),
            )
            for check in checks
        ],
        numbers_from=3,
        empty="Nothing was compared.",
    )


def _subject(check: Mapping[str, Any]) -> str:
    pair = f" × {check['other']}" if check["other"] else ""
    return f"{check['feature'] or 'segments'}{pair}"


def segments_table(report: DriftReport) -> Table:
    return Table(
        ["Segment", "Share at training", "Share now", "Change"],
        [
            (
                _segment_name(shift),
                share(shift["reference_share"]),
                share(shift["current_share"]),
                _signed(shift["current_share"] - shift["reference_share"]),
            )
            for shift in report.report["segments"]
        ],
        numbers_from=1,
    )


def _segment_name(shift: Mapping[str, Any]) -> str:
    return shift["segment_name"] or "no segment (noise)"


def _signed(effect: float | None) -> str:
    return NONE if effect is None else f"{effect:+.1%}"
