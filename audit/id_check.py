"""The numbers of entries: a sequence behind them, and numbers that were given and are gone.

SQLite takes back the number of an insert that is rolled back, so there a missing number is a
missing entry. PostgreSQL does not, and leaves gaps.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from audit.chain_check import Chain
from audit.findings import Findings, Place, shortened
from audit.stored_entries import ENTRIES


def check_ids(chain: Chain, findings: Findings) -> None:
    """Compare the sequence with what was given; name entries that went before they were sealed."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT MAX(id) FROM {ENTRIES}")
        last = max(cursor.fetchone()[0] or 0, chain.last_id)
    given = _given_sqlite() if connection.vendor == "sqlite" else _given_postgresql(findings)
    if given is None:
        return
    if type(given) is not int:
        findings.broken(Place.SEQUENCE, None, f"holds {shortened(given)}, which is no number")
        return
    if given < last:
        findings.broken(
            Place.SEQUENCE, None, f"was set back to {given}, though entry {last} was written"
        )
    if connection.vendor == "sqlite":
        _name_missing(max(given, last), chain.sealed_ids, findings)


def _given_sqlite() -> object:
    """The last number given; 0 when none was."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [ENTRIES])
        rows = cursor.fetchall()
    return max((row[0] for row in rows), key=str) if rows else 0


def _given_postgresql(findings: Findings) -> object:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence(%s, 'id')", [ENTRIES])
        name = cursor.fetchone()[0]
        if name is None:
            findings.broken(Place.SEQUENCE, None, "is gone")
            return None
        cursor.execute("SELECT has_sequence_privilege(%s, 'SELECT')", [name])
        if not cursor.fetchone()[0]:
            findings.warning(Place.SEQUENCE, None, "could not be read: the role may not")
            return None
        cursor.execute(
            f"SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {name}"
        )
        return cursor.fetchone()[0]


def _name_missing(last: int, sealed_ids: Sequence[tuple[int, int]], findings: Findings) -> None:
    """Name the ranges of ids up to `last` that are neither stored nor sealed."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT before + 1, id - 1 FROM
            (SELECT id, LAG(id, 1, 0) OVER (ORDER BY id) AS before FROM {ENTRIES} WHERE id > 0)
            WHERE id > before + 1"""
        )
        gaps = cursor.fetchall()
        cursor.execute(f"SELECT MAX(id) FROM {ENTRIES}")
        greatest = max(cursor.fetchone()[0] or 0, 0)
    if greatest < last:
        gaps.append((greatest + 1, last))
    sealed = iter(sorted(sealed_ids))
    first_sealed, last_sealed = next(sealed, (last + 1, last + 1))
    for start, end in gaps:
        while start <= end:
            while last_sealed < start:
                first_sealed, last_sealed = next(sealed, (last + 1, last + 1))
            if start < first_sealed:
                _name(start, min(end, first_sealed - 1), findings)
            start = last_sealed + 1


def _name(first: int, last: int, findings: Findings) -> None:
    what = "is missing" if first == last else f"is missing, as all up to {last}"
    findings.broken(Place.ENTRY, first, f"{what}; it was written, and never sealed")
