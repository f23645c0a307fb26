"""Alerts in the admin: what they show, who may act on them, and what is left of an act."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from monitoring import alert_acts, alerts
from monitoring.admin_alerts import AlertAdmin
from monitoring.alert_page import MAX_EVENTS, chart_note
from monitoring.alerts import Condition, Level
from monitoring.models import Alert, AlertEvent, AlertKind, DriftReport, MonitoringPolicy
from tests.factories import BY
from tests.staff import entries_after, last_entry_id, staff

VIEW, CHANGE = "monitoring.view_alert", "monitoring.change_alert"
LIST = "admin:monitoring_alert_changelist"
PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</textarea><svg onload=alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "]]><iframe src=//evil.example>",
    "--><b>bold</b>",
    "</script><script>alert(1)</script>",
    "<style>*{display:none}</style>",
    "{{ request.user.password }}<i>",
]


def make_alert(
    *, key: str = "a", level: Level = Level.ALARM, kind: AlertKind = AlertKind.DRIFT, **fields: Any
) -> Alert:
    words = {"title": f"Alert {key}", "summary": "It is wrong.", "advice": "Look at it."}
    condition = Condition(kind=kind, key=key, level=level, **(words | fields))
    policy = MonitoringPolicy.current()
    alerts.observe([condition], policy=policy, at=timezone.now(), by=BY)
    return Alert.objects.get(key=key)


def url_of(name: str, alert: Alert) -> str:
    return reverse(f"admin:monitoring_alert_{name}", args=[alert.pk])


def titles_of(response: Any) -> list[str]:
    return [alert.title for alert in response.context["cl"].result_list]


def test_the_list_shows_unresolved_alerts_firing_first(db: None) -> None:
    make_alert(key="pending", level=Level.WARNING)
    make_alert(key="firing")
    alert_acts.resolve(make_alert(key="gone").pk, by=BY, at=timezone.now())
    client = staff(VIEW)

    assert titles_of(client.get(reverse(LIST))) == ["Alert firing", "Alert pending"]
    assert titles_of(client.get(reverse(LIST), {"state": "resolved"})) == ["Alert gone"]
    assert len(titles_of(client.get(reverse(LIST), {"state": "all"}))) == 3


def test_a_thousand_alerts_are_paged_with_as_many_queries_as_few(
    db: None, django_assert_max_num_queries: Any
) -> None:
    at = timezone.now()
    Alert.objects.bulk_create(
        Alert(kind="drift", key=str(n), title=f"Alert {n}", raised_at=at, last_seen_at=at)
        for n in range(1000)
    )
    client = staff(VIEW)

    with django_assert_max_num_queries(14):
        response = client.get(reverse(LIST))

    assert len(titles_of(response)) == 50


def test_the_page_says_what_is_wrong_what_to_do_and_what_happened(db: None) -> None:
    alert = make_alert(
        facts=(("Compared", "600 customers"),),
        chart={
            "title": "channel",
            "unit": "share of customers",
            "labels": ["web", "store"],
            "before": [0.25, 0.75],
            "now": [0.5, 0.5],
        },
    )

    response = staff(VIEW).get(url_of("change", alert))

    page = response.content.decode()
    assert page.index("It is wrong.") < page.index("Look at it.") < page.index("What happened")
    assert "600 customers" in page
    assert "[25.0, 75.0]" in response.context["chart"].data
    assert response.context["chart_table"].rows[0] == ("web", "25.0%", "50.0%")
    assert [row[1] for row in response.context["events"].rows] == ["Fired", "First seen"]


def test_a_chart_of_segments_that_the_sentence_counts_otherwise_says_so() -> None:
    report = DriftReport(
        report={
            "checks": [{"check": "segments", "sentence": "A from 47.0 % to 20.6 % of customers"}],
            "segments": [{"reference_share": 0.49, "current_share": 0.206}],
        }
    )

    assert "as if they were new" in chart_note(Alert(report=report, chart={"title": "Segments"}))
    assert chart_note(Alert(report=report, chart={"title": "channel"})) == ""
    assert chart_note(Alert(chart={"title": "Segments"})) == ""


def test_deliveries_are_shown_to_who_may_see_them(db: None) -> None:
    alert = make_alert()

    assert "Who was told" not in staff(VIEW).get(url_of("change", alert)).content.decode()
    may_see = staff(VIEW, "monitoring.view_notification", name="bea")
    assert "Nobody was told yet" in may_see.get(url_of("change", alert)).content.decode()


def test_a_long_history_is_cut_and_counted(db: None) -> None:
    alert, at = make_alert(), timezone.now()
    AlertEvent.objects.bulk_create(
        AlertEvent(alert=alert, kind="silenced", at=at, by="ann") for _ in range(MAX_EVENTS)
    )

    response = staff(VIEW).get(url_of("change", alert))

    assert len(response.context["events"].rows) == MAX_EVENTS
    assert response.context["n_earlier"] == 2


def test_no_text_of_an_alert_becomes_markup(db: None) -> None:
    found = [
        make_alert(
            key=payload,
            title=payload,
            summary=payload,
            advice=payload,
            subjects=(payload,),
            facts=((payload, payload),),
            chart={"title": payload, "labels": [payload], "before": [1], "now": [2]},
        )
        for payload in PAYLOADS
    ]
    client = staff(VIEW)
    overview = client.get(reverse(LIST)).content.decode()
    overview += client.get(reverse("admin:index")).content.decode()

    for alert in found:
        page = client.get(url_of("change", alert)).content.decode()
        assert alert.title not in page + overview
        assert escape(alert.title) in page and escape(alert.title) in overview


def test_who_may_only_look_sees_no_buttons_and_is_refused(db: None) -> None:
    alert = make_alert()
    client = staff(VIEW)

    page = client.get(url_of("change", alert)).content.decode()
    assert url_of("acknowledge", alert) not in page
    for name in ("acknowledge", "silence", "unsilence", "resolve"):
        assert client.post(url_of(name, alert)).status_code == 403
    for action in ("acknowledge_selected", "silence_for_a_day", "resolve_selected"):
        client.post(reverse(LIST), {"action": action, "_selected_action": [alert.pk]})
    alert.refresh_from_db()
    assert alert.state == "firing" and alert.acknowledged_at is None
    assert alert.silenced_until is None


def test_acknowledging_keeps_the_note_and_leaves_one_entry(db: None) -> None:
    alert = make_alert()
    client = staff(VIEW, CHANGE)
    assert url_of("acknowledge", alert) in client.get(url_of("change", alert)).content.decode()
    before = last_entry_id()

    page = client.post(url_of("acknowledge", alert), {"note": "on it"}, follow=True)

    alert.refresh_from_db()
    assert alert.acknowledged_by == "ann"
    assert "acknowledged by ann" in page.content.decode().lower()
    assert "on it" in page.content.decode()
    assert [entry.action for entry in entries_after(before)] == ["alert.acknowledged"]


@pytest.mark.parametrize(("length", "span"), [("hour", 1), ("day", 24), ("week", 168)])
def test_silence_lasts_as_chosen_and_can_be_ended(db: None, length: str, span: int) -> None:
    alert = make_alert()
    client = staff(VIEW, CHANGE)

    client.post(url_of("silence", alert), {"length": length})
    alert.refresh_from_db()
    left = alert.silenced_until - timezone.now()
    assert timedelta(hours=span) - timedelta(minutes=1) < left <= timedelta(hours=span)
    assert url_of("unsilence", alert) in client.get(url_of("change", alert)).content.decode()

    client.post(url_of("unsilence", alert))
    alert.refresh_from_db()
    assert alert.silenced_until is None


def test_silence_until_a_moment_takes_what_a_browser_sends(db: None) -> None:
    alert = make_alert()
    until = (timezone.now() + timedelta(days=3)).replace(second=0, microsecond=0)

    staff(VIEW, CHANGE).post(
        url_of("silence", alert), {"length": "until", "until": f"{until:%Y-%m-%dT%H:%M}"}
    )

    alert.refresh_from_db()
    assert alert.silenced_until == until


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"length": "until"}, "Say until when."),
        ({"length": "until", "until": "2001-01-01T00:00"}, "must end in the future"),
        ({"length": "until", "until": "tomorrow"}, "Enter a valid date/time."),
        ({"length": "for ever"}, "Select a valid choice."),
        ({}, "This field is required."),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused_in_words(
    db: None, sent: dict[str, str], said: str
) -> None:
    alert = make_alert()
    before = last_entry_id()

    response = staff(VIEW, CHANGE).post(url_of("silence", alert), sent)

    assert said in response.content.decode()
    assert entries_after(before) == []


def test_a_conflict_is_shown_and_changes_nothing(db: None) -> None:
    alert = make_alert()
    alert_acts.resolve(alert.pk, by=BY, at=timezone.now(), note="over")
    before = last_entry_id()
    client = staff(VIEW, CHANGE)

    response = client.post(url_of("acknowledge", alert))

    assert "is resolved already" in response.content.decode()
    assert entries_after(before) == []
    page = client.get(url_of("change", alert)).content.decode()
    assert "over" in page and url_of("resolve", alert) not in page


def test_an_alert_that_is_not_there_leads_back_to_the_overview(db: None) -> None:
    alert = make_alert()
    url = reverse("admin:monitoring_alert_acknowledge", args=[alert.pk + 1])

    assert staff(VIEW, CHANGE).post(url).status_code == 302


def test_several_alerts_are_resolved_at_once_with_one_entry(db: None) -> None:
    chosen = [make_alert(key=key).pk for key in "ab"]
    before = last_entry_id()

    staff(VIEW, CHANGE).post(
        reverse(LIST), {"action": "resolve_selected", "_selected_action": chosen}
    )

    assert not Alert.objects.unresolved().exists()
    (entry,) = entries_after(before)
    assert (entry.action, entry.target_id, entry.n_items) == ("alert.resolved", "", 2)
    digest = hashlib.sha256("\n".join(sorted(map(str, chosen))).encode()).hexdigest()
    assert json.loads(entry.details) == {"ids": sorted(chosen), "sha256": digest}
    assert set(AlertEvent.objects.values_list("alert", "kind")) >= {
        (pk, "resolved") for pk in chosen
    }


def test_several_alerts_are_silenced_at_once_with_one_entry(db: None) -> None:
    chosen = [make_alert(key=key).pk for key in "ab"]
    before = last_entry_id()

    staff(VIEW, CHANGE).post(
        reverse(LIST), {"action": "silence_for_a_day", "_selected_action": chosen}
    )

    for alert in Alert.objects.all():
        left = alert.silenced_until - timezone.now()
        assert timedelta(hours=23) < left <= timedelta(days=1)
    (entry,) = entries_after(before)
    assert (entry.action, entry.n_items) == ("alert.silenced", 2)


@pytest.mark.parametrize("verb", ["acknowledge_selected", "silence_for_a_day", "resolve_selected"])
def test_an_alert_that_goes_between_choosing_and_acting_is_named_and_nothing_changes(
    db: None, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    chosen = [make_alert(key=key).pk for key in "ab"]
    recording = AlertAdmin.handle_selected

    def handle_once_one_is_gone(
        self: Any, request: Any, queryset: Any, carry_out: Any, **words: Any
    ) -> None:
        def carry_out_late(ids: list[int], **how: Any) -> None:
            Alert.objects.filter(pk=chosen[1]).delete()
            carry_out(ids, **how)

        recording(self, request, queryset, carry_out_late, **words)

    monkeypatch.setattr(AlertAdmin, "handle_selected", handle_once_one_is_gone)
    before = last_entry_id()

    response = staff(VIEW, CHANGE).post(
        reverse(LIST), {"action": verb, "_selected_action": chosen}, follow=True
    )

    words = f"Nothing was changed. Alert {chosen[1]} is no longer there"
    assert words in response.content.decode()
    left = Alert.objects.get()
    assert (left.state, left.acknowledged_at, left.silenced_until) == ("firing", None, None)
    assert entries_after(before) == []


def test_the_list_says_when_nothing_is_wrong(db: None) -> None:
    client = staff(VIEW)
    assert "Nothing is wrong:" in client.get(reverse(LIST)).content.decode()

    make_alert()

    assert "Nothing is wrong:" not in client.get(reverse(LIST)).content.decode()


def test_one_conflict_among_several_leaves_all_as_they_were(db: None) -> None:
    chosen = [make_alert(key=key) for key in "ab"]
    alert_acts.acknowledge(chosen[1].pk, by=BY, at=timezone.now())
    before = last_entry_id()

    response = staff(VIEW, CHANGE).post(
        reverse(LIST),
        {"action": "acknowledge_selected", "_selected_action": [alert.pk for alert in chosen]},
        follow=True,
    )

    assert "Nothing was changed." in response.content.decode()
    assert not Alert.objects.get(pk=chosen[0].pk).acknowledged_at
    assert entries_after(before) == []


def test_home_shows_the_worst_three_of_those_nobody_took_note_of(db: None) -> None:
    make_alert(key="old", kind=AlertKind.TRAINING_OVERDUE)
    make_alert(key="drift")
    make_alert(key="file", kind=AlertKind.DAMAGED_ARTIFACT)
    noted = make_alert(key="noted", kind=AlertKind.DAMAGED_ARTIFACT)
    alert_acts.acknowledge(noted.pk, by=BY, at=timezone.now())
    make_alert(key="unsure", level=Level.WARNING)

    response = staff(VIEW).get(reverse("admin:index"))

    shown = [each.alert.key for each in response.context["alerts"].worst]
    assert shown == ["file", "drift", "old"]
    page = response.content.decode()
    assert "4 open" in page and "See all 4" in page and "1 not yet confirmed" in page


def test_home_says_so_when_all_is_well(db: None) -> None:
    page = staff(VIEW).get(reverse("admin:index")).content.decode()

    assert "All is well: no alert is open." in page
    assert "seg-bad" not in page and "seg-warn" not in page


def test_home_says_nothing_of_alerts_to_who_may_not_see_them(db: None) -> None:
    make_alert(key="secret")

    page = staff().get(reverse("admin:index")).content.decode()

    assert "Alert secret" not in page and "o alert is open" not in page
