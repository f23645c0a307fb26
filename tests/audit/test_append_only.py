"""The trail cannot be changed: not by the ORM, not by SQL, on either database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from audit import append_only, trail
from audit.models import AppendOnly, AuditEntry
from tests.factories import BY

pytestmark = pytest.mark.django_db
TABLE = AuditEntry._meta.db_table


@pytest.fixture
def entry() -> AuditEntry:
    return trail.record("tests.acted", by=BY, details={"n": 1})


def saved_again(entry: AuditEntry) -> None:
    entry.action = "tests.forged"
    entry.save()


@pytest.mark.parametrize(
    "change",
    [
        saved_again,
        lambda entry: entry.save(update_fields=["action"]),
        lambda entry: entry.delete(),
        lambda entry: AuditEntry.objects.update(action="tests.forged"),
        lambda entry: AuditEntry.objects.filter(pk=entry.pk).update(action="tests.forged"),
        lambda entry: AuditEntry.objects.bulk_update([entry], ["action"]),
        lambda entry: AuditEntry.objects.all().delete(),
        lambda entry: AuditEntry.objects.filter(pk=entry.pk)._raw_delete("default"),
    ],
)
def test_the_orm_refuses_every_change(
    entry: AuditEntry, change: Callable[[AuditEntry], Any]
) -> None:
    with pytest.raises(AppendOnly):
        change(entry)

    assert AuditEntry.objects.get(pk=entry.pk).action == "tests.acted"


def refused(statement: str, *values: Any) -> None:
    with (
        pytest.raises(DatabaseError, match=append_only.REFUSAL),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, values)


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE {TABLE} SET action = 'tests.forged'",
        f"UPDATE {TABLE} SET details = details WHERE id = %s",
        f"DELETE FROM {TABLE}",
        f"DELETE FROM {TABLE} WHERE id = %s",
    ],
)
def test_sql_refuses_update_and_delete(entry: AuditEntry, statement: str) -> None:
    refused(statement, *[entry.pk] * statement.count("%s"))

    assert AuditEntry.objects.get(pk=entry.pk).action == "tests.acted"


def test_an_upsert_over_an_entry_is_refused(entry: AuditEntry) -> None:
    columns = [field.column for field in AuditEntry._meta.concrete_fields]
    names = ", ".join(columns)
    copied = ", ".join("'tests.forged'" if name == "action" else name for name in columns)

    refused(
        f"INSERT INTO {TABLE} ({names}) SELECT {copied} FROM {TABLE} WHERE id = %s "
        "ON CONFLICT (id) DO UPDATE SET action = excluded.action",
        entry.pk,
    )
    if connection.vendor == "sqlite":
        for verb in ("INSERT OR REPLACE", "REPLACE"):
            refused(
                f"{verb} INTO {TABLE} ({names}) SELECT {copied} FROM {TABLE} WHERE id = %s",
                entry.pk,
            )

    assert AuditEntry.objects.get(pk=entry.pk).action == "tests.acted"


def test_the_orm_upsert_is_refused(entry: AuditEntry) -> None:
    entry.action = "tests.forged"

    with pytest.raises(DatabaseError, match=append_only.REFUSAL), transaction.atomic():
        AuditEntry.objects.bulk_create(
            [entry], update_conflicts=True, unique_fields=["id"], update_fields=["action"]
        )

    assert AuditEntry.objects.get(pk=entry.pk).action == "tests.acted"


def test_replace_is_refused_even_without_recursive_triggers(entry: AuditEntry) -> None:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA recursive_triggers=OFF")
    try:
        test_an_upsert_over_an_entry_is_refused(entry)
    finally:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA recursive_triggers=ON")


def test_truncate_is_refused(entry: AuditEntry) -> None:
    if connection.vendor == "postgresql":
        refused(f"TRUNCATE {TABLE}")
        refused(f"TRUNCATE {TABLE} CASCADE")
    else:  # SQLite's truncation is a DELETE without a condition
        refused(f"DELETE FROM {TABLE}")

    assert AuditEntry.objects.filter(pk=entry.pk).exists()


def test_postgresql_refuses_also_a_replica_session(entry: AuditEntry) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")

    refused(f"DELETE FROM {TABLE}")


def test_removing_the_triggers_is_what_makes_a_change_possible(entry: AuditEntry) -> None:
    """The tests above can fail: without the triggers the same statement goes through."""
    append_only.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {TABLE} SET action = 'tests.forged'")
    append_only.install(connection)

    assert AuditEntry.objects.get(pk=entry.pk).action == "tests.forged"
    refused(f"UPDATE {TABLE} SET action = 'tests.acted'")
