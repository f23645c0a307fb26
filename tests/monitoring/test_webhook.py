"""The webhook: what a receiver gets and can check, and receivers that misbehave."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings

from monitoring import webhook
from monitoring.deadline import DeliveryFailed
from monitoring.models import AlertEvent, Notification
from monitoring.outbox import deliver, queue_digest
from tests.factories import BY
from tests.http_sink import http_sink
from tests.monitoring.alert_rows import NOW, make_alert, make_channels
from tests.smtp_sink import smtp_sink

SECRET = "w" * 40


def post(url: str, *, seconds: float = 20.0) -> None:
    webhook.post(b"{}", url=url, secret=SECRET, message_id="msg_1", at=NOW, seconds=seconds)


def test_the_receiver_gets_signed_json(db: None) -> None:
    alert = make_alert()
    with http_sink("ok") as receiver:
        channels = make_channels(webhook_url=receiver.url)
        [queued] = queue_digest(at=NOW, channels=channels)
        [sent] = deliver(channels=channels, at=lambda: NOW, within=timedelta(seconds=4), by=BY)

    [got] = receiver.posts
    assert (sent.state, sent.sent_at, sent.error) == ("sent", NOW, "")
    assert sent.recipient == f"127.0.0.1:{receiver.port}"
    assert got.line == "POST /hook?team=crm HTTP/1.1"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == queued.message_id
    assert got.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    body = json.loads(got.body)
    assert (body["type"], body["id"]) == ("alerts", queued.message_id)
    assert body["sent_at"] == "2026-03-02T06:00:00Z"
    assert [told["id"] for told in body["alerts"]] == [alert.pk]


def test_the_signature_is_that_of_the_convention() -> None:
    """The first by `openssl dgst -sha256 -hmac`, the second the known answer of its libraries."""
    given = {"message_id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "timestamp": 1614265330}

    plain = webhook.signature(b'{"test": 2432232314}', secret="k" * 32, **given)
    prefixed = webhook.signature(
        b'{"test": 2432232314}', secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", **given
    )

    assert plain == "v1,+qNgyReIHqPuR060oMQ+nyzPsJZG+OFv/pI9RG/w4Ts="
    assert prefixed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_receiver_of_the_readme_takes_what_is_sent_and_nothing_else(db: None) -> None:
    readme = (Path(settings.BASE_DIR) / "README.md").read_text()
    [program] = re.findall(r"```python\n(.*?def is_ours.*?)```", readme, re.DOTALL)
    example: dict[str, object] = {}
    exec(program, example)
    is_ours = example["is_ours"]
    now = int(time.time())
    signed = webhook.signature(b"{}", secret=SECRET, message_id="msg_1", timestamp=now)

    def judged(body: bytes = b"{}", secret: str = SECRET, **changed: str) -> object:
        headers = {
            "Webhook-Id": "msg_1",
            "Webhook-Timestamp": str(now),
            "Webhook-Signature": signed,
        }
        return is_ours(body, {**headers, **changed}, secret)  # type: ignore[operator]

    assert judged() is True
    assert judged(body=b"[]") is False
    assert judged(secret="x" * 40) is False
    assert judged(**{"Webhook-Id": "msg_2"}) is False
    assert judged(**{"Webhook-Timestamp": str(now - 3600)}) is False


@pytest.mark.parametrize("behaviour", ["ok", "no-content", "endless-body"])
def test_any_2xx_is_taken_and_its_body_is_not_read(behaviour: str) -> None:
    with http_sink(behaviour) as receiver:
        post(receiver.url)

    assert len(receiver.posts) == 1


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("error", "The receiver answered 500."),
        ("redirect", "The receiver answered 307, a redirect, which is not followed."),
        ("garbage", "The receiver answered with something that is not HTTP."),
        ("nothing", "The receiver broke the connection off."),
        ("hang", "The receiver took too long and was cut off."),
        ("tarpit", "The receiver took too long and was cut off."),
    ],
)
def test_a_bad_receiver_is_named_in_time(behaviour: str, reason: str) -> None:
    started = time.monotonic()
    with (
        http_sink(behaviour) as receiver,
        pytest.raises(DeliveryFailed, match=f"^{re.escape(reason)}$"),
    ):
        post(receiver.url, seconds=0.3 if behaviour in ("hang", "tarpit") else 20.0)

    assert len(receiver.posts) == 1  # the redirect was not followed
    assert time.monotonic() - started < 3


def test_a_receiver_that_is_not_there_or_speaks_no_tls_is_named() -> None:
    with smtp_sink("garbage") as sink, pytest.raises(DeliveryFailed, match="TLS"):
        post(f"https://127.0.0.1:{sink.port}/")
    with pytest.raises(DeliveryFailed, match="refused the connection"):
        post(f"http://127.0.0.1:{sink.port}/")
    with pytest.raises(DeliveryFailed, match="could not be looked up"):
        post("http://no-such-host.invalid/")


def test_machines_are_told_of_the_end_and_the_return_of_an_alert_they_know(db: None) -> None:
    with http_sink("ok") as receiver:
        channels = make_channels(webhook_url=receiver.url)
        known = make_alert()
        unknown = make_alert(state="pending", fired_at=None)
        queue_digest(at=NOW, channels=channels)
        told = []
        for hours, kind, state, resolved in (
            (1, AlertEvent.Kind.RESOLVED, "resolved", True),
            (2, AlertEvent.Kind.REOPENED, "firing", False),
        ):
            at = NOW + timedelta(hours=hours)
            for alert in (known, unknown):
                alert.state, alert.resolved_at = state, at if resolved else None
                alert.notified_at = NOW
                alert.save()
                AlertEvent.objects.create(alert=alert, kind=kind, at=at, by="tests")
            later = at + timedelta(minutes=1)
            told.append(queue_digest(at=later, channels=channels))
            assert queue_digest(at=later + timedelta(minutes=1), channels=channels) == []

    for [notification], state in zip(told, ("resolved", "firing"), strict=True):
        content = json.loads(notification.text)
        assert [(a["id"], a["state"]) for a in content["alerts"]] == [(known.pk, state)]
    assert Notification.objects.count() == 3
