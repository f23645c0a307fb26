"""How models serve: calls of `POST /predict`, summed up from the entries that each one leaves.

A request pays nothing for its figures. They are what is rolled up plus the entries since, so they
hold over restarts, with any number of processes, and when old entries are pruned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
from django.db import connection, transaction
from django.db.models import CharField, Max, Min, Value
from django.db.models.functions import Cast, Coalesce, Substr
from numpy.typing import NDArray

from audit.models import AuditEntry, Outcome
from modelregistry.models import ModelVersion
from monitoring.models import ServingHour, ServingMark
from segments.prediction import AUDIT_ACTION, MODEL_TYPE_TARGET

SETTLED_AFTER = timedelta(minutes=2)
"""Entries younger than this wait: ids commit out of order, within the minute a request may take."""
CHUNK = 50_000
"""Entries rolled up in one transaction."""
ALL_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The `hour` of the row that sums up all hours, for counters that never fall."""
NO_VERSION = 0
STEPS_A_DOUBLING = 16
"""Buckets grow by 2^(1/16), 4.4 %: a percentile is off by no more, and by half on average."""
SHORTEST_MS = 2.0**-6
PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

Key: TypeAlias = tuple[str, int, datetime]
"""Model type, version number and hour."""
# One statement, so that a roll-up in between cannot count an entry twice or not at all.
HOURS_AND_MARK = """SELECT mark.audit_id AS mark, hours.*
    FROM monitoring_servingmark mark
    LEFT JOIN monitoring_servinghour hours ON {condition}"""


@dataclass(slots=True)
class Calls:
    """Sums over some calls; `latencies` counts answers by bucket."""

    n_requests: int = 0
    n_customers: int = 0
    n_refused: int = 0
    n_failed: int = 0
    latency_ms_sum: float = 0.0
    latencies: Counter[int] = field(default_factory=Counter)

    def count(
        self, outcome: str, n_items: Sequence[int | None], durations_ms: Sequence[float | None]
    ) -> None:
        """Add calls of one outcome."""
        if outcome == Outcome.REFUSED:
            self.n_refused += len(n_items)
        elif outcome == Outcome.FAILED:
            self.n_failed += len(n_items)
        else:
            self.n_requests += len(n_items)
            self.n_customers += sum(filter(None, n_items))
            durations = np.array([ms for ms in durations_ms if ms is not None], dtype=np.float64)
            self.latency_ms_sum += float(durations.sum())
            buckets, counts = np.unique(buckets_of(durations), return_counts=True)
            self.latencies.update(dict(zip(buckets.tolist(), counts.tolist(), strict=True)))

    def add(self, other: Calls | ServingHour) -> None:
        """Add the sums of others: a row's buckets are named by their bounds."""
        self.n_requests += other.n_requests
        self.n_customers += other.n_customers
        self.n_refused += other.n_refused
        self.n_failed += other.n_failed
        self.latency_ms_sum += other.latency_ms_sum
        if isinstance(other, Calls):
            self.latencies.update(other.latencies)
        else:
            bounds = np.array(list(map(float, other.latencies)), dtype=np.float64)
            buckets = buckets_of(bounds).tolist()
            self.latencies.update(dict(zip(buckets, other.latencies.values(), strict=True)))

    def put_into(self, row: ServingHour) -> None:
        for name in ("n_requests", "n_customers", "n_refused", "n_failed", "latency_ms_sum"):
            setattr(row, name, getattr(self, name))
        row.latencies = {
            f"{upper_bound_ms(bucket):.6g}": n for bucket, n in sorted(self.latencies.items())
        }

    def percentiles_ms(self) -> dict[str, float | None]:
        return {name: quantile_ms(self.latencies, share) for name, share in PERCENTILES.items()}


Sums: TypeAlias = dict[Key, Calls]


def buckets_of(durations_ms: NDArray[np.float64]) -> NDArray[np.int64]:
    """The buckets whose upper bound is the first not below each duration."""
    exponents = STEPS_A_DOUBLING * np.log2(np.maximum(durations_ms, SHORTEST_MS))
    # A bound read back from its text may lie a little above itself.
    return np.ceil(exponents - 1e-4).astype(np.int64)


def upper_bound_ms(bucket: int) -> float:
    return 2.0 ** (bucket / STEPS_A_DOUBLING)


def quantile_ms(latencies: Mapping[int, int], share: float) -> float | None:
    """The duration that a share of the answers took at the most, within its bucket by geometry."""
    rank = share * sum(latencies.values())
    below = 0
    for bucket, n in sorted(latencies.items()):
        if n and below + n >= rank:
            return round(upper_bound_ms(bucket - 1 + (rank - below) / n), 3)  # type: ignore[arg-type]
        below += n
    return None


# Rolling up.


def roll_up(*, at: datetime, max_entries: int = CHUNK) -> int:
    """Sum up settled entries of the trail that are not yet; returns how many.

    Whoever moves the mark first has summed them up: another process at the same time adds nothing.
    """
    mark = ServingMark.objects.get_or_create(pk=1)[0].audit_id
    settled = _settled_id(at - SETTLED_AFTER)
    entries = list(_entries(after=mark, up_to=settled)[:max_entries])
    new_mark = entries[-1][0] if len(entries) == max_entries else settled
    if new_mark <= mark:
        return 0
    sums = summed(entries)
    with transaction.atomic():
        moved = ServingMark.objects.filter(audit_id=mark).update(audit_id=new_mark)
        if not moved:
            return 0
        _store(_with_all_time(sums))
    return len(entries)


def _settled_id(before: datetime) -> int:
    """The last id up to which every entry was written before a moment."""
    young = AuditEntry.objects.filter(at__gte=before).aggregate(first=Min("id"))["first"]
    if young is not None:
        return int(young) - 1
    return AuditEntry.objects.aggregate(last=Max("id"))["last"] or 0


Entry: TypeAlias = tuple[int, str, str, str, str, int | None, float | None]


def _entries(*, after: int, up_to: int | None = None) -> Any:
    # Read along the key from the mark on: SQLite, if it could, would take all calls off the index
    # of actions and sort them.
    entries = AuditEntry.objects.alias(kind=Coalesce("action", Value("")))
    calls = entries.filter(kind=AUDIT_ACTION, id__gt=after).order_by("id")
    if up_to is not None:
        calls = calls.filter(id__lte=up_to)
    # The hour as text, for both databases keep and show moments in UTC: to parse each would take
    # most of the time.
    hour = Substr(Cast("at", CharField()), 1, len("2026-01-31 23"))
    return calls.annotate(hour=hour).values_list(
        "id", "hour", "target_type", "target_id", "outcome", "n_items", "duration_ms"
    )


def summed(entries: Iterable[Entry]) -> Sums:
    """The calls by model type, version and hour; one refused before it named a model has none."""
    alike: dict[tuple[str, ...], tuple[list[int | None], list[float | None]]] = {}
    for _, hour, target_type, target_id, outcome, n_items, duration_ms in entries:
        kind = (hour, target_type, target_id, outcome)
        items, durations = alike.setdefault(kind, ([], []))
        items.append(n_items)
        durations.append(duration_ms)
    sums: Sums = {}
    for (hour, target_type, target_id, outcome), (items, durations) in alike.items():
        served = _served(target_type, target_id)
        if served is not None:
            key = (*served, datetime.strptime(hour, "%Y-%m-%d %H").replace(tzinfo=UTC))
            sums.setdefault(key, Calls()).count(outcome, items, durations)
    return sums


def _served(target_type: str, target_id: str) -> tuple[str, int] | None:
    if target_type == "model_version":
        model_type, _, number = target_id.partition(" ")
        return model_type, int(number)
    return (target_id, NO_VERSION) if target_type == MODEL_TYPE_TARGET else None


def _with_all_time(sums: Sums) -> Sums:
    totals: Sums = {}
    for (model_type, number, _), calls in sums.items():
        totals.setdefault((model_type, number, ALL_TIME), Calls()).add(calls)
    return {**sums, **totals}


def _store(sums: Sums) -> None:
    """Add sums to their rows; two reads and two writes at the most. The mark's row is held."""
    hours = {hour for _, _, hour in sums}
    rows = {
        (row.model_type, row.version_number, row.hour): row
        for row in ServingHour.objects.filter(hour__in=hours)
    }
    for key, calls in sums.items():
        if key in rows:
            calls.add(rows[key])
        else:
            rows[key] = ServingHour(model_type=key[0], version_number=key[1], hour=key[2])
        calls.put_into(rows[key])
    changed = [rows[key] for key in sums]
    fields = [*("n_requests", "n_customers", "n_refused", "n_failed"), "latency_ms_sum"]
    ServingHour.objects.bulk_update(
        [row for row in changed if row.pk], [*fields, "latencies"], batch_size=100
    )
    ServingHour.objects.bulk_create([row for row in changed if not row.pk])


# Reading.


def calls_since(since: datetime) -> Sums:
    """Calls by model type, version and hour, from the hour of a moment on; two queries."""
    return _rolled_up_and_rest(
        "hours.hour >= %s", connection.ops.adapt_datetimefield_value(whole_hour(since))
    )


def calls_ever() -> Sums:
    """All calls by model type and version, under the hour `ALL_TIME`; two queries."""
    sums = _rolled_up_and_rest(
        "hours.hour = %s", connection.ops.adapt_datetimefield_value(ALL_TIME)
    )
    totals: Sums = {}
    for (model_type, number, _), calls in sums.items():
        totals.setdefault((model_type, number, ALL_TIME), Calls()).add(calls)
    return totals


def _rolled_up_and_rest(condition: str, moment: object) -> Sums:
    rows = list(ServingHour.objects.raw(HOURS_AND_MARK.format(condition=condition), [moment]))
    mark: int = rows[0].mark if rows else 0  # type: ignore[attr-defined]  # of the statement
    sums = summed(_entries(after=mark).iterator(chunk_size=10_000))
    for row in rows:
        if row.pk is not None:  # a mark without hours
            key = (row.model_type, row.version_number, row.hour)
            sums.setdefault(key, Calls()).add(row)
    return sums


def whole_hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def serving_figures(version: ModelVersion, *, since: datetime, at: datetime) -> dict[str, Any]:
    """Figures of `POST /predict` for one version, from the hour of a moment on; two queries.

    What no version answered (`n_refused`, `n_failed`) is counted for the model type.
    """
    since = whole_hour(since)
    answered, errors = Calls(), Calls()
    for (model_type, number, hour), calls in calls_since(since).items():
        if model_type != version.model_type or hour < since:
            continue
        if number == version.number:
            answered.add(calls)
        elif number == NO_VERSION:
            errors.add(calls)
    minutes = max((at - since) / timedelta(minutes=1), 1.0)
    return {
        "since": since,
        "n_requests": answered.n_requests,
        "n_customers": answered.n_customers,
        "n_refused": answered.n_refused + errors.n_refused,
        "n_failed": answered.n_failed + errors.n_failed,
        "requests_per_minute": round(answered.n_requests / minutes, 3),
        "customers_per_minute": round(answered.n_customers / minutes, 3),
        "latency_ms": answered.percentiles_ms(),
    }
