"""Messages that do not get through raise an alert, which goes out by the other channel alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from monitoring import home_page
from monitoring.alerts import observe
from monitoring.delivery_watch import UNDELIVERED_AFTER, delivery_conditions
from monitoring.metrics import exposition
from monitoring.models import Alert, AlertEvent, MonitoringPolicy, Notification
from monitoring.outbox import BACKOFF, GIVE_UP_AFTER, deliver, queue_digest
from tests.factories import BY
from tests.monitoring.alert_rows import NOW, make_alert, make_channels

HOOK = "https://hooks.example.com/secret-path"
MAIL = make_channels(port=25)
BOTH = make_channels(port=25, webhook_url=HOOK)
MINUTE = timedelta(minutes=1)


def make_message(*, channel: str = "mail", **fields: Any) -> Notification:
    """A message that waits since NOW and was tried as often as there are waits."""
    number = Notification.objects.count()
    return Notification.objects.create(
        **{
            "channel": channel,
            "message_id": f"<{number}@example.com>",
            "recipient": "team@example.com",
            "subject": "An alert",
            "text": "{}",
            "created_at": NOW,
            "next_attempt_at": NOW,
            "n_attempts": len(BACKOFF),
            "error": "The server refuses.",
            **fields,
        }
    )


def bad(at: datetime, channels: Any = BOTH) -> list[str]:
    return [each.key for each in delivery_conditions(channels, at=at) if each.is_bad]


def look(at: datetime, channels: Any = BOTH) -> None:
    """A round of the monitor, as far as deliveries go."""
    conditions = delivery_conditions(channels, at=at)
    if observe(conditions, policy=MonitoringPolicy.current(), at=at, by=BY):
        queue_digest(at=at, channels=channels)


LATER = NOW + UNDELIVERED_AFTER


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, ["delivery:mail"]),
        ({"channel": "webhook"}, ["delivery:webhook"]),
        ({"created_at": NOW + MINUTE}, []),  # not long enough
        ({"n_attempts": 1}, []),  # nobody was there to try
        ({"state": "sent", "sent_at": NOW}, []),
        ({"state": "given_up", "created_at": LATER, "next_attempt_at": LATER}, ["delivery:mail"]),
    ],
)
def test_what_waits_in_vain_or_was_given_up_is_undelivered(
    db: None, fields: dict[str, Any], found: list[str]
) -> None:
    make_message(**fields)

    assert bad(LATER) == found


def test_it_ends_with_the_next_message_that_is_sent_after_it_was_given_up(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = make_message(n_attempts=20)
    given_up_at = NOW + GIVE_UP_AFTER
    deliver(channels=make_channels(), at=lambda: given_up_at, within=MINUTE, by=BY)
    lost.refresh_from_db()
    assert lost.state == "given_up"

    make_message(state="sent", sent_at=given_up_at - MINUTE)
    assert bad(given_up_at) == ["delivery:mail"]
    make_message(channel="webhook", state="sent", sent_at=given_up_at + MINUTE)
    assert bad(given_up_at + MINUTE) == ["delivery:mail"]
    make_message(state="sent", sent_at=given_up_at + MINUTE)
    assert bad(given_up_at + MINUTE) == []


def test_a_channel_that_is_no_longer_set_owes_nothing(db: None) -> None:
    make_message()

    assert bad(LATER, make_channels(webhook_url=HOOK)) == []


def test_the_alert_is_raised_once_goes_by_the_other_channel_and_is_resolved(db: None) -> None:
    message = make_message()

    look(LATER)
    look(LATER + MINUTE)

    alert = Alert.objects.get()
    assert (alert.kind, alert.key, alert.state) == ("delivery", "delivery:mail", "firing")
    assert "1 message did not get through by mail" in alert.summary
    assert "The server refuses." in alert.summary
    [told] = alert.notifications.all()
    assert told.channel == "webhook"
    assert AlertEvent.objects.get(alert=alert, kind="notified").note == "Webhook"

    Notification.objects.filter(pk=message.pk).update(state="sent", sent_at=LATER + 2 * MINUTE)
    look(LATER + 2 * MINUTE)
    look(LATER + 3 * MINUTE)
    alert.refresh_from_db()
    assert alert.state == "resolved"
    assert [each.channel for each in alert.notifications.all()] == ["webhook", "webhook"]


def test_without_another_channel_it_is_told_to_nobody_and_shown(db: None) -> None:
    make_message()

    look(LATER, MAIL)

    alert = Alert.objects.get()
    assert (alert.state, alert.notified_at) == ("firing", None)
    assert Notification.objects.count() == 1
    assert home_page.worst() == [alert]
    assert 'segmentation_alerts{kind="delivery",state="firing"} 1.0' in exposition(build="1")


def test_the_other_alerts_still_go_by_both(db: None) -> None:
    make_message()
    other = make_alert()

    look(LATER)

    mailed = [n for n in other.notifications.all() if n.channel == "mail"]
    assert [list(message.alerts.all()) for message in mailed] == [[other]]
    assert AlertEvent.objects.get(alert=other, kind="notified").note == "Mail and Webhook"


def test_the_api_lists_it_by_its_kind(db: None, api: Client) -> None:
    make_message()
    look(LATER)

    [row] = api.get("/monitor/alerts?kind=delivery").json()["results"]

    assert (row["title"], row["state"]) == ("Mail: alerts are not delivered", "firing")
