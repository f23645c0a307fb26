"""What a message says of alerts: a mail in text and HTML, and the JSON for machines.

Nothing in it is a customer's: alerts hold shares, counts and the names of features and segments.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.template.loader import render_to_string

from monitoring.models import Alert

MAX_SHOWN = 20
"""Alerts that a mail tells of in full; the others are counted."""
MAX_BARS = 12
MAX_LABEL = 32
MAX_SUBJECT = 150
TEXT_WIDTH = 76
BAR_WIDTH = 24
"""Characters of the longest bar of the text."""

HOW_TO_ANSWER = (
    "Acknowledge an alert on its page to say that somebody sees to it, or silence it until a "
    "moment you choose. Each alert is mailed once; no mail comes when it ends."
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One value of a chart; `width` is its part (0-1) of the longest."""

    value: str
    width: float

    @property
    def percent(self) -> int:
        """Of the width of the chart; what there is of a small value can be seen."""
        return math.ceil(100 * self.width)


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    before: Bar
    now: Bar


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    unit: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One alert as a mail shows it."""

    title: str
    summary: str
    advice: str
    facts: tuple[tuple[str, str], ...]
    chart: Chart | None
    url: str


def subject(alerts: Sequence[Alert]) -> str:
    """One line of printable characters."""
    titles = "; ".join(printable(alert.title) for alert in alerts[:MAX_SHOWN])
    return shortened(titles if len(alerts) == 1 else f"{len(alerts)} alerts: {titles}", MAX_SUBJECT)


def text(alerts: Sequence[Alert], *, at: datetime, base_url: str) -> str:
    lines = [as_of(at), ""]
    for section in sections(alerts, base_url=base_url):
        lines += [*text_section(section), "", "-" * TEXT_WIDTH, ""]
    if len(alerts) > MAX_SHOWN:
        lines += [f"{len(alerts) - MAX_SHOWN} more: {list_url(base_url)}", ""]
    return "\n".join([*lines, *wrapped(HOW_TO_ANSWER)])


def html(alerts: Sequence[Alert], *, at: datetime, base_url: str) -> str:
    """Tables and inline styles only, which every mail program shows; nothing is fetched."""
    context = {
        "subject": subject(alerts),
        "as_of": as_of(at),
        "sections": list(sections(alerts, base_url=base_url)),
        "n_more": max(0, len(alerts) - MAX_SHOWN),
        "list_url": list_url(base_url),
        "how_to_answer": HOW_TO_ANSWER,
    }
    return render_to_string("monitoring/digest.html", context)


def payload(alerts: Sequence[Alert], *, message_id: str, at: datetime, base_url: str) -> str:
    """The JSON that is posted, but for `sent_at`; `at` is when the alerts were so.

    Messages that wait are tried again each in its time: who keeps states goes by `created_at`.
    """
    content = {
        "type": "alerts",
        "id": message_id,
        "created_at": at,
        "alerts": [machine_readable(alert, base_url=base_url) for alert in alerts],
    }
    return json.dumps(content, cls=DjangoJSONEncoder, allow_nan=False)


def machine_readable(alert: Alert, *, base_url: str) -> dict[str, Any]:
    return {
        "id": alert.pk,
        "kind": alert.kind,
        "state": alert.state,
        "title": alert.title,
        "summary": alert.summary,
        "advice": alert.advice,
        "model_type": alert.model_type,
        "version": alert.version.number if alert.version else None,
        "subjects": alert.subjects,
        "facts": alert.facts,
        "raised_at": alert.raised_at,
        "fired_at": alert.fired_at,
        "resolved_at": alert.resolved_at,
        "url": alert_url(alert, base_url),
    }


def sections(alerts: Sequence[Alert], *, base_url: str) -> Iterator[Section]:
    for alert in alerts[:MAX_SHOWN]:
        yield Section(
            printable(alert.title),
            printable(alert.summary),
            printable(alert.advice),
            tuple((printable(name), printable(value)) for name, value in alert.facts),
            chart_of(alert.chart),
            alert_url(alert, base_url),
        )


def text_section(section: Section) -> Iterator[str]:
    yield from wrapped(section.title)
    yield "=" * min(TEXT_WIDTH, len(section.title))
    yield from ("", *wrapped(section.summary))
    if section.facts:
        yield ""
        for name, value in section.facts:
            yield from textwrap.wrap(f"- {name}: {value}", TEXT_WIDTH, subsequent_indent="  ")
    if section.chart:
        yield from ("", *text_chart(section.chart))
    yield from ("", "What to do:", *wrapped(section.advice), "", section.url)


def text_chart(chart: Chart) -> Iterator[str]:
    yield from wrapped(f"{chart.title} ({chart.unit})")
    for row in chart.rows:
        yield f"  {row.label}"
        for name, bar in (("before", row.before), ("now", row.now)):
            filled = "█" * math.ceil(bar.width * BAR_WIDTH)
            yield f"    {name:<6} {filled:<{BAR_WIDTH}} {bar.value:>9}"


def chart_of(stored: Mapping[str, Any]) -> Chart | None:
    """The bars of an alert's chart, the first few; none when there is nothing to draw."""
    rows = list(
        zip(
            stored.get("labels", ()),
            stored.get("before", ()),
            stored.get("now", ()),
            strict=False,
        )
    )[:MAX_BARS]
    values = [value for _, *pair in rows for value in pair if value is not None]
    longest = max(map(abs, values), default=0.0)
    if not longest:
        return None
    unit = printable(str(stored.get("unit", "")))

    def bar(value: float | None) -> Bar:
        if value is None:
            return Bar("none", 0.0)
        shown = f"{100 * value:.1f} %" if unit.startswith("share") else f"{value:,.4g}"
        return Bar(shown, abs(value) / longest)

    return Chart(
        printable(str(stored.get("title", ""))),
        unit,
        tuple(
            Row(shortened(printable(str(label)), MAX_LABEL), bar(before), bar(now))
            for label, before, now in rows
        ),
    )


def alert_url(alert: Alert, base_url: str) -> str:
    return f"{list_url(base_url)}{alert.pk}/change/"


def list_url(base_url: str) -> str:
    return f"{base_url.rstrip('/')}/admin/monitoring/alert/"


def as_of(at: datetime) -> str:
    return f"As of {at:%Y-%m-%d %H:%M} {at.tzname()}"


def printable(line: str) -> str:
    """One line without control characters: a name can neither add a header nor turn the text."""
    return " ".join("".join(c if c.isprintable() else " " for c in line).split())


def shortened(line: str, length: int) -> str:
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


def wrapped(paragraph: str) -> list[str]:
    return textwrap.wrap(paragraph, TEXT_WIDTH)
