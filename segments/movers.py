"""Customers who would come into another segment: a fair sample, found in bounded time."""

from __future__ import annotations

from dataclasses import dataclass

from modelregistry.models import ModelVersion
from segments.customer_sample import sample_customers
from segments.models import Assignment

N_LOOKED_AT = 2_000
MAX_NAMED = 20


@dataclass(frozen=True, slots=True)
class Mover:
    """A customer's segments by name under the version compared with and the one looked at.

    None is noise.
    """

    customer_id: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Movers:
    """`named` are the first of the `n_moving` among the `n_compared` that were looked at;
    `are_all` says that all stored customers were."""

    n_compared: int
    n_moving: int
    named: list[Mover]
    are_all: bool


def sample_movers(after: ModelVersion, before: ModelVersion) -> Movers:
    """Look at some stored customers that both versions know as they are; three queries."""
    sample = sample_customers(N_LOOKED_AT)
    ids = sample.ids
    found: dict[str, dict[int, Assignment]] = {}
    # By customer alone: told of the versions too, SQLite walks all that these assigned.
    for row in Assignment.objects.filter(customer_id__in=ids).select_related("segment"):
        found.setdefault(row.customer_id, {})[row.version_id] = row
    n_compared, moving = 0, []
    for key in ids:
        own = found.get(key, {})
        mine, other = own.get(after.pk), own.get(before.pk)
        if mine is None or other is None or mine.customer_revision != other.customer_revision:
            continue
        n_compared += 1
        if mine.segment_id != other.segment_id:
            moving.append(Mover(key, _name(other), _name(mine)))
    return Movers(n_compared, len(moving), moving[:MAX_NAMED], sample.are_all)


def _name(assignment: Assignment) -> str | None:
    return assignment.segment.name if assignment.segment else None
