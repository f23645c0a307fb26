"""Reading the trail is recorded as well: who looked, by which filters, at how many entries."""

from __future__ import annotations

from collections.abc import Mapping

from audit import trail

READ = "audit.read"
MAX_FILTERS, MAX_NAME, MAX_TEXT = 12, 40, 90
"""Filters, and characters of their names and values; all of it fits, escaped twelvefold."""


def record_reading(*, by: trail.Actor, n_items: int, filters: Mapping[str, str]) -> None:
    """Leave one entry of a reading that showed `n_items` entries; `filters` are query parameters.

    The page must not be shown when this raises.
    """
    kept = {
        name[:MAX_NAME]: value[:MAX_TEXT] for name, value in sorted(filters.items())[:MAX_FILTERS]
    }
    trail.record(READ, by=by, n_items=n_items, details={"filters": kept})
