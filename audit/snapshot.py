"""One consistent view of the database for a long reading, which keeps no writer waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def snapshot() -> Iterator[None]:
    """Everything read within is of one moment. Within a transaction it is that one's view."""
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "sqlite":
        with _deferred():
            yield
    else:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                # Rows are looked up in the order of a key; tables that were never analysed would
                # be joined by reading them whole for each batch.
                cursor.execute("SET LOCAL enable_hashjoin = off")
                cursor.execute("SET LOCAL enable_mergejoin = off")
            yield


@contextmanager
def _deferred() -> Iterator[None]:
    """Django's own transactions are IMMEDIATE: they would keep every writer out."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            if connection.connection.in_transaction:
                cursor.execute("ROLLBACK")
