"""Database triggers that keep the trail append-only, for SQLite and PostgreSQL.

On entries, leaves and seals they refuse UPDATE, DELETE, an INSERT over an existing row (REPLACE)
and TRUNCATE. One DELETE passes: of entries, and then leaves, of seals that a seal of the kind
`pruned` names. That such a seal is signed the triggers cannot tell; `verify_audit` can.

On SQLite they also refuse what PostgreSQL's types and rights keep out: an entry whose moment is
none, and an id that is not the next one.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

ENTRIES, LEAVES, SEALS = "audit_auditentry", "audit_auditleaf", "audit_auditseal"
KEYS = {ENTRIES: ["id"], LEAVES: ["entry_id", "seal_no, position"], SEALS: ["no"]}
"""The columns of each unique key by table."""
REFUSAL = "the audit trail is append-only"
MISFIT = "the audit trail takes no row of such an id or moment"
PRUNED_SEAL = f"SELECT 1 FROM {SEALS} s WHERE s.kind = 'pruned'"
MAY_GO = {
    ENTRIES: f"""EXISTS ({PRUNED_SEAL} AND (SELECT l.seal_no FROM {LEAVES} l
        WHERE l.entry_id = OLD.id) BETWEEN s.pruned_from AND s.pruned_to)""",
    LEAVES: f"""EXISTS ({PRUNED_SEAL} AND OLD.seal_no BETWEEN s.pruned_from AND s.pruned_to)
        AND NOT EXISTS (SELECT 1 FROM {ENTRIES} e WHERE e.id = OLD.entry_id)""",
    SEALS: "1 = 0",
}
"""What a row must be for its deletion to pass."""
POSTGRESQL_EVENTS = ("delete", "update", "truncate")
NEXT_ID = f"""NOT EXISTS (SELECT 1 FROM {ENTRIES} WHERE id > NEW.id)
        AND (EXISTS (SELECT 1 FROM {ENTRIES} WHERE id = NEW.id - 1) OR NEW.id - 1 =
        (SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = '{ENTRIES}'))"""
"""Of an entry just inserted on SQLite, which counts the statement into the sequence at its end."""
MOMENT = """NEW.at = strftime('%Y-%m-%d %H:%M:%S', substr(NEW.at, 1, 19), '+0 days')
        || substr(NEW.at, 20) AND NEW.at NOT GLOB '0000*'
        AND (substr(NEW.at, 20) = '' OR substr(NEW.at, 20) <> '.000000'
        AND substr(NEW.at, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]')"""
"""That `at` is a moment, spelled as Django spells it on SQLite."""


def _sqlite_install(table: str) -> list[str]:
    refuse = f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    # Only the key of entries is the rowid itself; REPLACE looks at that too.
    same = [
        f"EXISTS (SELECT 1 FROM {table} WHERE ({key}) = ({_new(key)}))"
        for key in ["rowid", *KEYS[table]]
    ]
    fits = ["NEW.rowid > 0", *([NEXT_ID, MOMENT] if table == ENTRIES else [])]
    return [
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refuse}",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} "
        f"WHEN NOT ({MAY_GO[table]}) {refuse}",
        # REPLACE deletes the old row without the DELETE trigger unless recursive_triggers is on.
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN {' OR '.join(same)} {refuse}",
        # AFTER: before, the rowid of a row that is to get the next one is -1.
        f"CREATE TRIGGER {table}_no_misfit AFTER INSERT ON {table} "
        f"WHEN ({' AND '.join(fits)}) IS NOT TRUE BEGIN SELECT RAISE(ABORT, '{MISFIT}'); END",
    ]


def _new(key: str) -> str:
    return ", ".join(f"NEW.{column}" for column in key.split(", "))


def _sqlite_remove(table: str) -> list[str]:
    names = [f"{table}_no_{event}" for event in ("update", "delete", "replace", "misfit")]
    if table == ENTRIES:  # as they were called before there were seals
        names += ["audit_no_update", "audit_no_delete", "audit_no_replace"]
    return [f"DROP TRIGGER IF EXISTS {name}" for name in names]


def _postgresql_install(table: str) -> list[str]:
    return [
        f"""CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$""",
        f"""CREATE FUNCTION {table}_keep() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF {MAY_GO[table]} THEN RETURN OLD; END IF;
            RAISE EXCEPTION '{REFUSAL}'; END $$""",
        f"""CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {table}_keep()""",
        f"""CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {table}_refuse()""",
        f"""CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()""",
        # ALWAYS: also where session_replication_role would keep triggers from firing.
        *(
            f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_{event}"
            for event in POSTGRESQL_EVENTS
        ),
    ]


def _postgresql_remove(table: str) -> list[str]:
    names = [f"{table}_no_{event}" for event in POSTGRESQL_EVENTS]
    functions = [f"{table}_keep", f"{table}_refuse"]
    if table == ENTRIES:  # as they were called before there were seals
        names += ["audit_no_change", "audit_no_truncate"]
        functions.append("audit_refuse")
    return [f"DROP TRIGGER IF EXISTS {name} ON {table}" for name in names] + [
        f"DROP FUNCTION IF EXISTS {name}()" for name in functions
    ]


INSTALL = {"sqlite": _sqlite_install, "postgresql": _postgresql_install}
REMOVE = {"sqlite": _sqlite_remove, "postgresql": _postgresql_remove}


def install(connection: BaseDatabaseWrapper) -> None:
    for table in KEYS:
        _execute(connection, INSTALL[connection.vendor](table))


def remove(connection: BaseDatabaseWrapper) -> None:
    for table in KEYS:
        _execute(connection, REMOVE[connection.vendor](table))


def _execute(connection: BaseDatabaseWrapper, statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
