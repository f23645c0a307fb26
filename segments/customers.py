"""Storing customers: upsert by id, attributes merged, a constant number of statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, repeat
from typing import Any

import msgspec
from django.db import connection, transaction

from segments.models import Customer

CHUNK = 10_000
"""Ids in one IN list: below SQLite's smallest default limit of 32,766 parameters."""
N_SAMPLED = 2_000
"""Customers looked at to learn which attributes there are."""
UPSERT = """INSERT INTO segments_customer
        (customer_id, attributes_json, created_at, updated_at, revision)
    VALUES (%s, %s, %s, %s, 1)
    ON CONFLICT (customer_id) DO UPDATE
    SET attributes_json = excluded.attributes_json, updated_at = excluded.updated_at,
        revision = segments_customer.revision + CASE
            WHEN segments_customer.attributes_json = excluded.attributes_json THEN 0 ELSE 1 END"""
LOCKED = """SELECT customer_id, attributes_json, revision FROM segments_customer
    WHERE customer_id IN ({places}) ORDER BY customer_id {lock}"""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class StoredCustomers:
    """Customers as they stand after an upsert, in order of id; `n_created` of them are new."""

    ids: list[str]
    attributes: list[Mapping[str, Any]]
    revisions: list[int]
    n_created: int


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
    return StoredCustomers(ids, attributes, revisions, len(ids) - len(found))


@transaction.atomic
def upsert_encoded(rows: Mapping[str, str], *, at: datetime) -> int:
    """As `upsert_customers`, of attributes that are JSON text already; returns how many are new."""
    ids = sorted(rows)
    found = {key: row for chunk in chunked(ids) for key, row in _locked(chunk).items()}
    texts = [_merged(found[key][0], rows[key]) if key in found else rows[key] for key in ids]
    _write(ids, texts, at=at)
    return len(ids) - len(found)


def encoded(attributes: Mapping[str, Any]) -> str:
    """Attributes as they are stored."""
    return _encode(attributes).decode()


def _merged(stored: str, new: str) -> str:
    return encoded({**_decode(stored), **_decode(new)})


def _locked(ids: list[str]) -> dict[str, tuple[str, int]]:
    """The stored attributes and revision of those that are stored, locked to the end."""
    # Django looks at each id of an IN list several times, which took as long as all the rest.
    lock = "FOR UPDATE" if connection.features.has_select_for_update else ""
    places = ", ".join(["%s"] * len(ids))
    with connection.cursor() as cursor:
        cursor.execute(LOCKED.format(places=places, lock=lock), ids)
        return {key: (attributes, revision) for key, attributes, revision in cursor.fetchall()}


def _write(ids: Sequence[str], texts: Sequence[str], *, at: datetime) -> None:
    moment = connection.ops.adapt_datetimefield_value(at)
    rows = zip(ids, texts, repeat(moment), repeat(moment), strict=False)  # moments have no end
    with connection.cursor() as cursor:
        cursor.executemany(UPSERT, list(rows))


def known_attributes() -> list[str]:
    """The names of attributes, sorted, as the customers stored last have them."""
    rows = Customer.objects.order_by("-updated_at", "customer_id").values_list(
        "attributes_json", flat=True
    )
    return sorted(set().union(*map(_decode, rows[:N_SAMPLED])))


def chunked(ids: list[str], size: int = CHUNK) -> Iterator[list[str]]:
    iterator = iter(ids)
    while chunk := list(islice(iterator, size)):
        yield chunk
