"""What monitoring keeps for how long. Old reports and points stay as the last one of each week."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from audit import trail
from monitoring.models import (
    Alert,
    AlertState,
    DeliveryState,
    DriftInput,
    DriftReport,
    MonitoringPolicy,
    Notification,
    QualityPoint,
    Verdict,
)

AUDIT_ACTION = "monitoring.thinned"
KEEP_ENDED = timedelta(days=2 * 365)
"""Alerts that were resolved and notifications that are done stay for two years."""
CHUNK = 500
"""Rows named in one statement."""


@dataclass(frozen=True, slots=True)
class Thinned:
    """How many rows went."""

    n_inputs: int
    n_reports: int
    n_quality_points: int
    n_alerts: int
    n_notifications: int

    @property
    def is_nothing(self) -> bool:
        return not any(asdict(self).values())


@transaction.atomic
def thin(policy: MonitoringPolicy, *, at: datetime, by: trail.Actor) -> Thinned:
    """Delete what is old, with one entry if there is anything.

    A report that warned or found drift stays as long as an alert refers to it.
    """
    inputs_until = at - timedelta(days=policy.keep_inputs_days)
    all_until = at - timedelta(days=policy.keep_all_days)
    ended_until = at - KEEP_ENDED
    done = [DeliveryState.SENT, DeliveryState.GIVEN_UP]
    resolved = Alert.objects.filter(state=AlertState.RESOLVED, resolved_at__lt=ended_until)
    delivered = Notification.objects.filter(state__in=done, created_at__lt=ended_until)
    inputs = DriftInput.objects.filter(report__created_at__lt=inputs_until)
    thinned = Thinned(
        n_inputs=inputs.delete()[0],
        n_quality_points=_delete(QualityPoint.objects.all(), _points_to_go(all_until)),
        n_reports=_delete(DriftReport.objects.all(), _reports_to_go(all_until)),
        n_notifications=_delete(Notification.objects.all(), delivered.values_list("pk", flat=True)),
        n_alerts=_delete(Alert.objects.all(), resolved.values_list("pk", flat=True)),
    )
    if not thinned.is_nothing:
        trail.record(AUDIT_ACTION, by=by, details=asdict(thinned))
    return thinned


def _reports_to_go(before: datetime) -> list[int]:
    rows = (
        DriftReport.objects.filter(created_at__lt=before)
        .order_by("created_at", "pk")
        .values_list("pk", "created_at", "version_id", "source", "verdict")
    )
    found = [(pk, (version, source, week(at))) for pk, at, version, source, _ in rows]
    told_of = [pk for pk, *_, verdict in rows if verdict in (Verdict.WARNING, Verdict.DRIFT)]
    kept = set(
        Alert.objects.filter(report__created_at__lt=before, report__isnull=False).values_list(
            "report", flat=True
        )
    ) & set(told_of)
    return [pk for pk in all_but_last(found) if pk not in kept]


def _points_to_go(before: datetime) -> list[int]:
    rows = (
        QualityPoint.objects.filter(measured_at__lt=before)
        .order_by("measured_at", "pk")
        .values_list("pk", "measured_at", "version_id", "report__source")
    )
    return all_but_last((pk, (version, source, week(at))) for pk, at, version, source in rows)


def all_but_last(rows: Iterable[tuple[int, Hashable]]) -> list[int]:
    """The keys of all rows, in order of time, but the last of each group."""
    last: dict[Hashable, int] = {}
    gone = []
    for pk, group in rows:
        if group in last:
            gone.append(last[group])
        last[group] = pk
    return gone


def week(moment: datetime) -> tuple[int, int]:
    """The ISO 8601 year and week."""
    return moment.isocalendar()[:2]


def _delete(rows: QuerySet[Any, Any], keys: Iterable[int]) -> int:
    """Delete rows by key; returns how many, not counting what goes with them."""
    left = list(keys)
    for start in range(0, len(left), CHUNK):
        rows.filter(pk__in=left[start : start + CHUNK]).delete()
    return len(left)
