"""Whether the triggers that keep the trail append-only are there as `append_only` installs them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from django.db import connection

from audit import append_only
from audit.findings import Findings, Place, shortened

CREATED = re.compile(r"CREATE (TRIGGER|FUNCTION) (\w+)")
BODY = re.compile(r"\$\$(.*)\$\$", re.DOTALL)


def check_triggers(findings: Findings) -> None:
    """One finding for each table whose triggers or rules are not what they should be."""
    installed = _sqlite() if connection.vendor == "sqlite" else _postgresql()
    for table in append_only.KEYS:
        expected = _expected(table)
        found = installed.get(table, {})
        missing = sorted(expected.keys() - found.keys())
        other = sorted(
            name for name in expected.keys() & found.keys() if expected[name] != found[name]
        )
        foreign = sorted(found.keys() - expected.keys())
        problems = [
            f"{', '.join(map(shortened, names))} {what}"
            for names, what in (
                (missing, "missing"),
                (other, "altered or switched off"),
                (foreign, "not ours"),
            )
            if names
        ]
        if problems:
            findings.broken(Place.TRIGGERS, None, f"of {table}: {'; '.join(problems)}")


def _expected(table: str) -> dict[str, str]:
    """The statements that install them, by name, in the form in which the database keeps them."""
    expected = {}
    for statement in append_only.INSTALL[connection.vendor](table):
        created = CREATED.match(statement)
        if created is None:
            continue  # ENABLE ALWAYS
        body = BODY.search(statement)
        expected[created[2]] = _compact(body[1] if body else statement)
    return expected


def _sqlite() -> Mapping[str, Mapping[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger'")
        return _by_table(cursor.fetchall())


def _postgresql() -> Mapping[str, Mapping[str, str]]:
    tables = list(append_only.KEYS)
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.relname, t.tgname, CASE t.tgenabled WHEN 'A'
                THEN replace(pg_get_triggerdef(t.oid), ' ON ' || n.nspname || '.', ' ON ')
                ELSE '' END
            FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)
                AND NOT t.tgisinternal
            UNION ALL SELECT c.relname, p.proname, p.prosrc
            FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                JOIN pg_proc p ON p.oid = t.tgfoid
            WHERE c.oid = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)
                AND NOT t.tgisinternal
            UNION ALL SELECT tablename, rulename, definition FROM pg_rules
            WHERE to_regclass(quote_ident(schemaname) || '.' || quote_ident(tablename)) = ANY
                (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)""",
            [tables, tables, tables],
        )
        return _by_table(cursor.fetchall())


def _by_table(rows: list[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for table, name, definition in rows:
        found.setdefault(table, {})[name] = _compact(definition or "")
    return found


def _compact(statement: str) -> str:
    return " ".join(statement.split())
