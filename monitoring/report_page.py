"""One drift report as a person reads it: the verdict, what to do, what changed, every check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from django.utils.safestring import SafeString

from access.figures import NONE, figure
from access.staff import Table
from modelregistry.models import ActiveModel, ModelVersion
from monitoring import report_features_page, report_tables_page
from monitoring.alert_page import MOMENT, STYLES, badge, cell, link, shown_state
from monitoring.drift_alert_wording import SHIFTED, advice, in_order
from monitoring.drift_troubles import troubles_in
from monitoring.models import Alert, DriftReport, Verdict
from monitoring.report_alerts import alerts_of
from monitoring.report_history_page import VERDICT_STYLES, history

__all__ = ["VERDICT_STYLES", "alerts_table", "context", "next_version"]

MIN_CARDS, MAX_CARDS = 4, 8
"""Features that get a card with a chart: those that changed, but so many; the others get a line."""
N_LINES = 30
N_CHECKS = 20
"""Lines of the table of every check; the whole table has a page of its own."""
NOTHING_TO_DO = "Nothing to do: today's customers are like those of the training."
TOO_FEW = "Check again once more customers have come; until then nothing can be said."


def context(report: DriftReport, *, has_input: bool, sees: Mapping[str, bool]) -> dict[str, Any]:
    features = report_features_page.by_effect(report.report)
    checks = report_tables_page.whole(report.report)
    pairs, pairs_words = report_tables_page.pairs(checks)
    alerts = alerts_of(report) if sees["alerts"] else []
    n_drifted = sum(any(check["drifted"] for check in own) for own in features)
    n_cards = min(max(n_drifted, MIN_CARDS), MAX_CARDS)
    lines = features[n_cards : n_cards + N_LINES]
    return {
        "title": f"Drift report {report.pk}: {report.version}",
        "report": report,
        "style": VERDICT_STYLES[Verdict(report.verdict)],
        "to_do": to_do(report),
        "cards": report_features_page.cards(report.report, features[:n_cards]),
        "features": report_features_page.features_table(lines) if lines else None,
        "n_features": len(features),
        "n_drifted": n_drifted,
        "pairs": pairs,
        "pairs_words": pairs_words,
        "segment_checks": report_tables_page.segment_checks(checks),
        "segments": report_tables_page.segments_table(report.report),
        "segments_note": report_tables_page.segments_note(report.report),
        "segments_chart": report_tables_page.segments_chart(report.report),
        "inside": report_tables_page.inside_table(report.report),
        "checks": report_tables_page.checks_table(checks[:N_CHECKS]),
        "n_checks": len(checks),
        "facts": facts(report, version_link=sees["version"]),
        "point": report.quality.select_related("version").first() if sees["quality"] else None,
        "alerts": alerts_table(alerts) if sees["alerts"] else None,
        "open_alerts": [alert for alert in alerts if alert.resolved_at is None],
        "history": history(report.version_id, current=report.pk),
        "next": next_version(report) if sees["version"] else None,
        "has_input": has_input,
    }


def to_do(report: DriftReport) -> str:
    """What a person should do about the verdict."""
    if report.verdict == Verdict.INSUFFICIENT_DATA:
        return TOO_FEW
    if not report.report["findings"]:
        return NOTHING_TO_DO
    if "alarm_threshold" not in report.report:  # of a release that told no troubles apart
        return SHIFTED
    return advice(in_order(troubles_in(report.report)))


def next_version(report: DriftReport) -> tuple[ModelVersion, str] | None:
    """The version to compare with that of the report, and what it is; None where there is none."""
    pointer = ActiveModel.objects.select_related("active").filter(model_type=report.model_type)
    active = next((each.active for each in pointer), None)
    if active is not None and active.pk != report.version_id:
        return active, "serves now"
    newer = (
        ModelVersion.objects.trained()
        .filter(model_type=report.model_type, number__gt=report.version.number)
        .order_by("-number")
        .first()
    )
    return (newer, "was trained since") if newer else None


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


def alerts_table(alerts: list[Alert]) -> Table:
    at = timezone.now()

    def cells(alert: Alert) -> tuple[Any, ...]:
        state = shown_state(alert, at=at)
        return (
            badge(state, STYLES[state]),
            link("monitoring_alert", alert.pk, cell(alert.title)),
            alert.get_kind_display(),
            f"{alert.raised_at:{MOMENT}}",
            f"{alert.last_seen_at:{MOMENT}}",
        )

    return Table(
        ["State", "Alert", "Kind", "Raised", "Last seen"],
        [cells(alert) for alert in alerts],
        empty="No alert belongs to this report.",
    )
