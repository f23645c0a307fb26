"""Once a day the last seal goes out by mail, with the line that the trail is verified against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.test import Client

from audit.anchors import anchor_of, append_heads
from monitoring.drift_check import CheckTerms
from monitoring.head_mail import queue_head_mail
from monitoring.models import Notification
from monitoring.outbox import deliver
from segmentation_project.management.commands import monitor as command
from tests.audit.sealed_trail import SealedTrail, sealed_trail
from tests.factories import BY
from tests.monitoring.alert_rows import make_channels
from tests.smtp_sink import smtp_sink

NOW = datetime(2026, 3, 1, 0, 1, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
CHANNELS = make_channels(port=25)


@pytest.fixture
def trail(db: None, tmp_path: Path) -> Iterator[SealedTrail]:
    with sealed_trail(tmp_path) as made:
        yield made


def test_one_mail_a_day_tells_of_the_head_and_of_what_was_sealed_since(trail: SealedTrail) -> None:
    assert queue_head_mail(at=NOW, channels=CHANNELS) is None  # nothing is sealed yet
    trail.add(5)
    trail.seal(at_most=2, at=NOW)

    first = queue_head_mail(at=NOW + MINUTE, channels=CHANNELS)
    another_sender = replace(CHANNELS, mail_from="seals@example.org")
    for channels in (CHANNELS, another_sender):
        assert queue_head_mail(at=NOW + 2 * MINUTE, channels=channels) is None
    trail.add(1)
    [batch] = trail.seal(at=NOW + DAY - MINUTE)
    second = queue_head_mail(at=NOW + DAY, channels=CHANNELS)

    assert first is not None and second is not None
    assert "Since the last such mail 5 entries were sealed by 3 seals." in first.text
    assert "Since the last such mail 1 entries were sealed by 1 seals." in second.text
    assert (first.subject, second.subject) == ("Audit trail: seal 3", "Audit trail: seal 4")
    assert f"Digest  {batch.digest}" in second.text
    assert f"Key     {trail.signer.key_id}" in second.text


def test_its_last_line_is_an_anchor_that_the_trail_is_verified_against(
    trail: SealedTrail, tmp_path: Path
) -> None:
    trail.add(1)
    [batch] = trail.seal(at=NOW)
    mail = queue_head_mail(at=NOW, channels=CHANNELS)
    assert mail is not None

    anchor = anchor_of(1, mail.text.splitlines()[-1])

    assert (anchor.no, anchor.digest, anchor.at) == (1, batch.digest, NOW)
    append_heads(tmp_path / "kept", [anchor])
    assert (tmp_path / "kept").read_text() == trail.files.anchors.read_text()


def test_two_monitors_at_once_queue_one(
    trail: SealedTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second looks before the first one's mail is there."""
    trail.add(1)
    trail.seal(at=NOW)
    queue_head_mail(at=NOW, channels=CHANNELS)
    monkeypatch.setattr("monitoring.head_mail.is_queued", lambda prefix: False)

    assert queue_head_mail(at=NOW, channels=CHANNELS) is None

    assert Notification.objects.count() == 1


def test_without_a_mail_server_none_is_queued(trail: SealedTrail) -> None:
    trail.add(1)
    trail.seal()

    assert queue_head_mail(at=NOW, channels=make_channels(webhook_url="https://x.org/")) is None


@pytest.mark.parametrize("is_wanted", [True, False])
def test_the_monitor_mails_it_unless_told_otherwise(
    trail: SealedTrail, settings: object, is_wanted: bool
) -> None:
    settings.AUDIT_HEAD_MAIL = is_wanted  # type: ignore[attr-defined]
    settings.EMAIL_HOST, settings.ALERT_EMAIL = "mail.example.com", "team@example.com"  # type: ignore[attr-defined]
    trail.add(1)
    trail.seal(at=NOW)

    command.Monitor(CheckTerms.of(settings)).mail_head(NOW)

    assert Notification.objects.count() == is_wanted


def test_it_arrives_as_plain_text_with_the_whole_line(trail: SealedTrail, settings: object) -> None:
    trail.add(1)
    [batch] = trail.seal(at=NOW)
    with smtp_sink() as sink:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", sink.port  # type: ignore[attr-defined]
        settings.EMAIL_USE_TLS = False  # type: ignore[attr-defined]
        channels = make_channels(port=sink.port)
        queue_head_mail(at=NOW, channels=channels)
        [tried] = deliver(channels=channels, at=lambda: NOW, within=MINUTE, by=BY)

    assert (tried.state, tried.error) == ("sent", "")
    [message] = sink.mails
    assert message.get_content_type() == "text/plain"
    assert str(batch.anchor) in message.get_payload(decode=True).decode().splitlines()


def test_its_page_shows_it(trail: SealedTrail, admin_client: Client) -> None:
    trail.add(1)
    [batch] = trail.seal(at=NOW)
    mail = queue_head_mail(at=NOW, channels=CHANNELS)
    assert mail is not None

    page = admin_client.get(f"/admin/monitoring/notification/{mail.pk}/change/")

    assert page.status_code == 200
    assert batch.digest in page.content.decode()
