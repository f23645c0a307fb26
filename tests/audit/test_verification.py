"""Verification on damaged data, with odd anchors and keys, and beside writers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError

from audit import entry_check, stored_chain
from audit.append_only import ENTRIES, LEAVES, SEALS
from audit.findings import MAX_SHOWN, Finding, Findings, Place, Severity
from audit.leaf import FIELDS
from audit.models import AuditEntry
from audit.sealing import seal_entries
from audit.snapshot import snapshot
from audit.stored_chain import TYPES
from audit.verification import Verdict, Verification, verify
from tests.audit.attacks import (
    VERIFIED_AT,
    Attacker,
    PreparedTrail,
    copy_of,
    pruned,
    sequence_to,
)
from tests.audit.trail_databases import NOON, TrailDatabase, add_entry, new_signer, write_anchors

BROKEN, WARNING = Severity.BROKEN, Severity.WARNING


@pytest.fixture
def attacker(trail_database: TrailDatabase, prepared: PreparedTrail) -> Attacker:
    """On a fresh copy."""
    trail_database.restore(prepared.dump)
    return Attacker(trail_database, prepared)


def verified(attacker: Attacker, anchor_file: Path | None = None) -> Verification:
    with attacker.database.as_default():
        return verify(attacker.trail.signer.trusted, at=VERIFIED_AT, anchor_file=anchor_file)


def in_short(found: Verification) -> list[tuple[Severity, str]]:
    return [(finding.severity, finding.where) for finding in found.findings]


# -- damage ----------------------------------------------------------------------------------------

ODD_VALUES = ["x'00ff'", "-1", "CAST(x'ff' AS TEXT)"]
SQLITE_DAMAGE = [
    *(f"UPDATE {SEALS} SET {name} = {v} WHERE no = 3" for name in TYPES for v in ODD_VALUES),
    *(
        f"UPDATE {LEAVES} SET {name} = {v} WHERE entry_id = 18"
        for name in ("entry_id", "seal_no", "position", "hash")
        for v in ODD_VALUES
    ),
    *(
        f"UPDATE {ENTRIES} SET {name} = {v} WHERE id = 18"
        for name in FIELDS[1:]
        for v in ODD_VALUES
    ),
    f"UPDATE {SEALS} SET n_entries = {2**63 - 1}, last_id = {2**63 - 1} WHERE no = 3",
    f"UPDATE {SEALS} SET sealed_at = '0001-01-01 00:00:00' WHERE no IN (2, 3)",
    f"UPDATE {ENTRIES} SET at = '0001-01-01 00:00:00' WHERE id IN (17, 18)",
    f"UPDATE {ENTRIES} SET id = -5 WHERE id = 33",
    "UPDATE sqlite_sequence SET seq = 'many'",
    "DELETE FROM sqlite_sequence",
    f"ALTER TABLE {ENTRIES} RENAME COLUMN details TO particulars",
    f"ALTER TABLE {SEALS} RENAME COLUMN root TO stem",
]
POSTGRESQL_DAMAGE = [
    f"UPDATE {SEALS} SET sealed_at = 'infinity' WHERE no = 3",
    f"UPDATE {SEALS} SET sealed_at = '20000-01-01' WHERE no = 3",
    f"UPDATE {SEALS} SET sealed_at = '4000-01-01 BC' WHERE no = 3",
    f"UPDATE {ENTRIES} SET at = '-infinity' WHERE id = 18",
    f"UPDATE {ENTRIES} SET duration_ms = 'NaN' WHERE id = 18",
    f"UPDATE {LEAVES} SET hash = '' WHERE entry_id = 18",
    f"ALTER TABLE {ENTRIES} ALTER id DROP IDENTITY",
    f"ALTER TABLE {ENTRIES} RENAME details TO particulars",
    f"ALTER TABLE {SEALS} ALTER no TYPE numeric",
    f"ALTER TABLE {SEALS} RENAME root TO stem",
    # Two rows of one id, of which one fits.
    f"ALTER TABLE {ENTRIES} DROP CONSTRAINT {ENTRIES}_pkey; "
    f"CREATE TEMP TABLE twin AS SELECT * FROM {ENTRIES} WHERE id = 18; "
    f"UPDATE twin SET n_items = 99; INSERT INTO {ENTRIES} SELECT * FROM twin",
]


def test_every_damage_becomes_a_finding(attacker: Attacker) -> None:
    unnoticed = []
    for damage in SQLITE_DAMAGE if attacker.is_sqlite else POSTGRESQL_DAMAGE:
        attacker.database.restore(attacker.trail.dump)
        attacker.unguarded(damage)
        if not verified(attacker).n_broken:
            unnoticed.append(damage)

    assert unnoticed == []


@pytest.mark.parametrize("place", [4_096, 40_000, -1])
def test_a_database_file_that_is_damaged_is_no_clean_one(
    attacker: Attacker, place: int, tmp_path: Path
) -> None:
    """Overwritten from there on; at -1 it is cut in half."""
    if not attacker.is_sqlite:
        pytest.skip("PostgreSQL keeps its files to itself")
    # A file of its own: what failed to open it may keep it open for a while.
    path = tmp_path / "damaged.db"
    (content,) = attacker.trail.dump.contents
    if place < 0:
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:place] + b"\xaa" * 8_192 + content[place + 8_192 :])

    found = verified(Attacker(TrailDatabase("sqlite", str(path)), attacker.trail))

    assert found.verdict == Verdict.BROKEN
    assert found.findings[-1].where == "database"


def test_an_index_that_hides_an_entry_is_noticed(attacker: Attacker) -> None:
    """It is not read here, but by the lists that people look at."""
    if not attacker.is_sqlite:
        pytest.skip("PostgreSQL keeps its files to itself")
    with attacker.database.raw() as raw:
        ((size,),) = raw.execute("PRAGMA page_size").fetchall()
        ((page,),) = raw.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'audit_by_action'"
        ).fetchall()
    path = Path(attacker.database.place)
    content = bytearray(path.read_bytes())
    n_cells = (page - 1) * size + 3  # of the page's header, two bytes
    content[n_cells + 1] -= 1
    path.write_bytes(content)

    found = verified(attacker)

    assert in_short(found) == [(BROKEN, "database")]
    assert ENTRIES in found.findings[0].what


def test_a_trail_of_nothing_is_clean(trail_database: TrailDatabase, tmp_path: Path) -> None:
    empty = TrailDatabase.new(trail_database.vendor, tmp_path)
    try:
        with empty.as_default():
            found = verify({}, at=NOON)
    finally:
        empty.drop()

    assert (found.verdict, found.findings) == (Verdict.NOT_ANCHORED, [])
    assert (found.head_no, found.head_digest) == (0, "0" * 64)


def test_a_killed_pruning_is_clean_and_its_rest_is_verified(attacker: Attacker) -> None:
    """Seal 2 is to go: of its entries, one is gone with its leaf, another without."""
    with attacker.database.as_default():
        pruned(attacker.stolen, first=2, last=2, at=VERIFIED_AT)
    attacker.sql(
        f"DELETE FROM {ENTRIES} WHERE id IN (9, 10)", f"DELETE FROM {LEAVES} WHERE entry_id = 9"
    )

    assert verified(attacker).findings == []

    attacker.unguarded(f"UPDATE {ENTRIES} SET outcome = 'failed' WHERE id = 12")

    assert in_short(verified(attacker)) == [(BROKEN, "entry 12")]


def test_late_sealing_is_a_warning(attacker: Attacker) -> None:
    with attacker.database.as_default():
        found = verify(attacker.stolen.trusted, at=VERIFIED_AT + timedelta(hours=1))

    assert in_short(found) == [(WARNING, "entry 33")]
    assert "(2 more like it)" in found.findings[0].what


def test_entries_that_wait_for_a_sealer_to_catch_up_are_not_late(
    trail_database: TrailDatabase, tmp_path: Path
) -> None:
    """An hour's entries come into seals of which the first has long been made."""
    made = TrailDatabase.new(trail_database.vendor, tmp_path)
    signer = new_signer()
    try:
        with made.as_default():
            for minute in range(0, 60, 5):
                add_entry(NOON + timedelta(minutes=minute))
            for second in range(6):
                seal_entries(signer, at=NOON + timedelta(hours=1, seconds=second), at_most=2)
            found = verify(signer.trusted, at=NOON + timedelta(hours=1))
    finally:
        made.drop()

    assert found.findings == []


def test_an_entry_put_among_older_ones_is_named_once_it_is_sealed(attacker: Attacker) -> None:
    if not attacker.is_sqlite:
        pytest.skip("PostgreSQL commits ids out of order")
    attacker.unguarded(copy_of(9, under=3))
    with attacker.database.as_default():
        seal_entries(attacker.stolen, at=VERIFIED_AT)

    assert in_short(verified(attacker)) == [(BROKEN, "entry 3")]


def test_an_entry_committed_late_is_a_warning(attacker: Attacker) -> None:
    """Of a long transaction: its id was given before those that were sealed meanwhile."""
    if attacker.is_sqlite:
        pytest.skip("SQLite gives ids in the order of commits")
    with attacker.database.as_default():
        attacker.sql(sequence_to(attacker, 50), copy_of(33, under=50))
        seal_entries(attacker.stolen, at=VERIFIED_AT)
        attacker.sql(copy_of(9, under=40))
        seal_entries(attacker.stolen, at=VERIFIED_AT)

    assert in_short(verified(attacker)) == [(WARNING, "entry 40")]


# -- anchors and keys ------------------------------------------------------------------------------


def test_anchors_confirm_as_far_as_they_reach(attacker: Attacker, tmp_path: Path) -> None:
    write_anchors(tmp_path / "anchors", attacker.anchored[:3])

    found = verified(attacker, tmp_path / "anchors")

    assert (found.verdict, found.anchored_to, found.head_no) == (Verdict.CLEAN, 3, 5)


def test_a_line_that_is_no_anchor_is_named(attacker: Attacker, tmp_path: Path) -> None:
    path = tmp_path / "anchors"
    write_anchors(path, attacker.anchored)
    lines = path.read_text().splitlines()
    odd = [lines[0], "", lines[1][:50], "x" * 5_000, "\u00e9", *lines[2:], lines[4][:-1]]
    path.write_text("\n".join(odd))

    found = verified(attacker, path)

    assert in_short(found) == [(WARNING, f"anchor line {line}") for line in (3, 4, 5, 9)]
    assert (found.verdict, found.anchored_to) == (Verdict.CLEAN, 5)


def test_a_file_without_an_anchor_confirms_nothing(attacker: Attacker, tmp_path: Path) -> None:
    (tmp_path / "anchors").write_text("")

    assert verified(attacker, tmp_path / "anchors").verdict == Verdict.NOT_ANCHORED


def test_seals_of_a_former_key_stay_trusted(attacker: Attacker) -> None:
    successor = new_signer(attacker.stolen)
    with attacker.database.as_default():
        seal_entries(successor, at=VERIFIED_AT)
        with_both = verify(successor.trusted, at=VERIFIED_AT)
        with_former = verify(attacker.stolen.trusted, at=VERIFIED_AT)

    assert with_both.findings == []
    assert in_short(with_former) == [(BROKEN, "seal 6")]


# -- how it reads ----------------------------------------------------------------------------------


def test_one_moment_is_read_and_no_writer_waits(attacker: Attacker) -> None:
    with attacker.database.as_default(), snapshot():
        n_before = AuditEntry.objects.count()
        attacker.sql(copy_of(33, under=36))
        n_within = AuditEntry.objects.count()

    assert n_within == n_before
    with attacker.database.as_default():
        assert AuditEntry.objects.count() == n_before + 1


def test_a_snapshot_writes_nothing_on_postgresql(attacker: Attacker) -> None:
    if attacker.is_sqlite:
        pytest.skip("SQLite has no read-only transaction")
    with attacker.database.as_default(), pytest.raises(DatabaseError), snapshot():
        add_entry(VERIFIED_AT)


def test_progress_ends_at_one(attacker: Attacker) -> None:
    shares: list[float] = []
    with attacker.database.as_default():
        verify(attacker.stolen.trusted, at=VERIFIED_AT, progress=shares.append)

    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_pages_and_groups_have_no_say(attacker: Attacker, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one seal, one leaf or one entry read at a time, the same is found."""
    attacker.unguarded(
        f"UPDATE {ENTRIES} SET outcome = 'failed' WHERE id IN (9, 16, 17, 32)",
        f"UPDATE {SEALS} SET signature = '' WHERE no = 3",
    )
    at_once = verified(attacker)
    for module in (entry_check, stored_chain):
        monkeypatch.setattr(module, "N_AT_ONCE", 1)

    assert verified(attacker).findings == at_once.findings
    assert in_short(at_once) == [
        (BROKEN, "seal 3"),
        *((BROKEN, f"entry {number}") for number in (9, 16, 17, 32)),
    ]


def test_more_leaves_than_a_seal_can_hold_are_not_read(
    attacker: Attacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_check, "MAX_AT_ONCE", 7)
    monkeypatch.setattr(entry_check, "rows_by_seal", lambda first, last: pytest.fail("were read"))

    assert verified(attacker).verdict == Verdict.BROKEN


def test_the_first_findings_are_kept_and_all_are_counted() -> None:
    findings = Findings()
    for number in range(70):
        findings.warning(Place.ENTRY, number, "is late")
        findings.broken(Place.SEAL, number, "is missing")

    assert (findings.n_broken, findings.n_warnings) == (70, 70)
    assert len(findings.shown) == MAX_SHOWN
    assert findings.shown[0] == Finding(BROKEN, Place.SEAL, 0, "is missing")
    assert findings.shown[-1].where == "entry 29"
