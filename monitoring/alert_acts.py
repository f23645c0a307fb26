"""What staff do about alerts: acknowledge, silence, resolve, one of them or several at once.

Each act leaves an event in the life of every alert and one audit entry, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from audit import trail
from audit.digests import ids_sha256
from monitoring.alerts import MAX_LABEL, TARGET, event_of, record_event
from monitoring.models import Alert, AlertEvent, AlertState

MAX_NOTE = 500
MAX_SILENCE = timedelta(days=366)
MAX_IDS = 200
"""Alerts named in the entry of one act on several; all of them are counted."""


class AlertConflict(Exception):
    """The alert is in no state for what somebody wants to do with it."""


class AlertGone(AlertConflict):
    """Old alerts are thinned out, some of them while a person looks at the list."""


@transaction.atomic
def acknowledge(alert_id: int, *, by: trail.Actor, at: datetime, note: str = "") -> Alert:
    """Somebody looks after it: no digest tells of it until it is resolved."""
    return _recorded(_acknowledged(alert_id, by=by, at=at, note=note), by=by)


@transaction.atomic
def acknowledge_all(
    alert_ids: Iterable[int], *, by: trail.Actor, at: datetime, note: str = ""
) -> None:
    """All of them or none: half an action would be hard to tell from a whole one."""
    _record_all([_acknowledged(pk, by=by, at=at, note=note) for pk in sorted(alert_ids)], by=by)


@transaction.atomic
def silence(
    alert_id: int, *, until: datetime, by: trail.Actor, at: datetime, note: str = ""
) -> Alert:
    """Let no digest tell of it until a moment, at which the silence ends by itself."""
    return _recorded(_silenced(alert_id, until=until, by=by, at=at, note=note), by=by)


@transaction.atomic
def silence_all(
    alert_ids: Iterable[int], *, until: datetime, by: trail.Actor, at: datetime, note: str = ""
) -> None:
    """All of them or none."""
    _record_all(
        [_silenced(pk, until=until, by=by, at=at, note=note) for pk in sorted(alert_ids)], by=by
    )


@transaction.atomic
def unsilence(alert_id: int, *, by: trail.Actor, at: datetime, note: str = "") -> Alert:
    """End the silence now."""
    alert = _unresolved(alert_id, "taken out of silence")
    if alert.silenced_until is None or alert.silenced_until <= at:
        raise AlertConflict("The alert is not silenced.")
    changes = {"silenced_until": [_written(alert.silenced_until), None]}
    alert.silenced_until, alert.silenced_by = None, ""
    return _recorded(
        _acted(alert, AlertEvent.Kind.UNSILENCED, changes, at=at, by=by, note=note), by=by
    )


@transaction.atomic
def resolve(alert_id: int, *, by: trail.Actor, at: datetime, note: str = "") -> Alert:
    """Somebody says that it is over; when it is seen again within the cool-down it reopens."""
    return _recorded(_resolved(alert_id, by=by, at=at, note=note), by=by)


@transaction.atomic
def resolve_all(alert_ids: Iterable[int], *, by: trail.Actor, at: datetime, note: str = "") -> None:
    """All of them or none."""
    _record_all([_resolved(pk, by=by, at=at, note=note) for pk in sorted(alert_ids)], by=by)


def _unresolved(alert_id: int, what: str) -> Alert:
    """The alert, locked. Raises `AlertGone`, or `AlertConflict` for a resolved one."""
    alert = Alert.objects.select_for_update().filter(pk=alert_id).first()
    if alert is None:
        raise AlertGone(f"Alert {alert_id} is no longer there, so it cannot be {what}.")
    if alert.state == AlertState.RESOLVED:
        raise AlertConflict(f"The alert is resolved already and cannot be {what}.")
    return alert


@dataclass(frozen=True, slots=True)
class _Act:
    """What a person did, saved and not yet recorded; `changes` as the trail keeps them."""

    event: AlertEvent
    changes: Mapping[str, Any]


def _acknowledged(alert_id: int, *, by: trail.Actor, at: datetime, note: str = "") -> _Act:
    alert = _unresolved(alert_id, "acknowledged")
    if alert.acknowledged_at is not None:
        raise AlertConflict(f"The alert is already acknowledged, by {alert.acknowledged_by}.")
    alert.acknowledged_at, alert.acknowledged_by = at, by.label[:MAX_LABEL]
    changes = {"acknowledged_by": [None, alert.acknowledged_by]}
    return _acted(alert, AlertEvent.Kind.ACKNOWLEDGED, changes, at=at, by=by, note=note)


def _silenced(
    alert_id: int, *, until: datetime, by: trail.Actor, at: datetime, note: str = ""
) -> _Act:
    alert = _unresolved(alert_id, "silenced")
    if until <= at:
        raise AlertConflict("A silence must end in the future.")
    if until > at + MAX_SILENCE:
        raise AlertConflict(f"A silence lasts at most {MAX_SILENCE.days} days.")
    changes = {"silenced_until": [_written(alert.silenced_until), _written(until)]}
    alert.silenced_until, alert.silenced_by = until, by.label[:MAX_LABEL]
    note = note or f"Until {until:%Y-%m-%d %H:%M}."
    return _acted(alert, AlertEvent.Kind.SILENCED, changes, at=at, by=by, note=note)


def _resolved(alert_id: int, *, by: trail.Actor, at: datetime, note: str = "") -> _Act:
    alert = _unresolved(alert_id, "resolved")
    changes = {"state": [str(alert.state), AlertState.RESOLVED.value]}
    alert.state, alert.resolved_at = AlertState.RESOLVED, at
    alert.resolution = note or f"By {by.label}."[:MAX_NOTE]
    return _acted(alert, AlertEvent.Kind.RESOLVED, changes, at=at, by=by, note=note)


def _acted(
    alert: Alert,
    kind: AlertEvent.Kind,
    changes: Mapping[str, Any],
    *,
    at: datetime,
    by: trail.Actor,
    note: str,
) -> _Act:
    """Save what a person did, with its event; recording it is left."""
    if len(note) > MAX_NOTE:
        raise AlertConflict(f"A note has at most {MAX_NOTE} characters.")
    alert.save()
    event = event_of(alert, kind, at=at, by=by, note=note)
    event.save()
    return _Act(event, changes)


def _recorded(act: _Act, *, by: trail.Actor) -> Alert:
    record_event(act.event, by=by, details={"changes": act.changes})
    return act.event.alert


def _record_all(acts: Sequence[_Act], *, by: trail.Actor) -> None:
    """One entry for the same act on several alerts."""
    if len(acts) == 1:
        _recorded(acts[0], by=by)
        return
    ids = [act.event.alert_id for act in acts]
    note = acts[0].event.note
    trail.record(
        f"alert.{acts[0].event.kind}",
        by=by,
        target=(TARGET, ""),
        n_items=len(ids),
        details={
            **({"note": note} if note else {}),
            "ids": ids[:MAX_IDS],
            "sha256": ids_sha256(ids),
        },
    )


def _written(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
