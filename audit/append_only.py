"""Database triggers that keep the trail append-only, for SQLite and PostgreSQL.

They refuse UPDATE, DELETE, an INSERT over an existing id (REPLACE) and TRUNCATE.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

TABLE = "audit_auditentry"
REFUSAL = "audit entries are append-only"

SQLITE_INSTALL = [
    f"""CREATE TRIGGER audit_no_{event.lower()} BEFORE {event} ON {TABLE}
        BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"""
    for event in ("UPDATE", "DELETE")
] + [
    # REPLACE deletes the old row without the DELETE trigger unless recursive_triggers is on.
    f"""CREATE TRIGGER audit_no_replace BEFORE INSERT ON {TABLE}
        WHEN EXISTS (SELECT 1 FROM {TABLE} WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"""
]
SQLITE_REMOVE = [
    f"DROP TRIGGER IF EXISTS audit_no_{name}" for name in ("update", "delete", "replace")
]

POSTGRESQL_INSTALL = [
    f"""CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$""",
    f"""CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON {TABLE}
        FOR EACH ROW EXECUTE FUNCTION audit_refuse()""",
    f"""CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON {TABLE}
        FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()""",
    f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER audit_no_change",
    f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER audit_no_truncate",
]
POSTGRESQL_REMOVE = [
    f"DROP TRIGGER IF EXISTS audit_no_change ON {TABLE}",
    f"DROP TRIGGER IF EXISTS audit_no_truncate ON {TABLE}",
    "DROP FUNCTION IF EXISTS audit_refuse()",
]
STATEMENTS = {
    "sqlite": (SQLITE_INSTALL, SQLITE_REMOVE),
    "postgresql": (POSTGRESQL_INSTALL, POSTGRESQL_REMOVE),
}


def install(connection: BaseDatabaseWrapper) -> None:
    _execute(connection, STATEMENTS[connection.vendor][0])


def remove(connection: BaseDatabaseWrapper) -> None:
    _execute(connection, STATEMENTS[connection.vendor][1])


def _execute(connection: BaseDatabaseWrapper, statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
