"""A small random sample of the stored customers, found without reading the others.

Customers are drawn by where they lie in the table: on SQLite by row number, on PostgreSQL by page,
and of many pages a few each, for who was stored together may be alike. The same table gives the
same sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from django.db import connection

RANDOM_STATE = 0
SPARE = 2
"""Places looked at for each customer wanted: an erased one leaves its place empty."""
MIN_PAGES = 100
"""Pages looked at, where there are as many: about 800 KiB."""
MORE = 8
"""How much more of the table is looked at when it held fewer customers than was estimated."""
BY_ROW = """SELECT customer_id, attributes_json FROM segments_customer
    WHERE rowid IN (SELECT value FROM json_each(%s)) ORDER BY rowid"""
BY_PAGE = """SELECT customer_id, attributes_json
    FROM segments_customer TABLESAMPLE SYSTEM (%s) REPEATABLE (0)"""
# Customers, by the planner's estimate, or before anybody counted, as few as a page mostly holds;
# and pages.
ESTIMATE = """SELECT CASE WHEN reltuples > 0 THEN reltuples ELSE n_pages * 4 END, n_pages
    FROM pg_class,
        LATERAL (SELECT pg_relation_size(oid) / current_setting('block_size')::int AS n_pages) own
    WHERE oid = 'segments_customer'::regclass"""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class SampledCustomers:
    """`are_all` says that nobody was left out."""

    ids: list[str]
    records: list[dict[str, Any]]
    are_all: bool


def sample_customers(n: int) -> SampledCustomers:
    """About `n` customers at most, in the order of the table.

    Two queries; on PostgreSQL more, where many customers were deleted since they were estimated.
    """
    rng = np.random.default_rng(RANDOM_STATE)
    if connection.vendor == "postgresql":
        rows, are_all = _by_page(n)
    else:
        rows, are_all = _by_row(n, rng)
    if len(rows) > n:
        chosen = np.sort(rng.permutation(len(rows))[:n])
        rows, are_all = [rows[place] for place in chosen.tolist()], False
    return SampledCustomers([key for key, _ in rows], [_decode(text) for _, text in rows], are_all)


def _by_row(n: int, rng: np.random.Generator) -> tuple[list[tuple[str, str]], bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT MAX(rowid) FROM segments_customer")
        last = cursor.fetchone()[0] or 0
        are_all = last <= SPARE * n
        places = range(1, last + 1) if are_all else rng.integers(1, last + 1, SPARE * n).tolist()
        cursor.execute(BY_ROW, [msgspec.json.encode(list(places)).decode()])
        return cursor.fetchall(), are_all


def _by_page(n: int) -> tuple[list[tuple[str, str]], bool]:
    with connection.cursor() as cursor:
        cursor.execute(ESTIMATE)
        n_customers, n_pages = cursor.fetchone()
        wanted = max(SPARE * n / max(n_customers, 1), MIN_PAGES / max(n_pages, 1))
        percent = min(100.0, 100.0 * float(wanted))
        while True:
            cursor.execute(BY_PAGE, [percent])
            rows = cursor.fetchall()
            if len(rows) >= n or percent == 100.0:
                return rows, percent == 100.0
            percent = min(100.0, MORE * percent)  # there were more when they were last estimated
