"""Storing customers: upsert by id, attributes merged, a constant number of statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
from django.db import connection, transaction

from segments.models import Customer

CHUNK = 10_000
"""Ids in one IN list: below SQLite's smallest default limit of 32,766 parameters."""
N_SAMPLED = 2_000
"""Customers looked at to learn which attributes there are."""
UPSERT = """INSERT INTO segments_customer (customer_id, attributes_json, created_at, updated_at)
    VALUES (%s, %s, %s, %s)
    ON CONFLICT (customer_id) DO UPDATE
    SET attributes_json = excluded.attributes_json, updated_at = excluded.updated_at"""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@transaction.atomic
def upsert_customers(rows: Mapping[str, Mapping[str, Any]], *, at: datetime) -> int:
    """Insert or update customers; attributes not named in a row keep their stored value.

    Returns how many are new. Rows go in by id, so that two writers never deadlock.
    """
    n_stored = 0
    moment = connection.ops.adapt_datetimefield_value(at)
    for ids in chunked(sorted(rows)):
        stored = dict(
            Customer.objects.select_for_update()
            .filter(customer_id__in=ids)
            .order_by("customer_id")
            .values_list("customer_id", "attributes_json")
        )
        n_stored += len(stored)
        values = [(key, _merged(stored.get(key), rows[key]), moment, moment) for key in ids]
        with connection.cursor() as cursor:
            cursor.executemany(UPSERT, values)
    return len(rows) - n_stored


def _merged(stored: str | None, attributes: Mapping[str, Any]) -> str:
    if stored is not None:
        attributes = {**_decode(stored), **attributes}
    return _encode(attributes).decode()


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
