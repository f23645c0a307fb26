"""The trail cannot be changed: not by the ORM, not by SQL, on either database.

Entries, leaves and seals alike; what a pruning may remove is in `test_pruning`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, models, transaction
from django.utils import timezone

from audit import append_only
from audit.models import AppendOnly, AuditEntry, AuditLeaf, AuditSeal
from segments.models import Customer
from tests.audit.sealed_trail import sealed_trail
from tests.staff import superuser

pytestmark = pytest.mark.django_db
CHANGED = {AuditEntry: ("action", "forged"), AuditLeaf: ("position", 9), AuditSeal: ("key_id", "f")}
"""By model, a column and what a forger might write into it."""


@pytest.fixture(params=CHANGED, ids=lambda model: model.__name__)
def row(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """One row of each of the three tables in turn; the others hold one too."""
    with sealed_trail(tmp_path) as stored:
        stored.add(1)
        stored.seal()
    return request.param.objects.get()


@pytest.fixture
def entry(tmp_path: Path) -> AuditEntry:
    with sealed_trail(tmp_path) as stored:
        stored.add(1)
        stored.seal()
    return AuditEntry.objects.get()


def is_as_it_was(row: Any) -> bool:
    (stored,) = type(row).objects.values()
    return {name: _plain(value) for name, value in stored.items()} == {
        field.attname: _plain(getattr(row, field.attname)) for field in row._meta.concrete_fields
    }


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def saved_again(row: Any) -> None:
    name, value = CHANGED[type(row)]
    before = getattr(row, name)
    setattr(row, name, value)
    try:
        row.save()
    finally:
        setattr(row, name, before)


@pytest.mark.parametrize(
    "change",
    [
        saved_again,
        lambda row: row.save(update_fields=[CHANGED[type(row)][0]]),
        lambda row: row.delete(),
        lambda row: type(row).objects.update(**dict([CHANGED[type(row)]])),
        lambda row: type(row).objects.filter(pk=row.pk).update(**dict([CHANGED[type(row)]])),
        lambda row: type(row).objects.bulk_update([row], [CHANGED[type(row)][0]]),
        lambda row: type(row).objects.all().delete(),
        lambda row: type(row).objects.filter(pk=row.pk)._raw_delete("default"),
        lambda row: type(row).objects.update_or_create(
            pk=row.pk, defaults=dict([CHANGED[type(row)]])
        ),
    ],
)
def test_the_orm_refuses_every_change(row: Any, change: Callable[[Any], Any]) -> None:
    with pytest.raises(AppendOnly):
        change(row)

    assert is_as_it_was(row)


def test_what_goes_past_the_managers_is_refused_by_the_database(row: Any) -> None:
    """Django's own collector of deletions, and its own sets of rows, know nothing of ours."""
    for change in (
        lambda: models.QuerySet(type(row)).update(**dict([CHANGED[type(row)]])),
        lambda: models.QuerySet(type(row)).filter(pk=row.pk)._raw_delete("default"),
        lambda: models.Model.delete(row),
        lambda: models.Model.save(row, force_update=True),
    ):
        with (
            pytest.raises(DatabaseError, match=append_only.REFUSAL),
            transaction.atomic(),
        ):
            change()

    assert is_as_it_was(row)


def refused(statement: str, *values: Any) -> None:
    with (
        pytest.raises(DatabaseError, match=append_only.REFUSAL),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, values)


def test_sql_refuses_update_and_delete(row: Any) -> None:
    table, key = row._meta.db_table, row._meta.pk.column
    name, value = CHANGED[type(row)]

    refused(f"UPDATE {table} SET {name} = %s", value)
    refused(f"UPDATE {table} SET {name} = {name} WHERE {key} = %s", row.pk)
    refused(f"DELETE FROM {table}")
    refused(f"DELETE FROM {table} WHERE {key} = %s", row.pk)

    assert is_as_it_was(row)


def upserts(row: Any) -> list[str]:
    """Statements that would put another row in the place of one."""
    table, key = row._meta.db_table, row._meta.pk.column
    name, value = CHANGED[type(row)]
    columns = [field.column for field in row._meta.concrete_fields]
    names = ", ".join(columns)
    copied = ", ".join(f"'{value}'" if column == name else column for column in columns)
    rest = f"INTO {table} ({names}) SELECT {copied} FROM {table} WHERE {key} = %s"
    statements = [f"INSERT {rest} ON CONFLICT ({key}) DO UPDATE SET {name} = excluded.{name}"]
    if connection.vendor == "sqlite":
        statements += [f"INSERT OR REPLACE {rest}", f"REPLACE {rest}"]
    return [
        statement.replace("'9'", "9") if type(row) is AuditLeaf else statement
        for statement in statements
    ]


def test_an_upsert_is_refused(row: Any) -> None:
    for statement in upserts(row):
        refused(statement, row.pk)

    assert is_as_it_was(row)


def test_the_orm_upsert_is_refused(row: Any) -> None:
    name, value = CHANGED[type(row)]
    forged = type(row).objects.get(pk=row.pk)
    setattr(forged, name, value)

    with pytest.raises(DatabaseError, match=append_only.REFUSAL), transaction.atomic():
        type(row).objects.bulk_create(
            [forged], update_conflicts=True, unique_fields=[row._meta.pk.name], update_fields=[name]
        )

    assert is_as_it_was(row)


def test_replace_is_refused_even_without_recursive_triggers(row: Any) -> None:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA recursive_triggers=OFF")
    try:
        test_an_upsert_is_refused(row)
    finally:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA recursive_triggers=ON")


def test_truncate_is_refused(row: Any) -> None:
    table = row._meta.db_table
    if connection.vendor == "postgresql":
        refused(f"TRUNCATE {table}")
        refused(f"TRUNCATE {table} RESTART IDENTITY CASCADE")
    else:  # SQLite's truncation is a DELETE without a condition
        refused(f"DELETE FROM {table}")

    assert is_as_it_was(row)


def test_flush_is_refused_and_nothing_is_lost(row: Any) -> None:
    """`manage.py flush` empties all tables in one transaction."""
    Customer.objects.create(
        customer_id="a", created_at=timezone.now(), updated_at=timezone.now(), revision=1
    )

    with pytest.raises(CommandError, match="couldn't be flushed"):
        call_command("flush", interactive=False, verbosity=0)

    assert is_as_it_was(row)
    assert Customer.objects.count() == 1


def test_the_admin_offers_no_deletion(entry: AuditEntry) -> None:
    page = "/admin/audit/auditentry/"
    client = superuser()

    listed = client.get(page)
    client.post(page, {"action": "delete_selected", "_selected_action": entry.pk, "post": "yes"})

    assert b"delete_selected" not in listed.content
    assert client.post(f"{page}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert AuditEntry.objects.filter(pk=entry.pk).exists()


def test_postgresql_refuses_also_a_replica_session(row: Any) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")

    refused(f"DELETE FROM {row._meta.db_table}")


def test_removing_the_triggers_is_what_makes_a_change_possible(entry: AuditEntry) -> None:
    """The tests above can fail: without the triggers the same statement goes through."""
    append_only.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {AuditEntry._meta.db_table} SET action = 'tests.forged'")
    append_only.install(connection)

    assert AuditEntry.objects.get(pk=entry.pk).action == "tests.forged"
    refused(f"UPDATE {AuditEntry._meta.db_table} SET action = 'tests.acted'")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL gives the ids")
def test_ids_go_on_after_the_last_entry_was_pruned(entry: AuditEntry) -> None:
    table = AuditEntry._meta.db_table
    names = ", ".join(field.column for field in AuditEntry._meta.local_concrete_fields[1:])
    append_only.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE kept AS SELECT {names} FROM {table}")
        cursor.execute(f"DELETE FROM {table}")
    append_only.install(connection)
    several = f"INSERT INTO {table} ({names}) SELECT * FROM kept UNION ALL SELECT * FROM kept"

    with connection.cursor() as cursor:
        cursor.execute(several)
        cursor.execute(several)

    ids = sorted(AuditEntry.objects.values_list("pk", flat=True))
    assert ids == [entry.pk + n for n in range(1, 5)]
