"""The outbox: who is told what, once; servers that misbehave; retries, and giving up."""

from __future__ import annotations

import json
import logging
import re
import smtplib
import socket
import threading
import time
from datetime import datetime, timedelta
from email.message import Message
from typing import Any

import pytest
from django.conf import settings as project_settings

from audit.models import AuditEntry
from monitoring import outbox, smtp
from monitoring.channels import Channels
from monitoring.deadline import Deadline
from monitoring.models import Alert, AlertEvent, DeliveryState, Notification
from monitoring.outbox import DeliveryConflict, deliver, give_again, queue_digest
from tests.expectations import one_entry
from tests.factories import BY
from tests.http_sink import http_sink
from tests.monitoring.alert_rows import NOW, make_alert, make_channels
from tests.smtp_sink import Behaviour, smtp_sink

HOOK = "https://hooks.example.com/secret-path"
SECRET = "hunter2-very-secret"


@pytest.fixture(autouse=True)
def mail_settings(settings: Any) -> None:
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    settings.EMAIL_USE_TLS = False


def sent_to(settings: Any, port: int) -> Channels:
    settings.EMAIL_PORT = port
    return make_channels(port=port)


def run(channels: Channels, *, at: datetime = NOW, seconds: float = 4.0) -> list[Notification]:
    return deliver(channels=channels, at=lambda: at, within=timedelta(seconds=seconds), by=BY)


def html_of(mail: Message) -> str:
    parts = [part for part in mail.walk() if part.get_content_type() == "text/html"]
    return str(parts[0].get_payload(decode=True), "utf-8")  # type: ignore[arg-type]


# -- what is queued -----------------------------------------------------------------------------


def test_one_mail_tells_of_all_that_fires_once(db: None) -> None:
    fires = [make_alert(), make_alert(title="Missing data", kind="missing_data")]
    make_alert(state="pending", fired_at=None)
    make_alert(state="resolved", resolved_at=NOW)
    make_alert(acknowledged_at=NOW)
    make_alert(silenced_until=NOW + timedelta(seconds=1))
    make_alert(notified_at=NOW)

    [notification] = queue_digest(at=NOW, channels=make_channels(port=25))

    assert set(notification.alerts.all()) == set(fires)
    assert notification.subject.startswith("2 alerts: ")
    assert notification.recipient == "team@example.com, boss@example.com"
    assert re.fullmatch(r"<[0-9a-f]{32}@example\.com>", notification.message_id)
    told = AlertEvent.objects.filter(kind="notified").order_by("alert_id")
    assert [(event.alert, event.at, event.note) for event in told] == [
        (alert, NOW, "Mail") for alert in fires
    ]
    assert set(Alert.objects.filter(notified_at=NOW)) >= set(fires)
    assert queue_digest(at=NOW, channels=make_channels(port=25)) == []


def test_an_alert_goes_out_when_its_silence_has_ended_and_it_still_fires(db: None) -> None:
    make_alert(silenced_until=NOW + timedelta(days=1))
    channels = make_channels(port=25)

    assert queue_digest(at=NOW, channels=channels) == []
    assert len(queue_digest(at=NOW + timedelta(days=1), channels=channels)) == 1


def test_without_a_channel_nothing_counts_as_told(db: None) -> None:
    alert = make_alert()

    assert queue_digest(at=NOW, channels=make_channels()) == []

    alert.refresh_from_db()
    assert alert.notified_at is None
    assert len(queue_digest(at=NOW, channels=make_channels(port=25))) == 1


def test_each_channel_gets_a_message_of_its_own(db: None) -> None:
    make_alert()

    mail, post = queue_digest(at=NOW, channels=make_channels(port=25, webhook_url=HOOK))

    assert (mail.channel, post.channel) == ("mail", "webhook")
    assert (post.recipient, post.html) == ("hooks.example.com", "")
    assert json.loads(post.text)["id"] == post.message_id
    assert AlertEvent.objects.get(kind="notified").note == "Mail and Webhook"


def test_an_end_is_mailed_to_nobody(db: None) -> None:
    alert = make_alert()
    channels = make_channels(port=25)
    queue_digest(at=NOW, channels=channels)
    later = NOW + timedelta(hours=1)
    Alert.objects.filter(pk=alert.pk).update(state="resolved", resolved_at=later)
    AlertEvent.objects.create(alert=alert, kind="resolved", at=later, by="tests")

    assert queue_digest(at=later, channels=channels) == []


def test_the_number_of_queries_does_not_grow_with_the_alerts(
    db: None, django_assert_num_queries: Any
) -> None:
    channels = make_channels(port=25, webhook_url=HOOK)
    for n_alerts in (1, 30):
        for _ in range(n_alerts):
            make_alert()
        with django_assert_num_queries(15, exact=False):
            queue_digest(at=NOW, channels=channels)


# -- what a server that works gets --------------------------------------------------------------


def test_a_mail_arrives_whole_and_is_recorded_with_one_entry(db: None, settings: Any) -> None:
    alert = make_alert(title="Drift: kmeans 3: größe\r\nBcc: everybody@example.com")
    with smtp_sink() as sink:
        channels = sent_to(settings, sink.port)
        [queued] = queue_digest(at=NOW, channels=channels)
        with one_entry(action="notification.sent", outcome="succeeded", n_items=1) as entries:
            [sent] = run(channels)
        assert run(channels) == []

    [mail] = sink.mails
    assert mail["To"] == "team@example.com, boss@example.com"
    assert mail["From"] == "Segments <alerts@example.com>"
    assert mail["Message-ID"] == queued.message_id
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Bcc"] is None
    assert f"/admin/monitoring/alert/{alert.pk}/change/" in html_of(mail)
    assert (sent.state, sent.sent_at, sent.n_attempts, sent.error) == ("sent", NOW, 1, "")
    assert sent.claimed_until is None
    assert entries[0].target_id == str(sent.pk)


def test_the_name_of_this_machine_is_not_looked_up(
    db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_alert()
    monkeypatch.setattr(socket, "getfqdn", lambda *args: pytest.fail("a look-up without a limit"))
    with smtp_sink() as sink:
        channels = sent_to(settings, sink.port)
        queue_digest(at=NOW, channels=channels)
        [sent] = run(channels)

    assert sent.state == "sent"


def test_a_server_that_hangs_on_quit_has_taken_the_mail(db: None, settings: Any) -> None:
    make_alert()
    with smtp_sink("hang-on-quit") as sink:
        channels = sent_to(settings, sink.port)
        queue_digest(at=NOW, channels=channels)
        started = time.monotonic()
        [sent] = run(channels, seconds=20)

    assert (sent.state, len(sink.mails)) == ("sent", 1)
    assert time.monotonic() - started < 3


def test_a_refused_recipient_beside_a_taken_one_is_noted(db: None, settings: Any) -> None:
    make_alert()
    with smtp_sink("refuse-one") as sink:
        channels = sent_to(settings, sink.port)
        queue_digest(at=NOW, channels=channels)
        [sent] = run(channels)

    assert (sent.state, len(sink.mails)) == ("sent", 1)
    assert sent.error == "Refused for 1 of the recipients (550 5.1.1)."


# -- servers that misbehave ---------------------------------------------------------------------

CUT = "The mail server took too long and was cut off."
SILENT = "The mail server did not answer in time."
BROKEN = "The mail server broke the connection off."


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("hang", CUT),
        ("tarpit", CUT),
        ("hang-after-data", CUT),
        ("hang-in-tls", CUT),
        ("garbage-in-tls", "The mail server could not agree with us on TLS."),
        ("garbage", "The mail server refused us (-1)."),
        ("drop-in-data", BROKEN),
        ("refuse-client", "The mail server refused us (554 5.7.1)."),
        ("refuse-recipient", "The mail server refused every recipient (550 5.1.1)."),
        ("greylist", "The mail server refused every recipient (450)."),
        ("refuse-message", "The mail server refused the message (550 5.7.1)."),
        ("try-later", "The mail server refused the message (451 4.3.0)."),
        ("refuse-login", "The mail server refused the login (535 5.7.8)."),
    ],
)
def test_a_bad_mail_server_costs_little_time_and_no_mail(
    db: None, settings: Any, behaviour: Behaviour, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    make_alert()
    settings.EMAIL_USE_TLS = behaviour.endswith("tls")
    if behaviour == "refuse-login":
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "alerts", SECRET
    with smtp_sink(behaviour) as sink:
        channels = sent_to(settings, sink.port)
        queue_digest(at=NOW, channels=channels)
        started = time.monotonic()
        [tried] = run(channels, seconds=0.3 if reason == CUT else 8.0)
        seconds = time.monotonic() - started
        assert run(channels) == []  # not due again yet

    assert (tried.state, tried.error) == ("queued", reason)
    assert (tried.sent_at, tried.claimed_until) == (None, None)
    assert tried.next_attempt_at == NOW + timedelta(minutes=1)
    assert reason != CUT or seconds < 3
    assert SECRET not in caplog.text + tried.error and "hunter2" not in tried.error

    with smtp_sink() as sink:
        settings.EMAIL_USE_TLS, settings.EMAIL_HOST_USER = False, ""
        [sent] = run(sent_to(settings, sink.port), at=tried.next_attempt_at)

    assert (sent.state, sent.n_attempts, len(sink.mails)) == ("sent", 2, 1)
    assert sent.message_id == sink.mails[0]["Message-ID"]


def test_a_single_wait_is_bounded_by_the_timeout_of_the_settings(db: None, settings: Any) -> None:
    make_alert()
    settings.EMAIL_TIMEOUT = 0.1
    with smtp_sink("hang") as sink:
        channels = sent_to(settings, sink.port)
        queue_digest(at=NOW, channels=channels)
        started = time.monotonic()
        [tried] = run(channels, seconds=20)

    assert tried.error == SILENT
    assert time.monotonic() - started < 3


def test_a_server_without_tls_gets_neither_mail_nor_password(db: None, settings: Any) -> None:
    make_alert()
    settings.EMAIL_USE_TLS = True
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "alerts", SECRET
    with smtp_sink() as sink:
        channels = sent_to(settings, sink.port)
        queue_digest(at=NOW, channels=channels)
        [tried] = run(channels)

    assert tried.error == "The mail server does not offer STARTTLS."
    assert sink.mails == []


def test_a_dead_server_is_named(db: None, settings: Any) -> None:
    make_alert()
    with smtp_sink() as sink:
        dead = sink.port
    channels = sent_to(settings, dead)
    queue_digest(at=NOW, channels=channels)

    [tried] = run(channels)

    assert tried.error == "The mail server refused the connection."


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70, ".", "exa mple", "\udcff"])
def test_a_name_that_leads_nowhere_is_named(db: None, settings: Any, host: str) -> None:
    make_alert()
    settings.EMAIL_HOST = host
    channels = make_channels(port=25)
    queue_digest(at=NOW, channels=channels)

    [tried] = run(channels)

    assert tried.error == "The mail server has a name that could not be looked up."


def test_a_slow_name_server_is_not_waited_for(
    db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_alert()
    answers = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: answers.wait(5))
    settings.EMAIL_HOST = "mail.example.com"
    channels = make_channels(port=25)
    queue_digest(at=NOW, channels=channels)
    started = time.monotonic()

    [tried] = run(channels, seconds=0.4)
    answers.set()

    assert tried.error.startswith("The mail server ")
    assert time.monotonic() - started < 3


def test_an_address_that_swallows_packets_does_not_hide_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, smtp_sink() as sink:
        deaf.listen(0)
        full = [socket.socket() for _ in range(4)]  # a queue of connections that is full
        for waiting in full:
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))
            for port in (deaf.getsockname()[1], sink.port)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: addresses)

        with Deadline(0.6) as deadline, deadline.connect("two", 25, wait=5) as reached:
            assert reached.getpeername()[1] == sink.port
        for waiting in full:
            waiting.close()


def test_a_dead_mail_server_leaves_time_for_the_webhook(db: None, settings: Any) -> None:
    make_alert()
    with smtp_sink("tarpit") as sink, http_sink("ok") as receiver:
        settings.EMAIL_PORT = sink.port
        channels = make_channels(port=sink.port, webhook_url=receiver.url)
        queue_digest(at=NOW, channels=channels)
        mail, post = run(channels, seconds=1.0)

    assert (mail.state, post.state) == ("queued", "sent")


def test_after_a_failure_the_rest_of_its_channel_waits_for_the_next_call(
    db: None, settings: Any
) -> None:
    with smtp_sink("refuse-client") as sink:
        channels = sent_to(settings, sink.port)
        for _ in range(3):
            make_alert()
            queue_digest(at=NOW, channels=channels)
        n_tried = [len(run(channels)) for _ in range(4)]

    assert n_tried == [1, 1, 1, 0]
    assert sink.n_connections == 3


def test_a_message_that_breaks_us_does_not_keep_the_others_back(
    db: None, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_alert()
    with http_sink("ok") as receiver:
        channels = make_channels(port=25, webhook_url=receiver.url)
        queue_digest(at=NOW, channels=channels)

        def broken(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError(SECRET)

        monkeypatch.setattr(smtp, "send", broken)
        with caplog.at_level(logging.CRITICAL):
            mail, post = run(channels)

    assert (mail.state, mail.error) == ("queued", "It failed by RuntimeError; see the log.")
    assert post.state == "sent"


def test_a_channel_that_is_gone_is_said_to_be(db: None) -> None:
    make_alert()
    queue_digest(at=NOW, channels=make_channels(port=25, webhook_url=HOOK))

    tried = run(make_channels())

    assert [notification.error for notification in tried] == [
        "SMTP_SERVER or ALERT_EMAIL is not set any more.",
        "WEBHOOK_URL is not set any more.",
    ]


# -- again, and no more -------------------------------------------------------------------------


def refused_for_ever(settings: Any, *, days: float) -> tuple[Notification, list[datetime]]:
    """A message that nobody took in all that time, tried whenever it was due."""
    make_alert()
    with smtp_sink() as sink:
        channels = sent_to(settings, sink.port)
    [notification] = queue_digest(at=NOW, channels=channels)
    moments = []
    while notification.state == DeliveryState.QUEUED and (
        notification.next_attempt_at <= NOW + timedelta(days=days)
    ):
        moments.append(notification.next_attempt_at)
        [notification] = run(channels, at=notification.next_attempt_at)
    return notification, moments


def test_the_waits_grow_to_four_hours(db: None, settings: Any) -> None:
    _, moments = refused_for_ever(settings, days=0.5)

    waits = [
        (later - earlier) / timedelta(minutes=1)
        for earlier, later in zip(moments, moments[1:], strict=False)
    ]
    assert waits == [1, 5, 15, 60, 240, 240]


def test_after_three_days_it_is_given_up_with_one_entry(db: None, settings: Any) -> None:
    with one_entry(action="notification.given_up", outcome="failed") as entries:
        notification, moments = refused_for_ever(settings, days=9)

    assert notification.state == DeliveryState.GIVEN_UP
    assert notification.error == "The mail server refused the connection."
    assert timedelta(days=3) <= moments[-1] - NOW < timedelta(days=3, hours=4)
    assert json.loads(entries[0].details)["n_attempts"] == len(moments)
    assert run(make_channels(port=1), at=NOW + timedelta(days=30)) == []


def test_a_message_that_nobody_tried_for_days_is_not_given_up_at_once(
    db: None, settings: Any
) -> None:
    make_alert()
    queue_digest(at=NOW, channels=make_channels(port=1))

    [tried] = run(make_channels(port=1), at=NOW + timedelta(days=10))

    assert (tried.state, tried.n_attempts) == ("queued", 1)


def test_staff_can_have_it_sent_again_with_one_entry(db: None, settings: Any) -> None:
    notification, _ = refused_for_ever(settings, days=9)
    at = NOW + timedelta(days=10)

    with one_entry(action="notification.retried", target_id=str(notification.pk)):
        give_again(notification.pk, by=BY, at=at)
    with smtp_sink() as sink:
        [sent] = run(sent_to(settings, sink.port), at=at)

    assert (sent.state, len(sink.mails)) == ("sent", 1)
    with pytest.raises(DeliveryConflict, match="not sent twice"):
        give_again(notification.pk, by=BY, at=at)


def test_a_corrected_address_is_used_for_what_waits(db: None, settings: Any) -> None:
    make_alert()
    queue_digest(at=NOW, channels=make_channels(port=1))
    with smtp_sink() as sink:
        channels = sent_to(settings, sink.port)
        corrected = Channels(mail_to=("new@example.com",), mail_from=channels.mail_from, smtp=True)
        [sent] = run(corrected)

    assert sink.mails[0]["To"] == sent.recipient == "new@example.com"


# -- claims -------------------------------------------------------------------------------------


def test_a_claimed_message_is_left_alone_until_the_claim_has_run_out(
    db: None, settings: Any
) -> None:
    make_alert()
    with smtp_sink() as sink:
        channels = sent_to(settings, sink.port)
        [notification] = queue_digest(at=NOW, channels=channels)
        assert outbox.claim(at=NOW, resting=()) == notification  # and then the process dies

        assert run(channels, at=NOW + timedelta(seconds=59)) == []
        with pytest.raises(DeliveryConflict, match="right now"):
            give_again(notification.pk, by=BY, at=NOW)
        [sent] = run(channels, at=NOW + outbox.LEASE)

    assert (sent.n_attempts, len(sink.mails)) == (2, 1)


def test_who_lost_the_claim_does_not_undo_what_the_other_recorded(db: None) -> None:
    make_alert()
    queue_digest(at=NOW, channels=make_channels(port=1))
    slow = outbox.claim(at=NOW, resting=())
    other = outbox.claim(at=NOW + outbox.LEASE, resting=())
    assert slow is not None and other is not None
    outbox.record_sent(other, "", at=NOW, by=BY)

    outbox.record_failure(slow, "too late", at=NOW, by=BY)
    outbox.record_sent(slow, "", at=NOW + timedelta(hours=1), by=BY)

    notification = Notification.objects.get()
    assert (notification.state, notification.sent_at, notification.error) == ("sent", NOW, "")
    assert AuditEntry.objects.filter(action="notification.sent").count() == 1


def test_channels_are_those_of_the_settings_and_show_no_secret(settings: Any) -> None:
    settings.ALERT_EMAIL, settings.EMAIL_HOST = "a@example.com, b@example.com", "mail.example.com"
    settings.WEBHOOK_URL, settings.WEBHOOK_SECRET = HOOK, SECRET

    channels = Channels.of(project_settings)

    assert (channels.mail_to, channels.mails) == (("a@example.com", "b@example.com"), True)
    assert (channels.posts, channels.base_url) == (True, "http://localhost:8000")
    assert SECRET not in repr(channels) and "secret-path" not in repr(channels)


def test_smtplib_still_asks_for_its_socket_where_we_give_it() -> None:
    """The deadline holds by that method alone, which is not a documented one."""
    assert "_get_socket" in smtplib.SMTP.connect.__code__.co_names
