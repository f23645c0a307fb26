"""One drift report as a person reads it: the verdict, what changed, and every check behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.safestring import SafeString

from access.charts import Chart, bars
from access.figures import NONE, figure, p_value, share
from access.staff import Table
from monitoring.alert_page import MOMENT, STYLES, badge, link, shown_state
from monitoring.models import Alert, DriftReport, Verdict

VERDICT_STYLES = {
    Verdict.OK: "good",
    Verdict.WARNING: "warn",
    Verdict.DRIFT: "bad",
    Verdict.INSUFFICIENT_DATA: "info",
}
N_CHARTS = 4
"""Findings that get a card with a chart, the surest first; the others are listed."""
MAX_LISTED = 40
MAX_BARS = 12


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding in words and, of the strongest, as a chart."""

    sentence: str
    words: str
    chart: Chart | None


def context(report: DriftReport, *, has_input: bool, sees: Mapping[str, bool]) -> dict[str, Any]:
    found = report.report["findings"]
    told, others = found[:N_CHARTS], found[N_CHARTS:]
    point = report.quality.select_related("version").first() if sees["quality"] else None
    return {
        "title": f"Drift report {report.pk}",
        "report": report,
        "style": VERDICT_STYLES[Verdict(report.verdict)],
        "findings": [finding(report, check) for check in told],
        "others": [check["sentence"] for check in others[:MAX_LISTED]],
        "n_more": max(0, len(others) - MAX_LISTED),
        "checks": checks_table(report),
        "segments": segments_table(report),
        "segments_chart": segments_chart(report),
        "inside": inside_table(report),
        "facts": facts(report, version_link=sees["version"]),
        "point": point,
        "alerts": alerts_table(report.alerts.all()) if sees["alerts"] else None,
        "has_input": has_input,
    }


def finding(report: DriftReport, check: Mapping[str, Any]) -> Finding:
    words = (
        f"Effect {_signed(check['effect'])} ({check['effect_name']}; from {share(check['floor'])} "
        f"it counts), adjusted p {p_value(check['p_adjusted'])}."
    )
    return Finding(check["sentence"], words, finding_chart(report, check))


def finding_chart(report: DriftReport, check: Mapping[str, Any]) -> Chart | None:
    """Shares of customers by cell of the feature; None where the report keeps none of it.

    That of the segments stands further down, and a pair has none.
    """
    tables = {table["feature"]: table for table in report.report.get("tables", ())}
    table = tables.get(check["feature"])
    if table is None or check["other"]:
        return None
    return bars(
        table["labels"],
        {
            "at training": [_percent(value) for value in table["before"]],
            "now": [_percent(value) for value in table["now"]],
        },
        unit="% of customers",
        words=f"{table['feature']}: share of customers by value, at training and now",
    )


def _percent(value: float) -> float:
    return round(100 * value, 2)


def facts(report: DriftReport, *, version_link: bool) -> list[tuple[str, Any]]:
    compared, seen = figure(report.n_current), figure(report.n_seen)
    sample = "" if report.n_seen <= report.n_current else f", a fair sample of {seen}"
    source = report.get_source_display().lower()
    return [
        ("Version", _version(report, with_link=version_link)),
        ("Compared", f"{compared} customers{sample}: {source}"),
        ("Window", _window(report)),
        ("Reference", f"{report.n_reference:,} customers, at training"),
        ("Smallest visible change", _visible(report)),
        ("Warns at", f"a family-wise error of {figure(report.threshold)}"),
        ("Alarms at", _alarm(report)),
        ("Checked", f"{report.created_at:{MOMENT}} by {report.created_by}"),
    ]


def _version(report: DriftReport, *, with_link: bool) -> SafeString | str:
    if not with_link:
        return str(report.version)
    return link("modelregistry_modelversion", report.version_id, report.version)


def _window(report: DriftReport) -> str:
    if report.since is None:
        return "whatever was sent"
    return f"{report.since:{MOMENT}} to {report.created_at:{MOMENT}}"


def _visible(report: DriftReport) -> str:
    shift = report.report.get("smallest_visible_shift_sd")
    if shift is None:
        return NONE
    return f"a shift of {shift:.2f} standard deviations, seen four times in five"


def _alarm(report: DriftReport) -> str:
    level, repeated = (report.report.get(f"{each}_threshold") for each in ("alarm", "repeat"))
    if level is None:
        return NONE
    return f"{figure(level)}, or twice running at {figure(repeated)}"


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
                check["check"].replace("_", " "),
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
        empty="No customer was compared.",
    )


def segments_chart(report: DriftReport) -> Chart | None:
    shifts = sorted(report.report["segments"], key=lambda shift: -shift["reference_share"])
    if not shifts:
        return None
    shown = shifts[:MAX_BARS]
    return bars(
        [_segment_name(shift) for shift in shown],
        {
            "at training": [_percent(shift["reference_share"]) for shift in shown],
            "now": [_percent(shift["current_share"]) for shift in shown],
        },
        unit="% of customers",
        words="Share of each segment at training and now; the table below has the figures",
    )


def inside_table(report: DriftReport) -> Table:
    """Which features changed among the customers of one segment; they describe, never decide."""
    return Table(
        ["Segment", "Feature", "In words", "Effect", "Adjusted p", "Customers now"],
        [
            (
                _segment_name(shift),
                shift["feature"],
                shift["sentence"],
                _signed(shift["effect"]),
                p_value(shift["p_adjusted"]),
                figure(shift["n_current"]),
            )
            for shift in report.report.get("inside", [])
        ],
        numbers_from=3,
        empty="No feature changed inside a segment.",
    )


def alerts_table(alerts: QuerySet[Alert] | Sequence[Alert]) -> Table:
    at = timezone.now()

    def cells(alert: Alert) -> tuple[Any, ...]:
        state = shown_state(alert, at=at)
        return (
            badge(state, STYLES[state]),
            link("monitoring_alert", alert.pk, alert.title),
            alert.get_kind_display(),
            f"{alert.raised_at:{MOMENT}}",
            f"{alert.last_seen_at:{MOMENT}}",
        )

    return Table(
        ["State", "Alert", "Kind", "Raised", "Last seen"],
        [cells(alert) for alert in alerts],
        empty="No alert was raised by this report.",
    )


def _segment_name(shift: Mapping[str, Any]) -> str:
    return shift["segment_name"] or "no segment (noise)"


def _signed(effect: float | None) -> str:
    return NONE if effect is None else f"{effect:+.1%}"
