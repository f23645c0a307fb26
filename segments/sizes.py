"""How many customers are stored, and how many are in each segment of a version.

To count reads an index from end to end, which takes some tenths of a second for a million
customers: large counts are kept for minutes, small ones made anew each time. Each says of when it
is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.core.cache import cache
from django.db.models import Count

from segments.models import Assignment, Customer

MANY = 50_000
"""Customers from which on a count is kept; fewer took 10 ms on SQLite and 25 on PostgreSQL."""
KEPT_SECONDS = 60
CUSTOMERS_A_SECOND = 5_000
"""Customers for each further second that a count is kept: it costs about the same at any size."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Customers by the id of their segment, None being noise, at a moment."""

    by_segment: Mapping[int | None, int]
    counted_at: datetime

    @property
    def n_customers(self) -> int:
        return sum(self.by_segment.values())

    def share(self, segment_id: int | None) -> float | None:
        """Of all customers with an assignment; None of nobody."""
        return self.by_segment.get(segment_id, 0) / self.n_customers if self.n_customers else None


def segment_sizes(version_id: int, *, at: datetime) -> Sizes:
    """One query, or none."""

    def count() -> Mapping[int | None, int]:
        assigned = Assignment.objects.filter(version=version_id).order_by()
        return dict(assigned.values_list("segment_id").annotate(n=Count("*")))

    return _kept(f"segments.sizes.{version_id}", count, at=at)


def stored_customers(*, at: datetime) -> Sizes:
    """All of them, whether in a segment or not; one query, or none."""
    return _kept("segments.sizes", lambda: {None: Customer.objects.count()}, at=at)


def _kept(key: str, count: Callable[[], Mapping[int | None, int]], *, at: datetime) -> Sizes:
    kept: Sizes | None = cache.get(key)
    if kept is not None:
        return kept
    sizes = Sizes(count(), at)
    if sizes.n_customers >= MANY:
        cache.set(key, sizes, max(KEPT_SECONDS, sizes.n_customers // CUSTOMERS_A_SECOND))
    return sizes
