"""What messages say of alerts, and that nothing in a name can break out of them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from monitoring import digest
from monitoring.models import Alert
from tests.monitoring.alert_rows import CHART, NOW, make_alert

URL = "https://segments.example.com"
PAYLOADS = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'; DROP TABLE customers; --",
    "{{ 7*7 }}{% include 'x' %}",
    "a\r\nBcc: everybody@example.com",
    "a\n\n<b>body</b>",
    "\u202etxt.exe",
    "a\u2028b\x85c\x0bd",
    "&lt;b&gt;",
    "=cmd|' /C calc'!A1",
]  # fmt: skip


class Tags(HTMLParser):
    """The tags and the targets of a page, and what it would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.open: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.links += [value or "" for name, value in attributes if name == "href"]
        self.fetched += [value or "" for name, value in attributes if name in ("src", "srcset")]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(*alerts: Alert) -> Tags:
    tags = Tags(digest.html(alerts, at=NOW, base_url=URL))
    assert tags.open == []
    return tags


def test_the_subject_of_one_alert_is_its_title_and_of_several_counts_them(db: None) -> None:
    alerts = [make_alert(), make_alert(title="Missing data"), make_alert(title="Other")]

    assert digest.subject(alerts[:1]) == "Drift: kmeans 3: monetary and 2 more"
    assert digest.subject(alerts) == (
        "3 alerts: Drift: kmeans 3: monetary and 2 more; Missing data; Other"
    )


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_name_stays_a_name(db: None, payload: str) -> None:
    chart = {**CHART, "title": payload, "unit": payload, "labels": [payload] * 3}
    alert = make_alert(
        title=payload, summary=payload, advice=payload, facts=[[payload, payload]], chart=chart
    )

    subject = digest.subject([alert])
    page = page_of(alert)
    text = digest.text([alert], at=NOW, base_url=URL)

    assert subject.isprintable() and len(subject) <= 300
    assert page.names <= {
        "html", "head", "meta", "title", "body", "table", "tr", "td", "h1", "p", "span", "strong",
        "a",
    }  # fmt: skip
    assert page.links == [f"{URL}/admin/monitoring/alert/{alert.pk}/change/"]
    assert page.fetched == []
    assert all(line.isprintable() for line in text.split("\n"))


def test_the_mail_says_what_is_wrong_what_to_do_and_where(db: None) -> None:
    alert = make_alert()

    text = digest.text([alert], at=NOW, base_url=URL)
    html = digest.html([alert], at=NOW, base_url=URL)

    for part in (text, html):
        assert "As of 2026-03-02 06:00 UTC" in part
        assert alert.title in part and alert.summary in part
        assert "Customers compared" in part and "1,240" in part
        assert "train again if it stays" in part
        assert f"{URL}/admin/monitoring/alert/{alert.pk}/change/" in part
        assert "Acknowledge" in part and "silence" in part


def test_bars_are_as_long_as_their_values(db: None) -> None:
    text = digest.text([make_alert()], at=NOW, base_url=URL)
    html = digest.html([make_alert()], at=NOW, base_url=URL)

    bars = re.findall(r"(before|now) +(█*) +([\d.]+) %", text)
    assert [(name, len(bar), value) for name, bar, value in bars] == [
        ("before", 24, "50.0"), ("now", 10, "20.0"),
        ("before", 15, "30.0"), ("now", 15, "30.0"),
        ("before", 10, "20.0"), ("now", 24, "50.0"),
    ]  # fmt: skip
    assert re.findall(r'<td width="(\d+)%" height="12" bgcolor', html) == [
        "100", "40", "60", "60", "40", "100",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "chart",
    [
        {},
        {"title": "x"},
        {"title": "x", "unit": "", "labels": ["a"], "before": [0.0], "now": [0]},
        {"title": "x", "unit": "", "labels": ["a"], "before": [], "now": []},
        {"title": "x", "unit": "", "labels": ["a"], "before": [None], "now": [None]},
    ],
)
def test_a_chart_of_nothing_is_left_out(db: None, chart: dict[str, Any]) -> None:
    alert = make_alert(chart=chart)

    assert "█" not in digest.text([alert], at=NOW, base_url=URL)
    assert page_of(alert)


def test_a_chart_of_figures_shows_them_as_they_are(db: None) -> None:
    chart = {
        **{"title": "spend", "unit": "euro", "labels": ["median", "low"]},
        **{"before": [1234.5, None], "now": [-617.25, 0.0]},
    }

    text = digest.text([make_alert(chart=chart)], at=NOW, base_url=URL)

    assert re.findall(r"(?:before|now) +(█*) +(\S+)$", text, re.MULTILINE) == [
        ("█" * 24, "1,234"), ("█" * 12, "-617.2"), ("", "none"), ("", "0"),
    ]  # fmt: skip


def test_very_many_alerts_make_a_mail_of_the_first_and_a_count(db: None) -> None:
    alerts = [make_alert(facts=[["n" * 300, "v" * 300]] * 5) for _ in range(50)]

    html = digest.html(alerts, at=NOW, base_url=URL)
    text = digest.text(alerts, at=NOW, base_url=URL)

    assert html.count("Open the alert") == digest.MAX_SHOWN
    assert "30 more in the admin" in html
    assert f"30 more: {URL}/admin/monitoring/alert/" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_json_for_machines_names_each_alert_in_full(db: None) -> None:
    alert = make_alert()

    content = json.loads(
        digest.payload([alert], message_id="msg_1", at=alert.raised_at, base_url=URL)
    )

    assert content == {
        "type": "alerts",
        "id": "msg_1",
        "created_at": "2026-03-02T06:00:00Z",
        "alerts": [
            {
                "id": alert.pk,
                "kind": "drift",
                "state": "firing",
                "title": alert.title,
                "summary": alert.summary,
                "advice": alert.advice,
                "model_type": "kmeans",
                "version": None,
                "subjects": ["monetary", "orders"],
                "facts": [["Customers compared", "1,240"]],
                "raised_at": "2026-03-02T06:00:00Z",
                "fired_at": "2026-03-02T06:00:00Z",
                "resolved_at": None,
                "url": f"{URL}/admin/monitoring/alert/{alert.pk}/change/",
            }
        ],
    }
