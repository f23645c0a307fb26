"""Which entries are asked for: who, what, on what, how it ended, in which request, when.

Each filter on its own reads an index in the order of `at`; several together read the index of the
rarest, and pass over what the others leave out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from django.db import connection
from django.db.models import QuerySet, Value
from django.db.models.functions import Coalesce

from audit.models import AuditEntry, Outcome

TABLE = AuditEntry._meta.db_table
LOOKUPS: Mapping[str, str] = {
    "request_id": "request_id",
    "target": "target_id",
    "outcome": "outcome",
    "actor": "actor_id",
    "action": "action",
    "target_type": "target_type",
    "actor_kind": "actor_kind",
    "since": "at__gte",
    "until": "at__lt",
}
"""What each filter is called by those who ask, and its lookup; the rarest first, as a rule."""
MAX_COUNTED = 10_000
"""Entries that are counted to tell which of several filters is the rarest; a millisecond."""


def matching(given: Mapping[str, Any]) -> QuerySet[AuditEntry]:
    """The entries that fit each of the filters given; what is no filter is passed over."""
    return narrowed(AuditEntry.objects.all(), given)


def narrowed(entries: QuerySet[AuditEntry], given: Mapping[str, Any]) -> QuerySet[AuditEntry]:
    """Those of the entries that fit each of the filters given.

    SQLite keeps no statistics, and may read the entries of the commonest value for those of the
    rarest. There, of several filters that are no range, all but the rarest hide from the indexes.
    """
    names = [name for name in LOOKUPS if given.get(name) not in (None, "")]
    exact = [name for name in names if name not in ("since", "until")]
    rarest = ""
    if connection.vendor == "sqlite" and len(exact) > 1:
        rarest = min(exact, key=lambda name: _fitting(AuditEntry.objects, name, given[name])
                     .order_by()[:MAX_COUNTED].count())  # fmt: skip
    for name in names:
        if rarest and name in exact and name != rarest:
            hidden = {f"hidden_{name}": Coalesce(LOOKUPS[name], Value(""))}
            entries = entries.alias(**hidden).filter(**{f"hidden_{name}": given[name]})
        else:
            entries = _fitting(entries, name, given[name])
    return entries


def _fitting(entries: Any, name: str, value: Any) -> QuerySet[AuditEntry]:
    if name == "outcome" and value != Outcome.SUCCEEDED:
        # The condition of the index, without which SQLite does not see that it may read it.
        entries = entries.exclude(outcome=Outcome.SUCCEEDED)
    found: QuerySet[AuditEntry] = entries.filter(**{LOOKUPS[name]: value})
    return found


def fingerprint(given: Mapping[str, Any]) -> str:
    """Eight digits that tell filters, by names and values, from others."""
    text = json.dumps(sorted((name, str(value)) for name, value in given.items()))
    return sha256(text.encode()).hexdigest()[:8]


def names_in(column: str) -> list[str]:
    """The different values of an indexed column, in order, without the empty one.

    One step in the index for each of them, however many entries carry it.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"""WITH RECURSIVE names (name) AS (
            SELECT (SELECT {column} FROM {TABLE} WHERE {column} > '' ORDER BY {column} LIMIT 1)
            UNION ALL
            SELECT (SELECT {column} FROM {TABLE} WHERE {column} > names.name
                ORDER BY {column} LIMIT 1)
            FROM names WHERE names.name IS NOT NULL)
            SELECT name FROM names WHERE name IS NOT NULL""")
        return [name for (name,) in cursor.fetchall()]
