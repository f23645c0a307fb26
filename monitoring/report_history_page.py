"""The checks of one version as a series: their verdicts, and how much each found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from access.charts import Chart, line, lines
from access.figures import NONE, figure
from access.staff import Table
from monitoring.alert_page import MOMENT, badge, link
from monitoring.models import DriftReport, Verdict
from monitoring.report_features_page import effect_of, percent, says_most
from monitoring.report_tables_page import subject

MAX_CHECKS = 20
"""Checks in the series, the latest."""
VERDICT_STYLES = {
    Verdict.OK: "good",
    Verdict.WARNING: "warn",
    Verdict.DRIFT: "bad",
    Verdict.INSUFFICIENT_DATA: "info",
}
# Shape beside colour; the colours are those of Okabe and Ito, as in `access.charts`.
POINTS = {
    Verdict.OK: ("circle", "#009e73"),
    Verdict.WARNING: ("triangle", "#e69f00"),
    Verdict.DRIFT: ("rect", "#d55e00"),
    Verdict.INSUFFICIENT_DATA: ("crossRot", "#6b7280"),
}


@dataclass(frozen=True, slots=True)
class History:
    """The latest checks of a version; `has_earlier` says that there were others before."""

    chart: Chart | None
    table: Table
    has_earlier: bool


def history(version_id: int, *, current: int | None = None) -> History:
    """One query; of each report only its findings are read."""
    newest = list(
        DriftReport.objects.in_short()
        .filter(version=version_id)
        .order_by("-created_at", "-id")[: MAX_CHECKS + 1]
    )
    reports = newest[:MAX_CHECKS]
    return History(_chart(reports[::-1]), _table(reports, current), len(newest) > MAX_CHECKS)


def largest(findings: Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any] | None:
    """The finding with the largest effect, of each feature or pair the one that says most."""
    mains: dict[str, Mapping[str, Any]] = {}
    for finding in sorted(findings or (), key=says_most):
        mains.setdefault(subject(finding), finding)
    return max(mains.values(), key=lambda finding: abs(finding["effect"]), default=None)


def _effect(report: DriftReport) -> float | None:
    """Of the largest finding in pp, 0 where nothing counted; None where nothing could be judged."""
    if report.verdict == Verdict.INSUFFICIENT_DATA:
        return None
    found = largest(_findings(report))
    return percent(abs(found["effect"])) if found else 0.0


def _findings(report: DriftReport) -> Sequence[Mapping[str, Any]]:
    return getattr(report, "findings", None) or ()


def _chart(reports: Sequence[DriftReport]) -> Chart | None:
    """A point a check at its largest finding; None while there is nothing to see a course in."""
    if len(reports) < 2:
        return None
    points = [POINTS[Verdict(report.verdict)] for report in reports]
    # A check that could not judge stands on the ground: without a height it were not drawn.
    drawn = line("largest finding", [_effect(report) or 0.0 for report in reports])
    drawn |= {
        "borderColor": "#9ca3af",
        "borderWidth": 1,
        "pointStyle": [shape for shape, _ in points],
        "pointBackgroundColor": [colour for _, colour in points],
        "pointBorderColor": [colour for _, colour in points],
        "pointRadius": 6,
    }
    return lines(
        [f"{report.created_at:%d %b %H:%M}" for report in reports],
        [drawn],
        unit="largest finding, pp",
        note="Circle: no drift. Triangle: warning. Square: drift. Cross: too few customers. "
        "Of a pair: a hundred times the change of its correlation.",
        words="The largest finding of each check over time; the table below has the figures",
    )


def _table(reports: Sequence[DriftReport], current: int | None) -> Table:
    return Table(
        ["Check", "Verdict", "Findings", "Largest", "Effect", "Customers", "Source"],
        [_row(report, is_current=report.pk == current) for report in reports],
        empty="It was never checked.",
    )


def _row(report: DriftReport, *, is_current: bool) -> tuple[Any, ...]:
    found = largest(_findings(report))
    when = f"{report.created_at:{MOMENT}}"
    return (
        f"{when} (this one)" if is_current else link("monitoring_driftreport", report.pk, when),
        badge(report.get_verdict_display(), VERDICT_STYLES[Verdict(report.verdict)]),
        figure(len(_findings(report))),
        subject(found) if found else NONE,
        effect_of(found) if found else NONE,
        figure(report.n_current),
        report.get_source_display(),
    )
