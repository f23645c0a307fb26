"""Pages of the trail, newest first, each as cheap as the first one at any depth.

A page begins beside an entry, named by its moment and id. Two entries may have one moment. An
entry whose moment cannot be read is on no page but the newest, if it sorts there.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet

from audit.leaf import EPOCH, microseconds
from audit.models import AuditEntry
from audit.search import conditions
from audit.stored_moments import fetched, readable

CURSOR = re.compile(r"(\d{1,18}) (\d{1,19}) (older|newer) ([0-9a-f]{8})", re.ASCII)
MAX_ID = 2**63 - 1
NEWEST = datetime.max.replace(tzinfo=UTC)


class BadCursor(ValueError):
    """It is none, is damaged, or is of a list with other filters."""


@dataclass(frozen=True, slots=True)
class Place:
    """Beside an entry: a page from here holds what is older than it, or newer."""

    at: datetime
    id: int
    is_newer: bool = False

    def cursor(self, filters: str) -> str:
        """As text for a link; `filters` is the fingerprint of those the list has."""
        side = "newer" if self.is_newer else "older"
        text = f"{microseconds(self.at)} {self.id} {side} {filters}"
        return base64.b64encode(text.encode()).decode()


def place_of(cursor: str, filters: str) -> Place:
    """The place that a cursor names. Raises `BadCursor`."""
    try:
        match = CURSOR.fullmatch(base64.b64decode(cursor, validate=True).decode("ascii"))
        if match is None or match[4] != filters or int(match[2]) > MAX_ID:
            raise BadCursor
        at = EPOCH + timedelta(microseconds=int(match[1]))
    except (ValueError, OverflowError) as error:
        raise BadCursor from error
    return Place(at, int(match[2]), is_newer=match[3] == "newer")


@dataclass(frozen=True, slots=True)
class Page:
    """Entries, newest first, and where the pages beside it begin."""

    entries: Sequence[AuditEntry]
    older: Place | None
    newer: Place | None


def page_of(
    entries: QuerySet[AuditEntry], *, size: int, place: Place | None = None, phrase: str = ""
) -> Page:
    """The page at a place of the entries, or the newest; with a phrase, of those that it finds.

    One query, and with a phrase five. Raises `audit.search.TooManyNames`.
    """
    is_newer = place is not None and place.is_newer
    found = _nearest(entries, size + 1, place, phrase)
    has_more = len(found) > size
    found = found[:size]
    if is_newer:
        found.reverse()
    has_older = has_more if not is_newer else bool(found)
    has_newer = has_more if is_newer else place is not None and bool(found)
    places = [(entry.at, entry.pk) for entry in found if entry.at is not None]
    places = places or [(NEWEST, MAX_ID)]  # what cannot be read fills the newest page
    return Page(
        found,
        older=Place(*places[-1]) if has_older else None,
        newer=Place(*places[0], is_newer=True) if has_newer else None,
    )


def _nearest(
    entries: QuerySet[AuditEntry], n: int, place: Place | None, phrase: str
) -> list[AuditEntry]:
    """The first `n` entries from a place on, in the direction that it looks."""
    order = ("-at", "-id")
    if place is not None:
        entries = readable(entries)
    if place is not None and place.is_newer:
        order = ("at", "id")
        entries = entries.filter(
            Q(at__gt=place.at) | Q(id__gt=place.id),
            at__gte=place.at,  # by itself a bound on the index
        )
    elif place is not None:
        entries = entries.filter(Q(at__lt=place.at) | Q(id__lt=place.id), at__lte=place.at)
    if phrase:
        parts = [entries.filter(part).order_by(*order)[:n] for part in conditions(phrase)]
        entries = AuditEntry.objects.filter(pk__in=_first_of_all(parts, n, order))
    return fetched(entries.order_by(*order)[:n])


def _first_of_all(parts: Sequence[QuerySet[AuditEntry]], n: int, order: Sequence[str]) -> list[int]:
    """The ids of the first `n` of several queries, each of which reads no more than that.

    One OR of them all would be read whole and sorted.
    """
    statements: list[str] = []
    params: list[Any] = []
    for number, part in enumerate(parts):
        statement, values = part.values_list("at", "id").query.sql_with_params()
        statements.append(f"SELECT * FROM ({statement}) AS part{number}")
        params += values
    direction = "DESC" if order[0].startswith("-") else "ASC"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM ({' UNION '.join(statements)}) AS found "
            f"ORDER BY at {direction}, id {direction} LIMIT {n}",
            params,
        )
        return [entry_id for (entry_id,) in cursor.fetchall()]
