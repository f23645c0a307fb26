"""The outbox in the admin: what was sent to whom, and sending it again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from monitoring.models import Channel, DeliveryState, Notification
from tests.monitoring.test_admin_alerts import make_alert
from tests.staff import entries_after, last_entry_id, staff

VIEW, CHANGE = "monitoring.view_notification", "monitoring.change_notification"


def make_notification(**fields: Any) -> Notification:
    at = timezone.now()
    given = {
        "channel": Channel.MAIL,
        "message_id": f"<{Notification.objects.count()}@tests>",
        "recipient": "team@example.org",
        "subject": "3 alerts",
        "text": "What is wrong",
        "html": "<b>never shown</b>",
        "created_at": at,
        "next_attempt_at": at + timedelta(hours=4),
    }
    return Notification.objects.create(**given | fields)


def url_of(name: str, notification: Notification) -> str:
    return reverse(f"admin:monitoring_notification_{name}", args=[notification.pk])


def test_the_page_says_what_became_of_a_message_and_what_it_tells_of(db: None) -> None:
    alert = make_alert()
    notification = make_notification(error="Connection refused.", n_attempts=2)
    notification.alerts.add(alert)

    page = staff(VIEW, "monitoring.view_alert").get(url_of("change", notification))

    text = page.content.decode()
    assert "Connection refused." in text and "What is wrong" in text
    assert reverse("admin:monitoring_alert_change", args=[alert.pk]) in text
    assert "never shown" not in text


def test_what_is_posted_is_shown_in_lines_and_garbage_as_it_is(db: None) -> None:
    posted = make_notification(channel=Channel.WEBHOOK, text='{"type":"alerts"}')
    garbage = make_notification(channel=Channel.WEBHOOK, text="{<i>")
    client = staff(VIEW)

    assert client.get(url_of("change", posted)).context["text"] == '{\n  "type": "alerts"\n}'
    assert "{&lt;i&gt;" in client.get(url_of("change", garbage)).content.decode()


def test_a_message_that_was_given_up_is_sent_again_with_one_entry(db: None) -> None:
    notification = make_notification(state=DeliveryState.GIVEN_UP)
    client = staff(VIEW, CHANGE)
    assert (
        url_of("send", notification) in client.get(url_of("change", notification)).content.decode()
    )
    before = last_entry_id()

    client.post(url_of("send", notification))

    notification.refresh_from_db()
    assert notification.state == DeliveryState.QUEUED
    assert notification.next_attempt_at <= timezone.now()
    assert len(entries_after(before)) == 1


def test_what_was_sent_is_not_sent_again(db: None) -> None:
    notification = make_notification(state=DeliveryState.SENT, sent_at=timezone.now())
    client = staff(VIEW, CHANGE)
    before = last_entry_id()

    response = client.post(url_of("send", notification))

    assert "it is not sent twice" in response.content.decode()
    assert "Send again" not in client.get(url_of("change", notification)).content.decode()
    assert entries_after(before) == []


def test_who_may_only_look_sends_nothing(db: None) -> None:
    notification = make_notification(state=DeliveryState.GIVEN_UP)
    client = staff(VIEW)

    assert (
        url_of("send", notification)
        not in client.get(url_of("change", notification)).content.decode()
    )
    assert client.post(url_of("send", notification)).status_code == 403


@pytest.mark.parametrize("state", DeliveryState.values)
def test_the_list_filters_by_state(db: None, state: str) -> None:
    for each in DeliveryState.values:
        make_notification(state=each)

    response = staff(VIEW).get(
        reverse("admin:monitoring_notification_changelist"), {"state": state}
    )

    assert [row.state for row in response.context["cl"].result_list] == [state]


def test_an_empty_list_promises_nothing_that_a_reader_cannot_do(db: None) -> None:
    url = reverse("admin:monitoring_notification_changelist")
    client = staff(VIEW)

    page, sought = (client.get(url + query).content.decode() for query in ("", "?q=x"))

    assert "Nothing here yet" in page and "Show everything" not in page
    assert "Nothing fits the search" in sought and 'href="?"' in sought
    assert "new item" not in page + sought
