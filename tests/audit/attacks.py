"""What somebody who holds the database might do to the trail, and what comes of it.

Each attack is run on a fresh copy of the trail that `prepared_trail` writes: entries 1 to 8 in
seal 1, pruned by seal 4; 9 to 16 in seal 2, 17 to 24 in seal 3, 25 to 32 in seal 5; 33 to 35 not
sealed yet. `docs/audit-trail.md` has a table of them all, which a test compares with this list.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.contrib import admin
from django.core.management import call_command
from django.db import connection

from audit import append_only, merkle
from audit.leaf import leaf_hash
from audit.models import AuditEntry, AuditLeaf, AuditSeal, SealKind
from audit.seal_format import NO_SEAL
from audit.sealing import Head, SealedBatch, append_seal, current_head, seal_entries
from audit.sealing_key import Signer
from audit.stored_entries import entries
from audit.stored_seals import seal_of
from tests.audit.trail_databases import NOON, Dump, TrailDatabase, add_entry, new_signer

ENTRIES, LEAVES, SEALS = append_only.ENTRIES, append_only.LEAVES, append_only.SEALS
VERIFIED_AT = NOON + timedelta(minutes=6, seconds=30)
MEGABYTE = 1_000_000


class Outcome(StrEnum):
    REFUSED = "refused"
    FOUND = "found"
    WARNING = "a warning"
    ANCHORED = "found with an anchor only"
    NOT_FOUND = "not found"


@dataclass(frozen=True)
class PreparedTrail:
    """`earlier` is the same database as it was after seal 4."""

    dump: Dump
    earlier: Dump
    signer: Signer
    batches: Sequence[SealedBatch]


@dataclass
class Attacker:
    """Holds the database and, where an attack says so, the sealing key.

    `anchored` are the heads that were written down elsewhere; an attack may be preceded by more.
    """

    database: TrailDatabase
    trail: PreparedTrail
    anchored: list[SealedBatch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.anchored.extend(self.trail.batches)

    @property
    def stolen(self) -> Signer:
        return self.trail.signer

    @property
    def is_sqlite(self) -> bool:
        return self.database.vendor == "sqlite"

    def sql(self, *statements: str, params: Sequence[Any] = ()) -> None:
        """Statements with ? for their parameters, each in a transaction of its own."""
        with self.database.raw() as raw:
            if self.is_sqlite:
                raw.execute("PRAGMA ignore_check_constraints=ON")
            for statement in statements:
                if self.is_sqlite:
                    raw.execute(statement, params)
                else:
                    raw.execute(statement.replace("?", "%s"), params or None)

    def unguarded(self, *statements: str, params: Sequence[Any] = ()) -> None:
        """The same with the triggers taken off before, and put back after as they were."""
        with self.database.as_default():
            append_only.remove(connection)
        self.sql(*statements, params=params)
        with self.database.as_default():
            append_only.install(connection)

    def signed_anew(self, no: int, signer: Signer, **changes: str) -> None:
        """Change texts of a stored seal, its key's name for one, and sign it."""
        with self.database.as_default():
            row = AuditSeal.objects.get(no=no)
            signature = replace(seal_of(row), **changes).signature(signer.key)
        columns = ", ".join(f"{name} = ?" for name in (*changes, "signature"))
        self.unguarded(
            f"UPDATE {SEALS} SET {columns} WHERE no = {no}", params=[*changes.values(), signature]
        )


@dataclass(frozen=True)
class Attack:
    """`finds` are the places named, exactly; one mapping for both databases or one for each."""

    what: str
    run: Callable[[Attacker], None]
    outcome: Outcome | Mapping[str, Outcome]
    finds: Sequence[str] | Mapping[str, Sequence[str]] = ()

    def outcome_on(self, vendor: str) -> Outcome | None:
        if isinstance(self.outcome, Outcome):
            return self.outcome
        return self.outcome.get(vendor)

    def finds_on(self, vendor: str) -> list[str]:
        return list(self.finds[vendor] if isinstance(self.finds, Mapping) else self.finds)


def prepared_trail(database: TrailDatabase) -> PreparedTrail:
    signer = new_signer()
    batches: list[SealedBatch | None] = []

    def minute(number: int, n_entries: int = 8) -> None:
        for second in range(n_entries):
            i = 8 * number + second
            add_entry(
                NOON + timedelta(minutes=number, seconds=second, microseconds=i),
                actor_label="caf\u00e9" if i == 10 else "c",
                details=f'{{"n":"{"x" * MEGABYTE}"}}' if i == 11 else f'{{"n":{i}}}',
            )

    def sealed(number: int) -> None:
        batches.append(seal_entries(signer, at=NOON + timedelta(minutes=number + 1)))

    with database.as_default():
        for number in range(3):
            minute(number)
            sealed(number)
        batches.append(pruned(signer, first=1, last=1, at=NOON + timedelta(minutes=3, seconds=30)))
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {ENTRIES} WHERE id <= 8")
            cursor.execute(f"DELETE FROM {LEAVES} WHERE entry_id <= 8")
    earlier = database.dump()
    with database.as_default():
        minute(3)
        sealed(3)
        minute(5, 3)
    return PreparedTrail(database.dump(), earlier, signer, [each for each in batches if each])


def pruned(signer: Signer, *, first: int, last: int, at: Any) -> SealedBatch:
    """Append the record of a pruning, as who holds the key can."""
    rows = AuditSeal.objects.filter(no__range=(first, last)).order_by("no")
    digests = [bytes.fromhex(seal_of(row).digest(row.signature)) for row in rows]
    return append_seal(
        signer,
        after=current_head(signer),
        kind=SealKind.PRUNED,
        n_entries=sum(row.n_entries for row in rows),
        root=merkle.root(digests),
        at=at,
        pruned_from=first,
        pruned_to=last,
    )


def by_sql(*statements: str, params: Sequence[Any] = ()) -> Callable[[Attacker], None]:
    return lambda attacker: attacker.sql(*statements, params=params)


def unguarded(*statements: str, params: Sequence[Any] = ()) -> Callable[[Attacker], None]:
    return lambda attacker: attacker.unguarded(*statements, params=params)


def by_orm(change: Callable[[], Any]) -> Callable[[Attacker], None]:
    def run(attacker: Attacker) -> None:
        with attacker.database.as_default():
            change()

    return run


# -- refused ---------------------------------------------------------------------------------------


def saved_again() -> None:
    entry = AuditEntry.objects.get(pk=10)
    entry.action = "forged"
    entry.save()


def deleted_in_the_admin() -> None:
    model_admin: Any = admin.site._registry[AuditEntry]
    model_admin.delete_queryset(None, AuditEntry.objects.all())


def replaced(attacker: Attacker) -> None:
    verb = "INSERT OR REPLACE" if attacker.is_sqlite else "INSERT"
    columns = [field.column for field in AuditEntry._meta.local_concrete_fields]
    copied = ["'forged'" if name == "action" else name for name in columns]
    upsert = "" if attacker.is_sqlite else "ON CONFLICT (id) DO UPDATE SET action = 'forged'"
    attacker.sql(
        f"{verb} INTO {ENTRIES} ({', '.join(columns)}) SELECT {', '.join(copied)} "
        f"FROM {ENTRIES} WHERE id = 10 {upsert}"
    )


def leaf_replaced(attacker: Attacker) -> None:
    """Another entry in the place that seal 2 gave to entry 10."""
    verb = "INSERT OR REPLACE" if attacker.is_sqlite else "INSERT"
    upsert = (
        "" if attacker.is_sqlite else "ON CONFLICT (seal_no, position) DO UPDATE SET entry_id = 33"
    )
    attacker.sql(
        f"{verb} INTO {LEAVES} (entry_id, seal_no, position, hash) VALUES (33, 2, 1, ?) {upsert}",
        params=[bytes(32)],
    )


def a_fork(attacker: Attacker) -> None:
    """A sealer that built on seal 4 comes after the one that wrote seal 5."""
    with attacker.database.as_default():
        row = AuditSeal.objects.get(no=4)
        append_seal(
            attacker.stolen,
            after=Head(4, seal_of(row).digest(row.signature)),
            kind=SealKind.ENTRIES,
            n_entries=1,
            root=bytes(32),
            at=VERIFIED_AT,
            first_id=33,
            last_id=33,
            leaves=[(33, bytes(32))],
        )


# -- found -----------------------------------------------------------------------------------------


def swapped_contents(attacker: Attacker) -> None:
    names = "actor_id, details"
    attacker.unguarded(
        *(
            f"UPDATE {ENTRIES} SET ({names}) = (SELECT {names} FROM {ENTRIES} WHERE id = {source}) "
            f"WHERE id = {target}"
            for source, target in ((10, 33), (12, 10), (33, 12))
        )
    )


def swapped_numbers(table: str, key: str, one: int, other: int) -> Callable[[Attacker], None]:
    return unguarded(
        f"UPDATE {table} SET {key} = 900 WHERE {key} = {one}",
        f"UPDATE {table} SET {key} = {one} WHERE {key} = {other}",
        f"UPDATE {table} SET {key} = {other} WHERE {key} = 900",
    )


def entry_and_leaf_altered(attacker: Attacker) -> None:
    attacker.unguarded(f"UPDATE {ENTRIES} SET outcome = 'failed' WHERE id = 10")
    with attacker.database.as_default():
        leaf = leaf_of(10)
    attacker.unguarded(f"UPDATE {LEAVES} SET hash = ? WHERE entry_id = 10", params=[leaf])


def leaf_of(entry_id: int) -> bytes:
    return leaf_hash(entries(above=entry_id - 1, at_most=1)[0])


def leaf_added(attacker: Attacker) -> None:
    """A new entry is smuggled into a seal of the past."""
    with attacker.database.as_default():
        leaf = leaf_of(33)
    attacker.sql(
        f"INSERT INTO {LEAVES} (entry_id, seal_no, position, hash) VALUES (33, 2, 8, ?)",
        params=[leaf],
    )


def resigned_by_another(attacker: Attacker) -> None:
    other = new_signer()
    attacker.signed_anew(3, other, key_id=other.key_id)


def resigned_in_the_name_of_the_key(attacker: Attacker) -> None:
    attacker.signed_anew(3, new_signer(), key_id=attacker.stolen.key_id)


def resigned_with_the_stolen_key(attacker: Attacker) -> None:
    """Its signature fits; the seal before it and the one after say that it is another."""
    attacker.signed_anew(3, attacker.stolen, previous="f" * 64)


def signed_by_another_algorithm(attacker: Attacker) -> None:
    """What anybody can compute, in place of the signature."""
    with attacker.database.as_default():
        row = AuditSeal.objects.get(no=3)
        digest = sha256(seal_of(row).signed_bytes()).hexdigest()
    attacker.unguarded(f"UPDATE {SEALS} SET signature = '{digest * 2}' WHERE no = 3")


def pruning_forged(attacker: Attacker) -> None:
    """The triggers cannot tell who signed: they let pass what an unsigned record names."""
    attacker.sql(
        f"INSERT INTO {SEALS} (no, kind, previous, n_entries, pruned_from, pruned_to, root, "
        f"sealed_at, key_id, signature) SELECT 6, 'pruned', '{NO_SEAL}', 8, 2, 2, root, sealed_at, "
        f"key_id, signature FROM {SEALS} WHERE no = 5",
        f"DELETE FROM {ENTRIES} WHERE id = 12",
        f"DELETE FROM {LEAVES} WHERE entry_id = 12",
    )


def swallowing(attacker: Attacker) -> None:
    if attacker.is_sqlite:
        attacker.sql(
            f"CREATE TRIGGER helpful BEFORE INSERT ON {ENTRIES} WHEN NEW.actor_id = 'mallory' "
            "BEGIN SELECT RAISE(IGNORE); END"
        )
    else:
        attacker.sql(
            f"CREATE RULE helpful AS ON INSERT TO {ENTRIES} WHERE NEW.actor_id = 'mallory' "
            "DO INSTEAD NOTHING"
        )


def trigger_off(attacker: Attacker) -> None:
    if attacker.is_sqlite:
        attacker.sql(
            f"DROP TRIGGER {ENTRIES}_no_update",
            f"CREATE TRIGGER {ENTRIES}_no_update BEFORE UPDATE ON {ENTRIES} WHEN 1 = 0 "
            f"BEGIN SELECT RAISE(ABORT, '{append_only.REFUSAL}'); END",
        )
    else:
        attacker.sql(f"ALTER TABLE {ENTRIES} DISABLE TRIGGER {ENTRIES}_no_update")


def function_emptied(attacker: Attacker) -> None:
    attacker.sql(
        f"CREATE OR REPLACE FUNCTION {LEAVES}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RETURN NEW; END'"
    )


def sealed_anew(attacker: Attacker, signer: Signer) -> None:
    """The whole trail, with a change in entry 10 and all links and roots as they should be."""
    attacker.unguarded(
        f"UPDATE {ENTRIES} SET outcome = 'failed' WHERE id = 10",
        f"DELETE FROM {LEAVES}",
        f"DELETE FROM {SEALS}",
        f"UPDATE {ENTRIES} SET id = id + 1000",
        f"UPDATE {ENTRIES} SET id = id - 1008",
        sequence_to(attacker, 27),
    )
    with attacker.database.as_default():
        for minute in (2, 3, 4):
            seal_entries(signer, at=NOON + timedelta(minutes=minute), at_most=8)


def sequence_to(attacker: Attacker, number: int) -> str:
    if attacker.is_sqlite:
        return f"UPDATE sqlite_sequence SET seq = {number} WHERE name = '{ENTRIES}'"
    return f"SELECT setval(pg_get_serial_sequence('{ENTRIES}', 'id'), {number})"


def cut(attacker: Attacker, *, with_sequence: bool) -> None:
    """The last seal goes, with its entries and all after them."""
    attacker.unguarded(
        f"DELETE FROM {ENTRIES} WHERE id >= 25",
        f"DELETE FROM {LEAVES} WHERE entry_id >= 25",
        f"DELETE FROM {SEALS} WHERE no = 5",
        *([sequence_to(attacker, 24)] if with_sequence else []),
    )


def back_dated(attacker: Attacker) -> None:
    """A new entry that claims to be of the hour before, sealed as any."""
    with attacker.database.as_default():
        add_entry(NOON - timedelta(hours=1))
        seal_entries(attacker.stolen, at=VERIFIED_AT)


def copy_of(entry_id: int, *, under: int | None = None, **changed: str) -> str:
    """A statement that inserts an entry's values once more, under the next id or the given one.

    By column, what differs, as SQL.
    """
    names = [field.column for field in AuditEntry._meta.local_concrete_fields[1:]]
    values = [changed.get(name, name) for name in names]
    if under is not None:
        names, values = ["id", *names], [str(under), *values]
    return (
        f"INSERT INTO {ENTRIES} ({', '.join(names)}) SELECT {', '.join(values)} FROM {ENTRIES} "
        f"WHERE id = {entry_id}"
    )


def misfit_sealed(**changed: str) -> Callable[[Attacker], None]:
    """What no entry can be is inserted with the triggers off, and sealed as it is."""

    def run(attacker: Attacker) -> None:
        attacker.unguarded(copy_of(33, **changed))
        with attacker.database.as_default():
            seal_entries(attacker.stolen, at=VERIFIED_AT)

    return run


def restored(attacker: Attacker) -> None:
    attacker.database.restore(attacker.trail.earlier)


def without_wal(attacker: Attacker) -> None:
    """What was committed since the last checkpoint is in the file beside the database."""
    path = Path(attacker.database.place)
    with attacker.database.as_default():
        batch = seal_entries(attacker.stolen, at=VERIFIED_AT)
        assert batch is not None
        attacker.anchored.append(batch)
        content = path.read_bytes()
    path.write_bytes(content)


def pruned_with_the_key(attacker: Attacker) -> None:
    with attacker.database.as_default():
        pruned(attacker.stolen, first=2, last=2, at=VERIFIED_AT)
    attacker.sql(
        f"DELETE FROM {ENTRIES} WHERE id BETWEEN 9 AND 16",
        f"DELETE FROM {LEAVES} WHERE entry_id BETWEEN 9 AND 16",
    )


def pruned_too_much(attacker: Attacker) -> None:
    """The number of entries is right; the root is not that over these seals."""
    with attacker.database.as_default():
        append_seal(
            attacker.stolen,
            after=current_head(attacker.stolen),
            kind=SealKind.PRUNED,
            n_entries=16,
            root=merkle.root([bytes(32)]),
            at=VERIFIED_AT,
            pruned_from=2,
            pruned_to=3,
        )


def clock_set_back(attacker: Attacker) -> None:
    """No attack: the machine's clock goes back by an hour, and entries are sealed as before."""
    with attacker.database.as_default():
        for minute in (7, 8):
            add_entry(NOON + timedelta(minutes=minute - 60))
            seal_entries(attacker.stolen, at=NOON + timedelta(minutes=minute - 59))


def left_alone(attacker: Attacker) -> None:
    """No attack."""


REFUSED, FOUND, WARNING = Outcome.REFUSED, Outcome.FOUND, Outcome.WARNING
ANCHORED, NOT_FOUND = Outcome.ANCHORED, Outcome.NOT_FOUND
ON_SQLITE, ON_POSTGRESQL = "sqlite", "postgresql"
NFD = unicodedata.normalize("NFD", "caf\u00e9")

ATTACKS = [
    Attack("SQL `UPDATE` of an entry", by_sql(f"UPDATE {ENTRIES} SET n_items = 4"), REFUSED),
    Attack("SQL `DELETE` of an entry", by_sql(f"DELETE FROM {ENTRIES} WHERE id = 10"), REFUSED),
    Attack(
        "`TRUNCATE`, or `DELETE` of everything",
        lambda attacker: attacker.sql(
            f"DELETE FROM {ENTRIES}" if attacker.is_sqlite else f"TRUNCATE {ENTRIES} CASCADE"
        ),
        REFUSED,
    ),
    Attack("`INSERT OR REPLACE` or an upsert over an entry", replaced, REFUSED),
    Attack("The same over a leaf, by its place in a seal", leaf_replaced, REFUSED),
    Attack(
        "The same by the row's number that SQLite keeps beside the key",
        by_sql(
            f"INSERT OR REPLACE INTO {LEAVES} (rowid, entry_id, seal_no, position, hash) "
            f"SELECT rowid, 99999, 9, 0, hash FROM {LEAVES} WHERE entry_id = 10"
        ),
        {ON_SQLITE: REFUSED},
    ),
    Attack(
        "A new entry whose time is none",
        by_sql(copy_of(33, at="'soon'")),
        REFUSED,
    ),
    *(
        Attack(
            what,
            by_sql(copy_of(33, under=under)),
            {ON_SQLITE: REFUSED, ON_POSTGRESQL: FOUND},
            {ON_SQLITE: [], ON_POSTGRESQL: [place]},
        )
        for what, under, place in (
            ("A new entry under a negative id", -1, "entry -1"),
            ("A new entry under the last id there can be", 2**63 - 1, "sequence of ids"),
            ("A new entry under an id that leaves a gap", 37, "sequence of ids"),
        )
    ),
    Attack("SQL `UPDATE` of a leaf", by_sql(f"UPDATE {LEAVES} SET position = 99"), REFUSED),
    Attack("SQL `DELETE` of a leaf", by_sql(f"DELETE FROM {LEAVES} WHERE entry_id = 10"), REFUSED),
    Attack("SQL `UPDATE` of a seal", by_sql(f"UPDATE {SEALS} SET n_entries = 7"), REFUSED),
    Attack("SQL `DELETE` of a seal", by_sql(f"DELETE FROM {SEALS} WHERE no = 1"), REFUSED),
    Attack(
        "`DELETE` in a session that replicates (triggers off)",
        by_sql("SET session_replication_role = replica; DELETE FROM " + ENTRIES),
        {ON_POSTGRESQL: REFUSED},
    ),
    Attack("ORM `save` of an entry", by_orm(saved_again), REFUSED),
    Attack(
        "ORM `update` or `bulk_update`",
        by_orm(lambda: AuditEntry.objects.bulk_update([AuditEntry.objects.get(pk=10)], ["action"])),
        REFUSED,
    ),
    Attack("ORM `delete`", by_orm(lambda: AuditEntry.objects.all().delete()), REFUSED),
    Attack(
        "ORM `_raw_delete`", by_orm(lambda: AuditLeaf.objects.all()._raw_delete("default")), REFUSED
    ),
    Attack("Deletion in the admin", by_orm(deleted_in_the_admin), REFUSED),
    Attack(
        "`manage.py flush`",
        by_orm(lambda: call_command("flush", interactive=False, inhibit_post_migrate=True)),
        REFUSED,
    ),
    Attack("Two sealers at once: a second seal of one number", a_fork, REFUSED),
    Attack(
        "A field edited, the triggers taken off and put back",
        unguarded(f"UPDATE {ENTRIES} SET outcome = 'failed' WHERE id = 10"),
        FOUND,
        ["entry 10"],
    ),
    Attack(
        "Null in place of a value, or a value in place of null",
        unguarded(
            f"UPDATE {ENTRIES} SET status_code = 0 WHERE id = 10",
            f"UPDATE {ENTRIES} SET n_items = NULL WHERE id = 17",
        ),
        FOUND,
        ["entry 10", "entry 17"],
    ),
    Attack(
        "Text in place of a number",
        unguarded(f"UPDATE {ENTRIES} SET duration_ms = '1.5 ms' WHERE id = 10"),
        {ON_SQLITE: FOUND},
        ["entry 10"],
    ),
    Attack(
        "Text that is no UTF-8",
        unguarded(f"UPDATE {ENTRIES} SET actor_label = CAST(x'ff63' AS TEXT) WHERE id = 10"),
        {ON_SQLITE: FOUND},
        ["entry 10"],
    ),
    Attack(
        "Text moved from one field into the next",
        unguarded(f"UPDATE {ENTRIES} SET actor_id = 'a', actor_label = 'bc' WHERE id = 10"),
        FOUND,
        ["entry 10"],
    ),
    Attack(
        "A time moved by a microsecond",
        lambda attacker: attacker.unguarded(
            f"UPDATE {ENTRIES} SET at = replace(at, '01.000009', '01.000010') WHERE id = 10"
            if attacker.is_sqlite
            else f"UPDATE {ENTRIES} SET at = at + interval '1 microsecond' WHERE id = 10"
        ),
        FOUND,
        ["entry 10"],
    ),
    Attack(
        "The same time in another spelling, which sorts elsewhere",
        unguarded(f"UPDATE {ENTRIES} SET at = replace(at, ' ', 'T') WHERE id = 10"),
        {ON_SQLITE: FOUND},
        ["entry 10"],
    ),
    Attack(
        "A time that is none",
        unguarded(f"UPDATE {ENTRIES} SET at = 'infinity' WHERE id = 10"),
        FOUND,
        ["entry 10"],
    ),
    Attack(
        "Bytes in place of text",
        unguarded(f"UPDATE {ENTRIES} SET actor_label = x'00ff' WHERE id = 10"),
        {ON_SQLITE: FOUND},
        ["entry 10"],
    ),
    Attack(
        "A name in another Unicode form (NFD for NFC)",
        unguarded(f"UPDATE {ENTRIES} SET actor_label = ? WHERE id = 11", params=[NFD]),
        FOUND,
        ["entry 11"],
    ),
    Attack(
        "One byte in a megabyte of details",
        unguarded(
            f"UPDATE {ENTRIES} SET details = substr(details, 1, 500000) || 'y' || "
            "substr(details, 500002) WHERE id = 12"
        ),
        FOUND,
        ["entry 12"],
    ),
    Attack(
        "An entry deleted",
        unguarded(f"DELETE FROM {ENTRIES} WHERE id = 10"),
        FOUND,
        ["entry 10"],
    ),
    Attack(
        "An entry and its leaf deleted",
        unguarded(
            f"DELETE FROM {ENTRIES} WHERE id = 10", f"DELETE FROM {LEAVES} WHERE entry_id = 10"
        ),
        FOUND,
        ["seal 2"],
    ),
    Attack(
        "The contents of two entries swapped", swapped_contents, FOUND, ["entry 10", "entry 12"]
    ),
    Attack(
        "The numbers of two entries swapped",
        swapped_numbers(ENTRIES, "id", 10, 20),
        FOUND,
        ["entry 10", "entry 20"],
    ),
    Attack(
        "A leaf's hash altered",
        lambda attacker: attacker.unguarded(
            f"UPDATE {LEAVES} SET hash = ? WHERE entry_id = 10", params=[bytes(32)]
        ),
        FOUND,
        ["leaf of entry 10"],
    ),
    Attack("An entry and its leaf altered together", entry_and_leaf_altered, FOUND, ["seal 2"]),
    Attack(
        "Two leaves swapped",
        unguarded(
            f"UPDATE {LEAVES} SET position = 99 WHERE entry_id = 10",
            f"UPDATE {LEAVES} SET position = 1 WHERE entry_id = 14",
            f"UPDATE {LEAVES} SET position = 5 WHERE entry_id = 10",
        ),
        FOUND,
        ["seal 2"],
    ),
    Attack(
        "A leaf moved into another seal",
        unguarded(f"UPDATE {LEAVES} SET seal_no = 3, position = 8 WHERE entry_id = 10"),
        FOUND,
        ["leaf of entry 10", "seal 2"],
    ),
    Attack("A new entry put into an old seal", leaf_added, FOUND, ["leaf of entry 33"]),
    Attack(
        "Leaves without their seal (a sealer killed in between would leave them)",
        by_sql(
            f"INSERT INTO {LEAVES} (entry_id, seal_no, position, hash) VALUES (33, 6, 0, ?)",
            params=[bytes(32)],
        ),
        FOUND,
        ["leaf of entry 33"],
    ),
    Attack(
        "A seal in the middle removed with its entries",
        unguarded(
            f"DELETE FROM {ENTRIES} WHERE id BETWEEN 17 AND 24",
            f"DELETE FROM {LEAVES} WHERE seal_no = 3",
            f"DELETE FROM {SEALS} WHERE no = 3",
        ),
        FOUND,
        {ON_SQLITE: ["entry 17", "seal 3"], ON_POSTGRESQL: ["seal 3"]},
    ),
    Attack("Two seals renumbered", swapped_numbers(SEALS, "no", 2, 3), FOUND, ["seal 2", "seal 3"]),
    Attack(
        "A seal's time altered",
        lambda attacker: attacker.unguarded(
            f"UPDATE {SEALS} SET sealed_at = "
            + ("'2026-01-05 11:59:00'" if attacker.is_sqlite else "sealed_at - interval '1 hour'")
            + " WHERE no = 3"
        ),
        FOUND,
        ["seal 3"],
    ),
    Attack(
        "A signature stripped",
        unguarded(f"UPDATE {SEALS} SET signature = '' WHERE no = 3"),
        FOUND,
        ["seal 3"],
    ),
    Attack(
        "Another key named",
        unguarded(f"UPDATE {SEALS} SET key_id = '0123456789abcdef' WHERE no = 3"),
        FOUND,
        ["seal 3"],
    ),
    Attack("A seal signed by another algorithm", signed_by_another_algorithm, FOUND, ["seal 3"]),
    Attack("A seal signed with another key", resigned_by_another, FOUND, ["seal 3"]),
    Attack(
        "A seal signed with another key in the name of the true one",
        resigned_in_the_name_of_the_key,
        FOUND,
        ["seal 3"],
    ),
    Attack(
        "A seal in the middle altered, and signed with the stolen key",
        resigned_with_the_stolen_key,
        FOUND,
        ["seal 3", "seal 4"],
    ),
    Attack(
        "Everything sealed anew with another key",
        lambda attacker: sealed_anew(attacker, new_signer()),
        FOUND,
        ["seal 1", "seal 2", "seal 3"],
    ),
    Attack(
        "A seal with an absurd number",
        by_sql(
            f"INSERT INTO {SEALS} (no, kind, previous, n_entries, root, sealed_at, key_id, "
            f"signature) SELECT 9000000000000000000, kind, previous, 9000000000000000000, root, "
            f"sealed_at, key_id, signature FROM {SEALS} WHERE no = 5"
        ),
        FOUND,
        ["seal 6", "seal 9000000000000000000"],
    ),
    Attack(
        "The range of a pruning widened",
        unguarded(f"UPDATE {SEALS} SET pruned_to = 2 WHERE no = 4"),
        FOUND,
        ["seal 1", "seal 4"],
    ),
    Attack(
        "The record of a pruning forged, and an entry removed under it",
        pruning_forged,
        FOUND,
        ["seal 2", "seal 6"],
    ),
    Attack(
        "The record of a pruning removed",
        unguarded(f"DELETE FROM {SEALS} WHERE no = 4"),
        FOUND,
        ["seal 1", "seal 4"],
    ),
    Attack(
        "A signed record of a pruning that names other seals than those here",
        pruned_too_much,
        FOUND,
        ["seal 6"],
    ),
    Attack(
        "A pruned seal altered",
        unguarded(f"UPDATE {SEALS} SET n_entries = 7 WHERE no = 1"),
        FOUND,
        ["seal 1"],
    ),
    Attack(
        "An entry put in the place of a pruned one",
        by_sql(copy_of(9, under=3)),
        {ON_SQLITE: REFUSED, ON_POSTGRESQL: WARNING},
        {ON_SQLITE: [], ON_POSTGRESQL: ["entry 3"]},
    ),
    Attack(
        "The same, the triggers taken off and put back",
        unguarded(copy_of(9, under=3)),
        {ON_SQLITE: FOUND, ON_POSTGRESQL: WARNING},
        ["entry 3"],
    ),
    Attack(
        "A new entry whose time is none, sealed like any other",
        lambda attacker: misfit_sealed(
            at="'soon'" if attacker.is_sqlite else "timestamptz 'infinity'"
        )(attacker),
        FOUND,
        ["entry 36"],
    ),
    Attack(
        "A new entry with text for a number, sealed like any other",
        misfit_sealed(status_code="'none'"),
        {ON_SQLITE: FOUND},
        ["entry 36"],
    ),
    Attack("A trigger switched off or altered", trigger_off, FOUND, ["triggers"]),
    Attack(
        "The function behind a trigger emptied",
        function_emptied,
        {ON_POSTGRESQL: FOUND},
        ["triggers"],
    ),
    Attack("A trigger or rule of one's own that swallows entries", swallowing, FOUND, ["triggers"]),
    Attack(
        "A table dropped",
        by_sql(f"DROP TABLE {LEAVES}"),
        FOUND,
        ["database"],
    ),
    Attack(
        "The sequence of ids set back",
        lambda attacker: attacker.sql(sequence_to(attacker, 20)),
        FOUND,
        ["sequence of ids"],
    ),
    Attack(
        "An entry that was not sealed yet deleted",
        unguarded(f"DELETE FROM {ENTRIES} WHERE id = 34"),
        {ON_SQLITE: FOUND, ON_POSTGRESQL: NOT_FOUND},
        {ON_SQLITE: ["entry 34"], ON_POSTGRESQL: []},
    ),
    Attack(
        "The last seal cut off with its entries",
        lambda attacker: cut(attacker, with_sequence=False),
        {ON_SQLITE: FOUND, ON_POSTGRESQL: ANCHORED},
        {ON_SQLITE: ["entry 25"], ON_POSTGRESQL: ["anchor line 5"]},
    ),
    Attack(
        "A new entry that is back-dated, before it is sealed",
        back_dated,
        WARNING,
        ["entry 36"],
    ),
    Attack("The clock set back by an hour (no attack)", clock_set_back, WARNING, ["seal 6"]),
    Attack(
        "The last seal cut off with its entries, the sequence set back",
        lambda attacker: cut(attacker, with_sequence=True),
        ANCHORED,
        ["anchor line 5"],
    ),
    Attack("Yesterday's database restored", restored, ANCHORED, ["anchor line 5"]),
    Attack(
        "The -wal file deleted",
        without_wal,
        {ON_SQLITE: ANCHORED},
        ["anchor line 6"],
    ),
    Attack(
        "Everything sealed anew with the stolen key",
        lambda attacker: sealed_anew(attacker, attacker.stolen),
        ANCHORED,
        [f"anchor line {line}" for line in range(1, 6)],
    ),
    Attack(
        "An entry that was not sealed yet edited",
        unguarded(f"UPDATE {ENTRIES} SET outcome = 'failed' WHERE id = 34"),
        NOT_FOUND,
    ),
    Attack(
        "The last entries that were not sealed yet deleted, the sequence set back",
        lambda attacker: attacker.unguarded(
            f"DELETE FROM {ENTRIES} WHERE id >= 34", sequence_to(attacker, 33)
        ),
        NOT_FOUND,
    ),
    Attack(
        "A false entry written by who may write, with the time of now",
        by_orm(lambda: add_entry(VERIFIED_AT, actor_id="somebody else")),
        NOT_FOUND,
    ),
    Attack(
        "Entries removed under a record of a pruning signed with the stolen key "
        "(it is counted among the prunings)",
        pruned_with_the_key,
        NOT_FOUND,
    ),
]


def outcomes_table() -> str:
    """The attacks as a table in Markdown."""
    rows = ["| Attack | SQLite | PostgreSQL |", "| --- | --- | --- |"]
    for attack in ATTACKS:
        found = [attack.outcome_on(vendor) or "–" for vendor in (ON_SQLITE, ON_POSTGRESQL)]
        rows.append(f"| {attack.what} | {found[0]} | {found[1]} |")
    return "\n".join(rows) + "\n"
