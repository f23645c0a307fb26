"""Every entry is sealed once, whatever ends whenever; nothing is sealed on top of what is wrong."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection, connections
from django.utils import timezone

from audit import append_only, merkle, sealer, sealing, stored_entries
from audit.anchors import Anchor, append_heads, last_anchors, read_anchors
from audit.leaf import leaf_hash
from audit.models import AuditEntry, AuditLeaf, AuditSeal
from audit.seal_format import NO_SEAL, key_id_of
from audit.sealer import RECENT, SWEEP_EVERY, Sealer
from audit.sealing import HeadMoved, SealingRefused, append_seal, current_head, seal_entries
from audit.sealing_key import Signer
from audit.stored_seals import digest_of, seal_of
from tests.audit.sealed_trail import SealedTrail, sealed_trail
from tests.expectations import one_entry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ON_SQLITE = connection.vendor == "sqlite"


@pytest.fixture
def trail(db: None, tmp_path: Path) -> Iterator[SealedTrail]:
    with sealed_trail(tmp_path) as made:
        yield made


def sealed_ids() -> list[int]:
    return list(AuditLeaf.objects.order_by("seal_no", "position").values_list("pk", flat=True))


def anchored(trail: SealedTrail) -> list[int]:
    return [anchor.no for anchor in read_anchors(trail.files.anchors)]


def insert_late(entry_id: int, *, details: object = "{}") -> None:
    """An entry under an id that was given long ago."""
    row = {
        "id": entry_id, "at": "2026-01-01 00:00:00", "actor_kind": "system", "actor_id": "",
        "actor_label": "", "action": "tests.acted", "target_type": "", "target_id": "",
        "outcome": "succeeded", "request_id": "", "peer_address": "", "address": "",
        "details": details,
    }  # fmt: skip
    append_only.remove(connection)  # on SQLite they take only the next id
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO audit_auditentry ({', '.join(row)}) "
            f"VALUES ({', '.join(['%s'] * len(row))})",
            list(row.values()),
        )
    append_only.install(connection)


# -- one seal -------------------------------------------------------------------------------------


def test_seals_hold_their_entries_in_order_and_are_chained(trail: SealedTrail) -> None:
    ids = trail.add(10)

    first, second, third = trail.seal(at_most=4)

    assert [seal.n_entries for seal in (first, second, third)] == [4, 4, 2]
    assert sealed_ids() == ids
    assert first.seal.previous == NO_SEAL
    assert (second.seal.previous, third.seal.previous) == (first.digest, second.digest)
    assert (second.seal.first_id, second.seal.last_id) == (ids[4], ids[7])
    rows = list(stored_entries.rows_by_seal(2, 2))
    assert [row.position for row in rows] == [0, 1, 2, 3]
    assert [leaf_hash(row.values or ()) for row in rows] == [row.hash for row in rows]
    assert merkle.root([row.hash for row in rows]).hex() == second.seal.root
    stored = AuditSeal.objects.get(no=2)
    assert seal_of(stored) == second.seal and digest_of(stored) == second.digest
    assert trail.is_clean()


def test_nothing_to_seal_makes_no_seal(trail: SealedTrail) -> None:
    assert trail.seal() == []
    trail.add(1)
    assert len(trail.seal()) == 1
    assert trail.seal() == []


def test_what_fails_half_way_leaves_neither_leaves_nor_seal(
    trail: SealedTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail.add(3)

    def broken(**fields: Any) -> None:
        assert AuditLeaf.objects.count() == 3
        raise RuntimeError("killed")

    monkeypatch.setattr(AuditSeal.objects, "create", broken)
    with pytest.raises(RuntimeError):
        trail.seal()

    assert not AuditLeaf.objects.exists() and not AuditSeal.objects.exists()


def test_who_finds_another_head_starts_again(
    trail: SealedTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rival seals between the reading of the entries and the transaction."""
    ids = trail.add(6)
    read = stored_entries.unsealed
    rivals = iter([2, 3])

    def read_and_lose(**kwargs: Any) -> Any:
        rows = read(**kwargs)
        if at_most := next(rivals, 0):
            with monkeypatch.context() as alone:
                alone.setattr(stored_entries, "unsealed", read)
                assert seal_entries(trail.signer, at=NOW, at_most=at_most)
        return rows

    monkeypatch.setattr(stored_entries, "unsealed", read_and_lose)
    mine = seal_entries(trail.signer, at=NOW)

    assert mine is not None and (mine.seal.no, mine.n_entries) == (3, 1)
    assert sealed_ids() == ids
    Sealer(trail.files).check_anchors(trail.signer)
    assert trail.is_clean()


def test_nothing_is_appended_to_a_head_that_moved(trail: SealedTrail) -> None:
    trail.add(2)
    before = current_head(trail.signer)
    trail.seal(at_most=1)

    with pytest.raises(HeadMoved):
        append_seal(trail.signer, after=before, kind="entries", n_entries=0, root=bytes(32), at=NOW)

    assert AuditSeal.objects.count() == 2


@pytest.mark.services("DATABASE_URL")
@pytest.mark.django_db(transaction=True)
def test_sealers_at_once_fork_nothing_and_seal_each_entry_once(tmp_path: Path) -> None:
    with sealed_trail(tmp_path) as trail:
        ids = trail.add(200)
        ready = threading.Barrier(4)

        def press() -> None:
            mine = Sealer(trail.files)
            ready.wait(10)
            while stored_entries.n_unsealed(above=0):
                try:
                    batch = seal_entries(trail.signer, at=timezone.now(), at_most=7)
                    append_heads(trail.files.anchors, [batch.anchor] if batch else [])
                    mine.check_anchors(trail.signer)
                except HeadMoved:
                    continue
            connections.close_all()

        threads = [threading.Thread(target=press) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        Sealer(trail.files).check_anchors(trail.signer)
        assert sorted(sealed_ids()) == ids
        assert trail.is_clean()


@pytest.mark.services("DATABASE_URL")
@pytest.mark.django_db(transaction=True)
def test_an_entry_that_is_committed_late_is_sealed_all_the_same(tmp_path: Path) -> None:
    """Its id is below those that are sealed: PostgreSQL gives ids before it commits."""
    with sealed_trail(tmp_path) as trail:
        late = psycopg.connect(**server())
        late.execute(
            "INSERT INTO audit_auditentry (at, actor_kind, actor_id, actor_label, action,"
            " target_type, target_id, outcome, request_id, peer_address, address, details)"
            " VALUES (now(), 'system', '', '', 'tests.late', '', '', 'succeeded', '', '', '', '{}')"
        )
        [later] = trail.add(1)
        sealer_ = Sealer(trail.files)
        sealer_.seal(now=timezone.now)
        assert sealed_ids() == [later]

        late.commit()
        late.close()
        sealer_.seal(now=timezone.now)

        entry = AuditEntry.objects.get(action="tests.late")
        assert sealed_ids() == [later, entry.pk] and entry.pk < later
        assert trail.is_clean()


def server() -> dict[str, Any]:
    """The database under test, for a connection past Django."""
    names = ("dbname", "user", "password", "host", "port")
    return {
        name: value for name, value in connection.get_connection_params().items() if name in names
    }


# -- what entries may hold ------------------------------------------------------------------------


def test_an_entry_of_every_kind_of_value_keeps_its_hash(trail: SealedTrail) -> None:
    at = datetime(2026, 1, 1, 0, 0, 0, 0, tzinfo=UTC)
    trail.add(1, at=at)
    trail.add(1, at=at.replace(microsecond=1), status_code=0, n_items=2**60)
    trail.add(1, at=at.replace(microsecond=100_000), actor_label="é", target_id="e\u0301\x1f\u2028")
    trail.add(1, at=at, actor_label="\U0001f600" * 100)

    trail.seal()

    assert trail.is_clean()


@pytest.mark.skipif(not ON_SQLITE, reason="only SQLite stores what a column cannot hold")
def test_an_entry_that_cannot_be_hashed_keeps_no_other_from_being_sealed(
    trail: SealedTrail, caplog: pytest.LogCaptureFixture
) -> None:
    insert_late(1, details=b"bytes")
    insert_late(2, details=b"bytes")
    ids = trail.add(3)

    assert [batch.n_entries for batch in trail.seal(at_most=2)] == [2, 1]

    assert sealed_ids() == ids
    assert "Audit entry 1 cannot be sealed: it holds a value of the type bytes" in caplog.text


@pytest.mark.skipif(not ON_SQLITE, reason="PostgreSQL refuses such text")
def test_text_that_is_no_utf_8_is_sealed_as_the_bytes_it_is(trail: SealedTrail) -> None:
    trail.add(1)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_auditentry SELECT 2, at, actor_kind, actor_id, actor_label, action,"
            " target_type, target_id, outcome, status_code, n_items, request_id, peer_address,"
            " address, duration_ms, CAST(x'7b80ff7d' AS TEXT) FROM audit_auditentry WHERE id = 1"
        )

    trail.seal()

    assert sealed_ids() == [1, 2]
    assert [leaf_hash(row.values or ()) for row in stored_entries.rows_by_seal(1, 1)] == [
        bytes(leaf.hash) for leaf in AuditLeaf.objects.order_by("position")
    ]


@pytest.mark.skipif(not ON_SQLITE, reason="PostgreSQL keeps a moment, not its spelling")
@pytest.mark.parametrize(
    "text", ["2026-01-01T00:00:00", "2026-01-01 00:00:00.000000", "2026-01-01", "soon", ""]
)
def test_another_spelling_of_a_moment_is_another_value(text: str) -> None:
    assert stored_entries.moment(text) == text


@pytest.mark.skipif(ON_SQLITE, reason="SQLite has no infinity")
@pytest.mark.parametrize("text", ["infinity", "20000-01-01 00:00:00+00"])
def test_a_moment_beyond_all_moments_is_sealed_as_its_text(trail: SealedTrail, text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_auditentry (at, actor_kind, actor_id, actor_label, action,"
            " target_type, target_id, outcome, request_id, peer_address, address, details)"
            " VALUES (%s, 'system', '', '', 'x', '', '', 'succeeded', '', '', '', '{}')",
            [text],
        )
    trail.add(1)

    [batch] = trail.seal()

    rows = list(stored_entries.rows_by_seal(1, 1))
    assert batch.n_entries == 2 and rows[0].values is not None
    assert rows[0].values[1] == text
    assert [leaf_hash(row.values or ()) for row in rows] == [row.hash for row in rows]


# -- rounds ---------------------------------------------------------------------------------------


def test_a_round_seals_and_anchors_all_there_is(
    trail: SealedTrail, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sealer, "WINDOW", 3)
    ids = trail.add(8)

    with caplog.at_level(logging.INFO):
        sealed = Sealer(trail.files).seal(now=lambda: NOW)

    assert (sealed.n_entries, sealed.n_seals, sealed.is_complete) == (8, 3, True)
    assert sealed_ids() == ids
    assert anchored(trail) == [1, 2, 3]
    head = current_head(trail.signer)
    assert re.search(
        rf"Sealed 2 entries, locked \d+ ms: 2026-03-01T12:00:00.000000\+00:00 3 {head.digest}",
        caplog.text,
    )
    assert trail.is_clean()


def test_a_round_goes_on_where_its_time_ended(
    trail: SealedTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealer, "WINDOW", 2)
    ids = trail.add(5)
    mine = Sealer(trail.files)
    clock = iter(range(100))
    monkeypatch.setattr(sealer, "monotonic", lambda: float(next(clock)))

    calls = []
    while not calls or mine.is_catching_up:
        calls.append(mine.seal(now=lambda: NOW, within=timedelta(seconds=2)).n_entries)

    assert sum(calls) == 5 and len(calls) > 3
    assert sealed_ids() == ids


def test_a_round_looks_at_recent_entries_and_once_a_day_at_all(trail: SealedTrail) -> None:
    trail.add(5)
    mine = Sealer(trail.files)
    mine.seal(now=lambda: NOW)
    insert_late(900)
    mine.seal(now=lambda: NOW + MINUTE)
    assert sealer.recent_floor(NOW + 2 * RECENT) == 900
    assert sealer.recent_floor(NOW + MINUTE) == 0

    insert_late(800)
    mine.seal(now=lambda: NOW + 2 * RECENT)
    assert 800 not in sealed_ids()

    mine.seal(now=lambda: NOW + SWEEP_EVERY)
    assert 800 in sealed_ids()


def test_a_round_leaves_what_comes_meanwhile_to_the_next_one(
    trail: SealedTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a round would last as long as requests come, with a seal for each few of them."""
    ids = trail.add(2)
    mine = Sealer(trail.files)

    sealed = mine.seal(now=lambda: NOW, on_seal=lambda batch: ids.extend(trail.add(1)))
    assert (sealed.n_entries, sealed.n_seals, sealed.is_complete) == (2, 1, True)

    mine.seal(now=lambda: NOW)
    assert sealed_ids() == ids


def test_by_hand_all_entries_are_looked_at(trail: SealedTrail) -> None:
    insert_late(900)
    Sealer(trail.files).seal(now=lambda: NOW)
    insert_late(800)

    Sealer(trail.files).seal(now=lambda: NOW + 2 * RECENT)

    assert sealed_ids() == [900, 800]


@pytest.mark.skipif(not ON_SQLITE, reason="a setting of SQLite")
@pytest.mark.django_db(transaction=True)
def test_a_seal_waits_for_the_disk_and_other_commits_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = []
    create = AuditSeal.objects.create

    def look_and_create(**fields: Any) -> AuditSeal:
        levels.append(synchronous())
        return create(**fields)

    monkeypatch.setattr(AuditSeal.objects, "create", look_and_create)
    with sealed_trail(tmp_path) as trail:
        trail.add(1)
        usual = synchronous()
        trail.seal()

    assert (usual, levels, synchronous()) == (1, [2], 1)


def synchronous() -> int:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous")
        return int(cursor.fetchone()[0])


# -- what nothing is built on ---------------------------------------------------------------------


def assert_refused(trail: SealedTrail, words: str) -> None:
    """Nothing is sealed, the file of anchors stays, and the sealer knows why."""
    trail.add(1)
    n_seals = AuditSeal.objects.count()
    anchors = trail.files.anchors.read_bytes()
    mine = Sealer(trail.files)

    with pytest.raises(SealingRefused, match=words) as refusal:
        mine.seal(now=lambda: NOW)

    assert AuditSeal.objects.count() == n_seals
    assert trail.files.anchors.read_bytes() == anchors
    assert mine.problem == str(refusal.value)


def test_nothing_is_sealed_on_a_seal_of_a_key_that_is_not_trusted(trail: SealedTrail) -> None:
    trail.add(2)
    trail.seal(at_most=1)
    key = Ed25519PrivateKey.generate()
    stranger = Signer(key, key_id_of(key.public_key()), trail.signer.trusted)
    append_seal(
        stranger, after=current_head(trail.signer), kind="entries", n_entries=0, root=bytes(32),
        at=NOW,
    )  # fmt: skip

    assert_refused(trail, "Seal 3, the last one, is not signed by a key that AUDIT_PUBLIC_KEYS")


def test_nothing_is_sealed_on_a_seal_with_another_signature(trail: SealedTrail) -> None:
    trail.add(1)
    [batch] = trail.seal()
    fields = {name: getattr(batch.seal, name) for name in type(batch.seal).__slots__}
    for signature in ("0" * 128, "", "zz"):
        AuditSeal.objects.create(
            **{**fields, "no": AuditSeal.objects.count() + 1}, signature=signature
        )

        assert_refused(trail, "is not signed by a key")


@pytest.mark.parametrize(
    ("no", "words"),
    [
        (2, "has another seal 2 than the database, whose last seal is 2"),
        (3, "has another seal 3 than the database, whose last seal is 2"),
    ],
)
def test_nothing_is_sealed_on_what_an_anchor_contradicts(
    trail: SealedTrail, no: int, words: str
) -> None:
    """A digest that is not the seal's, and a seal that is gone."""
    trail.add(2)
    trail.seal(at_most=1)
    append_heads(trail.files.anchors, [Anchor(0, NOW, no, "ab" * 32)])

    assert_refused(trail, words)

    trail.files.anchors.rename(trail.files.anchors.with_name("kept"))  # as the message says
    Sealer(trail.files).seal(now=lambda: NOW)
    assert anchored(trail) == [2, 3]


def test_nothing_is_sealed_on_seals_that_do_not_follow_the_anchored_one(trail: SealedTrail) -> None:
    trail.add(1)
    trail.seal()
    head = current_head(trail.signer)
    loose = sealing.Head(head.no, "cd" * 32)
    append_seal(trail.signer, after=loose, kind="entries", n_entries=0, root=bytes(32), at=NOW)

    assert_refused(trail, "Seal 2 does not continue")


def test_an_anchor_file_without_any_seal_in_the_database_is_refused(trail: SealedTrail) -> None:
    append_heads(trail.files.anchors, [Anchor(0, NOW, 1, "ab" * 32)])

    assert_refused(trail, "another seal 1 than the database, whose last seal is 0")


# -- anchors --------------------------------------------------------------------------------------


def test_anchors_that_a_crash_kept_back_follow(trail: SealedTrail) -> None:
    trail.add(1)
    trail.seal()
    before = trail.files.anchors.read_bytes()
    trail.add(3)
    trail.seal(at_most=1)
    trail.files.anchors.write_bytes(before)

    Sealer(trail.files).seal(now=lambda: NOW)

    assert anchored(trail) == [1, 2, 3, 4]
    assert trail.is_clean()


def test_an_anchor_file_that_fails_stops_no_sealing_and_catches_up(
    trail: SealedTrail, caplog: pytest.LogCaptureFixture
) -> None:
    mine = Sealer(trail.files)
    trail.add(1)
    mine.seal(now=lambda: NOW)
    kept = trail.files.anchors.rename(trail.files.anchors.with_name("kept"))
    trail.files.anchors.mkdir()
    trail.add(1)

    assert mine.seal(now=lambda: NOW).n_seals == 1

    assert mine.anchor_problem == f"{trail.files.anchors}: Is a directory"
    assert "Seals are not anchored" in caplog.text
    trail.files.anchors.rmdir()
    kept.rename(trail.files.anchors)
    mine.seal(now=lambda: NOW)
    assert (anchored(trail), mine.anchor_problem) == ([1, 2], "")


@pytest.mark.parametrize("is_there", [True, False])
def test_anchors_that_are_gone_begin_anew_with_one_entry(
    trail: SealedTrail, caplog: pytest.LogCaptureFixture, is_there: bool
) -> None:
    trail.add(5)
    digest = trail.seal(at_most=4)[-1].digest
    trail.files.anchors.unlink()
    if is_there:
        trail.files.anchors.write_text("no anchor\n" * 2000)
    mine = Sealer(trail.files)

    with one_entry(action="audit.anchors_begun", actor_kind="system", actor_id="sealer") as written:
        mine.seal(now=lambda: NOW)
        mine.seal(now=lambda: NOW)

    assert json.loads(written[0].details) == {"no": 2, "digest": digest}
    assert [anchor.no for anchor in last_anchors(trail.files.anchors)] == [2, 3]
    assert written[0].pk in sealed_ids()
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert f"held no anchor of the 2 seals; it begins anew: {NOW:%Y}" in warning.getMessage()


def test_anchors_that_the_first_seal_still_lacks_leave_no_entry(trail: SealedTrail) -> None:
    trail.add(1)
    seal_entries(trail.signer, at=NOW)

    Sealer(trail.files).seal(now=lambda: NOW)

    assert (anchored(trail), AuditEntry.objects.count()) == ([1], 1)


def test_anchors_that_cannot_be_begun_leave_no_entry_each_round(
    trail: SealedTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail.add(5)
    trail.seal(at_most=4)
    trail.files.anchors.unlink()
    mine = Sealer(trail.files)
    with monkeypatch.context() as full:
        full.setattr(sealer, "append_heads", no_room)
        mine.seal(now=lambda: NOW)
    assert (AuditEntry.objects.count(), trail.files.anchors.exists()) == (5, False)
    assert mine.anchor_problem == f"{trail.files.anchors}: No space left on device"

    mine.seal(now=lambda: NOW)

    assert (AuditEntry.objects.count(), mine.anchor_problem) == (6, "")


def no_room(path: Path, heads: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_round_that_fails_says_so_until_one_succeeds(
    trail: SealedTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Sealer(trail.files)
    with monkeypatch.context() as broken:
        broken.setattr(sealing, "seal_entries", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            mine.seal(now=lambda: NOW)
    assert mine.problem == "It failed by ZeroDivisionError; see the log."

    mine.seal(now=lambda: NOW)

    assert mine.problem == ""
