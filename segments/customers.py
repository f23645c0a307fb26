"""Storing customers: upsert by id, attributes merged, a constant number of statements."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import msgspec
from django.db import connection, transaction

from audit import trail
from ml.records import ID_FIELD, check_table
from ml.unreadable import refuse_unreadable
from segments.customer_digests import customer_digest
from segments.models import Customer
from segments.serving import serving_schemas

STORED = "customers.stored"
CHUNK = 10_000
"""Ids in one IN list: below SQLite's smallest default limit of 32,766 parameters."""
N_SAMPLED = 2_000
"""Customers looked at to learn which attributes there are."""
UPSERT = """INSERT INTO segments_customer
        (customer_id, attributes_json, created_at, updated_at, revision)
    {rows}
    ON CONFLICT (customer_id) DO UPDATE
    SET attributes_json = excluded.attributes_json, updated_at = excluded.updated_at,
        revision = segments_customer.revision + CASE
            WHEN segments_customer.attributes_json = excluded.attributes_json THEN 0 ELSE 1 END"""
UPSERT_ROW = UPSERT.format(rows="VALUES (%s, %s, %s, %s, 1)")
# One text of JSON: an array of 10,000 texts takes psycopg longer than all the rest.
UPSERT_JSON = UPSERT.format(
    rows="""SELECT value ->> 0, value ->> 1, %s, %s, 1
        FROM json_array_elements(%s::json) ORDER BY 1"""
)
LOCKED = "SELECT customer_id, attributes_json, revision FROM segments_customer {chosen}"
LOCKED_AMONG = LOCKED.format(chosen="WHERE customer_id IN ({places}) ORDER BY customer_id")
LOCKED_IN_JSON = LOCKED.format(
    chosen="""WHERE customer_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))
        ORDER BY customer_id FOR UPDATE"""
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class StoredCustomers:
    """Customers as they stand after an upsert, in order of id.

    `n_created` of them are new, `n_unchanged` were sent as they were stored.
    """

    ids: list[str]
    attributes: list[Mapping[str, Any]]
    revisions: list[int]
    n_created: int
    n_unchanged: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of the customers of a request."""

    n_created: int
    n_updated: int
    n_unchanged: int


@transaction.atomic
def upsert_customers(rows: Mapping[str, Mapping[str, Any]], *, at: datetime) -> StoredCustomers:
    """Insert or update customers; attributes not named in a row keep their stored value.

    Who is the same as before keeps the revision, and so the assignments. Rows go in by id, so that
    two writers never deadlock.
    """
    ids = sorted(rows)
    found = {key: row for chunk in chunked(ids) for key, row in _locked(chunk).items()}
    attributes = [
        {**_decode(found[key][0]), **rows[key]} if key in found else rows[key] for key in ids
    ]
    texts = list(map(encoded, attributes))
    _write(ids, texts, at=at)
    revisions = [
        found[key][1] + (found[key][0] != text) if key in found else 1
        for key, text in zip(ids, texts, strict=True)
    ]
    n_unchanged = sum(
        key in found and found[key][0] == text for key, text in zip(ids, texts, strict=True)
    )
    return StoredCustomers(ids, attributes, revisions, len(ids) - len(found), n_unchanged)


@transaction.atomic
def upsert_encoded(rows: Mapping[str, str], *, at: datetime) -> int:
    """As `upsert_customers`, of attributes that are JSON text already; returns how many are new."""
    ids = sorted(rows)
    found = {key: row for chunk in chunked(ids) for key, row in _locked(chunk).items()}
    texts = [_merged(found[key][0], rows[key]) if key in found else rows[key] for key in ids]
    _write(ids, texts, at=at)
    return len(ids) - len(found)


def store_customers(
    body: object, *, max_records: int, directory: Path, secret: str, by: trail.Actor, at: datetime
) -> Stored:
    """Upsert the records of a request, each with an id, and leave one entry.

    Of a single customer it is an entry about them, by their keyed digest.

    Raises `InvalidRecords`, also for a value that a version that serves cannot read; then nothing
    is stored.
    """
    table = check_table(body, max_records=max_records, ids_required=True)
    records = table.records
    refuse_unreadable(records, serving_schemas(directory), table=table)
    rows: dict[str, Mapping[str, Any]] = {}
    for record in records:
        attributes = dict(record)
        rows[str(attributes.pop(ID_FIELD))] = attributes
    target = ("", "")
    if len(rows) == 1:
        target = ("customer", customer_digest(next(iter(rows)), secret=secret))
    with transaction.atomic():
        stored = upsert_customers(rows, at=at)
        n_updated = len(rows) - stored.n_created - stored.n_unchanged
        answer = Stored(stored.n_created, n_updated, stored.n_unchanged)
        trail.record(
            STORED,
            by=by,
            target=target,
            status_code=200,
            n_items=len(rows),
            details={**asdict(answer), "sha256": digest_of(stored)},
        )
    return answer


def digest_of(stored: StoredCustomers) -> str:
    """SHA-256 of customers as they stand, one line of JSON each, in order of id."""
    whole = hashlib.sha256()
    for key, attributes in zip(stored.ids, stored.attributes, strict=True):
        whole.update(_encode([key, attributes]) + b"\n")
    return whole.hexdigest()


def encoded(attributes: Mapping[str, Any]) -> str:
    """Attributes as they are stored."""
    return _encode(attributes).decode()


def _merged(stored: str, new: str) -> str:
    return encoded({**_decode(stored), **_decode(new)})


def _locked(ids: list[str]) -> dict[str, tuple[str, int]]:
    """The stored attributes and revision of those that are stored, locked to the end."""
    # Django looks at each id of an IN list several times, which took as long as all the rest.
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(LOCKED_IN_JSON, [_encode(ids).decode()])
        else:
            places = ", ".join(["%s"] * len(ids))
            cursor.execute(LOCKED_AMONG.format(places=places), ids)
        return {key: (attributes, revision) for key, attributes, revision in cursor.fetchall()}


def _write(ids: Sequence[str], texts: Sequence[str], *, at: datetime) -> None:
    moment = connection.ops.adapt_datetimefield_value(at)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # where row by row means waiting row by row
            pairs = _encode(list(zip(ids, texts, strict=True))).decode()
            cursor.execute(UPSERT_JSON, [moment, moment, pairs])
        else:
            rows = zip(ids, texts, repeat(moment), repeat(moment), strict=False)  # have no end
            cursor.executemany(UPSERT_ROW, list(rows))


def known_attributes() -> list[str]:
    """The names of attributes, sorted, as the customers stored last have them."""
    # Without a second key: an import gives all of its customers one moment, and to sort a million
    # of them took seconds.
    rows = Customer.objects.order_by("-updated_at").values_list("attributes_json", flat=True)
    return sorted(set().union(*map(_decode, rows[:N_SAMPLED])))


def chunked(ids: list[str], size: int = CHUNK) -> Iterator[list[str]]:
    iterator = iter(ids)
    while chunk := list(islice(iterator, size)):
        yield chunk
