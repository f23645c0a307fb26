"""An audit trail that is not sealed in time, or not anchored, raises an alert and ends it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection

from audit import append_only
from audit.models import AuditSeal
from audit.sealer import Sealer
from monitoring.artifact_watch import ArtifactWatch
from monitoring.drift_check import CheckTerms
from monitoring.models import Alert, MonitoringPolicy
from monitoring.sealing_watch import SEALED_WITHIN, sealing_conditions
from monitoring.upkeep import look_at_conditions
from segmentation_project.management.commands import monitor as command
from tests.audit.sealed_trail import SealedTrail, sealed_trail
from tests.factories import BY

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.fixture
def trail(db: None, tmp_path: Path) -> Iterator[SealedTrail]:
    with sealed_trail(tmp_path) as made:
        yield made


def bad(sealer: Sealer | None, at: datetime) -> dict[str, str]:
    """The summaries of the alarming conditions by their keys."""
    return {each.key: each.summary for each in sealing_conditions(sealer, at=at) if each.is_bad}


def test_an_entry_may_wait_for_five_minutes(trail: SealedTrail) -> None:
    sealer = Sealer(trail.files, interval=MINUTE)
    assert bad(sealer, NOW) == {}
    trail.add(2, at=NOW)

    assert bad(sealer, NOW + SEALED_WITHIN - SECOND) == {}
    assert bad(sealer, NOW + SEALED_WITHIN) == {
        "sealing": "2 entries are not sealed, the first of 2026-03-01 12:00 UTC."
    }
    trail.seal()
    assert bad(sealer, NOW + SEALED_WITHIN) == {}


def test_or_for_five_intervals_where_these_are_longer(trail: SealedTrail) -> None:
    sealer = Sealer(trail.files, interval=10 * MINUTE)
    trail.add(1, at=NOW)

    assert bad(sealer, NOW + 50 * MINUTE - SECOND) == {}
    assert "1 entry is not sealed" in bad(sealer, NOW + 50 * MINUTE)["sealing"]


def test_who_is_catching_up_is_left_alone(trail: SealedTrail) -> None:
    sealer = Sealer(trail.files)
    trail.add(1, at=NOW)
    sealer.is_catching_up = True

    assert bad(sealer, NOW + MINUTE * 60) == {}


def test_what_kept_the_sealer_from_sealing_is_told(trail: SealedTrail) -> None:
    sealer = Sealer(trail.files)
    trail.add(1, at=NOW)
    sealer.problem = "The key is gone."

    assert bad(sealer, NOW + MINUTE * 60)["sealing"].endswith("12:00 UTC. The key is gone.")
    assert bad(None, NOW + MINUTE * 60)["sealing"].endswith("--every`, which must run.")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite stores such a value")
def test_an_entry_that_cannot_be_sealed_is_named(trail: SealedTrail) -> None:
    append_only.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_auditentry (id, at, actor_kind, actor_id, actor_label, action,"
            " target_type, target_id, outcome, request_id, peer_address, address, details)"
            " VALUES (3, 'soon', 'system', '', '', x'00', '', '', 'succeeded', '', '', '', '{}')"
        )
    append_only.install(connection)

    assert bad(Sealer(trail.files), NOW) == {
        "sealing": "1 entry is not sealed. Entry 3 cannot be sealed: it holds a value of the type "
        "bytes."
    }


def test_the_alerts_are_raised_once_and_end_with_sealing_and_anchoring(
    trail: SealedTrail, settings: object
) -> None:
    monitor = command.Monitor(CheckTerms.of(settings))
    assert monitor.sealer is not None
    trail.add(1, at=NOW)
    trail.files.key.chmod(0o644)

    def look(at: datetime) -> None:
        monitor.seal(at)
        look_at_conditions(
            ArtifactWatch(), terms=monitor.terms, at=at, by=BY, sealer=monitor.sealer
        )

    look(NOW + 6 * MINUTE)
    look(NOW + 7 * MINUTE)
    alert = Alert.objects.get()
    assert (alert.kind, alert.key, alert.state) == ("sealing", "sealing", "firing")
    assert "chmod 600" in alert.summary

    trail.files.key.chmod(0o600)
    trail.files.anchors.mkdir()
    look(NOW + 8 * MINUTE)
    trail.files.anchors.rmdir()
    for minute in range(9, 9 + MonitoringPolicy.current().resolutions):
        look(NOW + minute * MINUTE)

    assert dict(Alert.objects.values_list("key", "state")) == {
        "sealing": "resolved",
        "sealing:anchors": "resolved",
    }
    anchors = Alert.objects.get(key="sealing:anchors")
    assert f"{trail.files.anchors}: Is a directory" in anchors.summary
    assert AuditSeal.objects.exists() and trail.is_clean()


def test_the_monitor_seals_at_its_interval_and_goes_on_while_it_catches_up(
    trail: SealedTrail, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "close_old_connections", lambda: None)
    settings.AUDIT_SEAL_SECONDS = 30  # type: ignore[attr-defined]
    monitor = command.Monitor(CheckTerms.of(settings))
    assert monitor.sealer is not None
    rounds: list[float] = []
    monkeypatch.setattr(monitor.sealer, "seal", lambda **kwargs: rounds.append(clock))

    for clock in (0.0, 2.0, 29.0, 30.0, 32.0):
        monitor.tick(clock)
    assert rounds == [0.0, 30.0]

    monitor.sealer.is_catching_up = True
    for clock in (34.0, 36.0):
        monitor.tick(clock)
    assert rounds == [0.0, 30.0, 34.0, 36.0]


def test_the_monitor_leaves_sealing_to_others_when_it_is_told_to(
    trail: SealedTrail, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "close_old_connections", lambda: None)
    settings.AUDIT_SEAL_SECONDS = 0  # type: ignore[attr-defined]
    trail.add(1)
    trail.files.key.unlink()

    command.Monitor(CheckTerms.of(settings)).tick(0.0)

    assert not AuditSeal.objects.exists() and not trail.files.key.exists()
