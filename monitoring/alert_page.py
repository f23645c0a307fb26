"""One alert as a person reads it: what is wrong, what to do, what happened, who was told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access.charts import Chart, bars
from access.figures import NONE, figure, share
from access.staff import Table
from monitoring.drift_alert_wording import SEGMENTS_TITLE
from monitoring.models import Alert, AlertEvent, AlertState, DeliveryState
from monitoring.report_tables_page import segments_note

MOMENT = "%d %b %Y %H:%M"
MAX_EVENTS = 200
"""Steps in the timeline, the latest; the others are counted."""
STYLES = {
    "firing": "bad",
    "pending": "warn",
    "acknowledged": "info",
    "silenced": "info",
    "resolved": "good",
}
MEANINGS = {
    "firing": "It was confirmed, and nobody has taken note of it yet.",
    "pending": "Seen, and not yet confirmed by enough checks in a row: nobody is told so far, and "
    "it goes by itself when it is not seen again.",
    "acknowledged": "It still fires; somebody looks after it, and no mail tells of it again.",
    "silenced": "It still fires; no mail tells of it until the silence ends by itself.",
    "resolved": "Good checks in a row, or a person, ended it.",
}
"""What each state means to staff."""
DELIVERY_STYLES = {
    DeliveryState.SENT: "good",
    DeliveryState.QUEUED: "info",
    DeliveryState.GIVEN_UP: "bad",
}


def shown_state(alert: Alert, *, at: datetime) -> str:
    """The state in one word, as far as staff are concerned: who took note of it need not look."""
    if alert.state != AlertState.FIRING:
        return str(alert.state)
    if is_silenced(alert, at=at):
        return "silenced"
    return "acknowledged" if alert.acknowledged_at else "firing"


def is_silenced(alert: Alert, *, at: datetime) -> bool:
    return alert.silenced_until is not None and alert.silenced_until > at


def handled(alert: Alert, *, at: datetime) -> str:
    """Who took note of it, and until when it is silent."""
    parts = []
    if alert.acknowledged_at:
        parts.append(f"acknowledged by {alert.acknowledged_by}")
    if alert.silenced_until is not None and is_silenced(alert, at=at):
        parts.append(f"silent until {alert.silenced_until:{MOMENT}}")
    return ", ".join(parts) or NONE


def context(alert: Alert, *, at: datetime, may_see_deliveries: bool) -> dict[str, Any]:
    state = shown_state(alert, at=at)
    events = list(alert.events.order_by("-at", "-id")[: MAX_EVENTS + 1])
    n_events = alert.events.count() if len(events) > MAX_EVENTS else len(events)
    return {
        "title": alert.title,
        "alert": alert,
        "state": state,
        "style": STYLES[state],
        "state_words": _state_words(alert, at=at),
        "facts": [(str(name), str(value)) for name, value in alert.facts],
        "chart": before_and_now(alert.chart),
        "chart_table": before_and_now_table(alert.chart),
        "chart_note": chart_note(alert),
        "events": events_table(events[:MAX_EVENTS]),
        "n_earlier": n_events - min(n_events, MAX_EVENTS),
        "deliveries": deliveries_table(alert) if may_see_deliveries else None,
        "about": about(alert),
    }


def _state_words(alert: Alert, *, at: datetime) -> str:
    seen = f"last seen {alert.last_seen_at:{MOMENT}}"
    if alert.state == AlertState.PENDING:
        return f"Not yet confirmed: {_checks(alert.n_bad)}, {seen}. Nobody is told before it fires."
    if alert.state == AlertState.RESOLVED:
        assert alert.resolved_at is not None
        why = f": {alert.resolution}" if alert.resolution else "."
        return f"Resolved {alert.resolved_at:{MOMENT}}{why}"
    by = handled(alert, at=at)
    taken = "" if by == NONE else f" {by[0].upper()}{by[1:]}."
    good = f" Good since: {_checks(alert.n_good)}." if alert.n_good else ""
    return f"Raised {alert.raised_at:{MOMENT}}, {seen}: {_checks(alert.n_bad)}.{good}{taken}"


def _checks(n: int) -> str:
    return "1 check" if n == 1 else f"{n:,} checks"


def about(alert: Alert) -> list[tuple[str, Any]]:
    """What it concerns, each with its value; nothing where there is nothing to say."""
    pairs: list[tuple[str, Any]] = [
        ("Kind", alert.get_kind_display()),
        ("Model", alert.get_model_type_display()),
        ("Version", str(alert.version) if alert.version else ""),
        ("About", ", ".join(map(str, alert.subjects))),
        ("Raised", _moment(alert.raised_at)),
        ("Fired", _moment(alert.fired_at)),
        ("Last seen", _moment(alert.last_seen_at)),
        ("Put in a digest", _moment(alert.notified_at)),
    ]
    return [(name, value) for name, value in pairs if value]


def _moment(moment: datetime | None) -> str:
    return f"{moment:{MOMENT}}" if moment else ""


def before_and_now(chart: Mapping[str, Any]) -> Chart | None:
    """The chart that a condition came with; None where it brought none."""
    if not chart.get("labels"):
        return None
    unit = str(chart.get("unit", ""))
    is_share = "share" in unit
    series = {
        name: [_drawn(value, is_share=is_share) for value in chart[key]]
        for name, key in (("before", "before"), ("now", "now"))
    }
    title = str(chart.get("title", ""))
    return bars(
        [str(label) for label in chart["labels"]],
        series,
        title=title,
        unit=f"% of {unit.removeprefix('share of ')}" if is_share else unit,
        words=f"{title}: before and now; the table below has the figures",
    )


def before_and_now_table(chart: Mapping[str, Any]) -> Table | None:
    """The twin of the chart."""
    if not chart.get("labels"):
        return None
    write = share if "share" in str(chart.get("unit", "")) else figure
    rows = zip(chart["labels"], chart["before"], chart["now"], strict=False)
    return Table(
        ["Value", "Before", "Now"],
        [(str(label), write(before), write(now)) for label, before, now in rows],
        numbers_from=1,
    )


def chart_note(alert: Alert) -> str:
    """Why a chart of segments has other shares than the sentences above it; empty where not."""
    if alert.report is None or alert.chart.get("title") != SEGMENTS_TITLE:
        return ""
    return segments_note(alert.report.report)


def _drawn(value: float | None, *, is_share: bool) -> float | None:
    return value if value is None or not is_share else round(100 * value, 2)


def events_table(events: list[AlertEvent]) -> Table:
    return Table(
        ["When", "What", "By", "Note"],
        [
            (f"{event.at:{MOMENT}}", event.get_kind_display(), event.by, event.note or NONE)
            for event in events
        ],
        empty="Nothing happened yet.",
    )


def deliveries_table(alert: Alert) -> Table:
    """The messages that told of it; one query."""
    rows = alert.notifications.defer("text", "html").order_by("-created_at", "-id")
    return Table(
        ["Message", "State", "Attempts", "Sent", "Last error"],
        [
            (
                link("monitoring_notification", row.pk, row.get_channel_display()),
                badge(row.get_state_display(), DELIVERY_STYLES[DeliveryState(row.state)]),
                row.n_attempts,
                _moment(row.sent_at) or NONE,
                row.error or NONE,
            )
            for row in rows
        ],
        empty="Nobody was told yet: it is not in any digest.",
    )


def link(name: str, pk: object, text: object) -> SafeString:
    return format_html('<a href="{}">{}</a>', reverse(f"admin:{name}_change", args=[pk]), text)


def cell(text: str) -> SafeString:
    """Text of any length in a list, broken where it must be."""
    return format_html('<span class="seg-cell">{}</span>', text)


def badge(text: str, style: str) -> SafeString:
    return format_html('<span class="seg-label seg-label-{}">{}</span>', style, text)
