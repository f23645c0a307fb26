"""The trail as the database holds it, read for hashing: raw values, no model instances.

Values come in the order of `audit.leaf.FIELDS`, with `at` as an aware datetime. What no entry can
hold (a moment that is none, bytes that are no text) is handed on as the text or bytes it is: so it
is hashed as something else, or refused, and never taken for what it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from types import NoneType

from django.db import DataError, OperationalError, connection

from audit.leaf import FIELDS
from audit.models import AuditEntry, AuditLeaf

ENTRIES, LEAVES = AuditEntry._meta.db_table, AuditLeaf._meta.db_table
N_FIELDS = len(FIELDS)
AT = FIELDS.index("at")
NUMBERS = {"status_code": int, "n_items": int, "duration_ms": float}
"""The fields that may be null."""


@dataclass(frozen=True, slots=True)
class StoredLeaf:
    """A leaf, and the values of its entry unless that is gone."""

    seal_no: int
    position: int
    entry_id: int
    hash: bytes
    values: tuple[object, ...] | None


def unsealed(*, above: int, at_most: int, up_to: int | None = None) -> list[tuple[object, ...]]:
    """Entries without a leaf whose id is greater than `above`, in the order of their ids."""
    bound, params = ("AND e.id <= %s", [up_to]) if up_to is not None else ("", [])
    rows = read_rows(
        f"SELECT {{entry}} FROM {ENTRIES} e WHERE e.id > %s {bound} "
        f"AND NOT EXISTS (SELECT 1 FROM {LEAVES} l WHERE l.entry_id = e.id) "
        "ORDER BY e.id LIMIT %s",
        [above, *params, at_most],
    )
    return [values_of(row) for row in rows]


def n_unsealed(*, above: int) -> int:
    """How many entries with an id greater than `above` have no leaf."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT COUNT(*) FROM {ENTRIES} e WHERE e.id > %s "
            f"AND NOT EXISTS (SELECT 1 FROM {LEAVES} l WHERE l.entry_id = e.id)",
            [above],
        )
        (n,) = cursor.fetchone()
    return int(n)


def last_id() -> int:
    """The largest id of all entries; 0 without any."""
    return AuditEntry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def end_of_window(*, above: int, n_entries: int) -> int | None:
    """The id with which that many entries above an id end; None when there are not so many."""
    ids = AuditEntry.objects.filter(pk__gt=above).order_by("pk").values_list("pk", flat=True)
    return ids[n_entries - 1 : n_entries].first()


def entries(*, above: int, at_most: int) -> list[tuple[object, ...]]:
    """Entries, sealed or not, whose id is greater than `above`, in the order of their ids."""
    rows = read_rows(
        f"SELECT {{entry}} FROM {ENTRIES} e WHERE e.id > %s ORDER BY e.id LIMIT %s",
        [above, at_most],
    )
    return [values_of(row) for row in rows]


def rows_by_seal(first: int, last: int) -> Iterator[StoredLeaf]:
    """The leaves of the seals from `first` to `last`, by seal and position; all read at once."""
    rows = read_rows(
        f"SELECT l.seal_no, l.position, l.entry_id, l.hash, {{entry}} FROM {LEAVES} l "
        f"LEFT JOIN {ENTRIES} e ON e.id = l.entry_id WHERE l.seal_no BETWEEN %s AND %s "
        "ORDER BY l.seal_no, l.position",
        [first, last],
    )
    for seal_no, position, entry_id, stored, *entry in rows:
        content = stored.tobytes() if isinstance(stored, memoryview) else stored
        values = None if entry[0] is None else values_of(entry)
        yield StoredLeaf(seal_no, position, entry_id, content, values)


def read_rows(statement: str, params: Sequence[int | str]) -> list[Sequence]:
    """Rows of a statement that has `{entry}` where the columns of the entry `e` belong.

    Also where one of them holds what the driver cannot turn into a Python value.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement.format(entry=columns()), params)
            return cursor.fetchall()
    except (OperationalError, DataError) as error:
        if connection.vendor == "sqlite" and "decode" in str(error):
            return _read_broken_text(statement, params)
        if connection.vendor == "postgresql" and isinstance(error, DataError):
            with connection.cursor() as cursor:  # infinity, or a year beyond 9999
                cursor.execute(statement.format(entry=columns(as_text=True)), params)
                return cursor.fetchall()
        raise


def columns(*, as_text: bool = False) -> str:
    """The columns of the entry `e`; `at` as text where the driver's own reading is slow."""
    as_text = as_text or connection.vendor == "sqlite"
    names = [f"CAST(e.{n} AS TEXT)" if as_text and n == "at" else f"e.{n}" for n in FIELDS]
    return ", ".join(names)


def values_of(row: Sequence) -> tuple[object, ...]:
    """An entry's values as they are hashed, from its columns."""
    at = row[AT]
    if type(at) is str:
        return (*row[:AT], moment(at), *row[AT + 1 :])
    return tuple(row)


@cache
def misfit(types: tuple[type, ...]) -> str | None:
    """The first field that no entry can hold a value of that type in; the types of all fields."""
    for name, kind in zip(FIELDS, types, strict=True):
        if name == "id":
            fits = kind is int
        elif name == "at":
            fits = issubclass(kind, datetime)
        elif name in NUMBERS:
            fits = kind in (NUMBERS[name], NoneType)
        else:
            fits = kind is str
        if not fits:
            return name
    return None


def moment(text: str) -> datetime | str:
    """The moment that a column holds as text, without a zone UTC; the text where it is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    if at.tzinfo is not None:
        return at
    # Another spelling of the same moment sorts elsewhere: that is a change too.
    return at.replace(tzinfo=UTC) if at.isoformat(" ") == text else text


def _read_broken_text(statement: str, params: Sequence[int | str]) -> list[Sequence]:
    """With each byte that is no UTF-8 as a lone surrogate, so that nothing reads as another."""
    raw = connection.connection
    raw.text_factory = lambda content: content.decode("utf-8", "surrogateescape")
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement.format(entry=columns()), params)
            return cursor.fetchall()
    finally:
        raw.text_factory = str
