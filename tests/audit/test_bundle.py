"""A bundle holds what was asked for and proves it without the server; a forged one does not."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from audit import pruning, trail, verify_bundle
from audit.anchors import Anchor
from audit.models import AuditEntry
from audit.sealing_key import public_pem
from audit.verify_bundle import BROKEN, CLEAN, ENTRIES, MANIFEST, NOT_CONFIRMED, SEALS, UNUSABLE
from tests.audit.sealed_trail import OLD, SealedTrail, sealed_trail
from tests.audit.test_pruning import prune, tamper
from tests.expectations import one_entry
from tests.factories import BY

pytestmark = pytest.mark.django_db
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def stored_once(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SealedTrail]:
    """Ten entries in seals 1 to 3; of a later day five in seals 4 and 5, one of them named."""
    with (
        django_db_blocker.unblock(),
        transaction.atomic(),
        sealed_trail(tmp_path_factory.mktemp("trail")) as found,
    ):
        found.add(10)
        found.seal()
        found.add(4, at=OLD + timedelta(days=10))
        found.add(1, at=OLD + timedelta(days=11), request_id="r-1", target_id="7")
        found.seal()
        shutil.copy(found.files.anchors, kept(found))
        yield found
        transaction.set_rollback(True)


def kept(stored: SealedTrail) -> Path:
    return stored.files.anchors.with_suffix(".kept")


@pytest.fixture
def stored(stored_once: SealedTrail, db: None) -> SealedTrail:
    shutil.copy(kept(stored_once), stored_once.files.anchors)  # each test begins without anchors
    return stored_once


def export(path: Path, *options: str) -> str:
    output = io.StringIO()
    call_command("export_audit", str(path), *options, stdout=output)
    return output.getvalue()


@pytest.fixture
def whole(stored: SealedTrail, tmp_path: Path) -> Path:
    path = tmp_path / "whole.zip"
    export(path)
    return path


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def lines_of(path: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in members_of(path)[name].splitlines()]


def verified(
    path: Path, stored: SealedTrail, capsys: pytest.CaptureFixture, *options: str
) -> tuple[int, str]:
    """The exit code with the trusted keys and the anchors, and what was said."""
    files = ["--public-keys", str(stored.files.public_keys), "--anchor", str(stored.files.anchors)]
    code = verify_bundle.main([str(path), *(options or files)])
    return code, capsys.readouterr().out


# What is written.


def test_a_whole_trail_needs_no_paths_and_is_recorded(
    stored: SealedTrail, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "whole.zip"
    trail.record("tests.unsealed", by=trail.Actor.system("tests"))

    with one_entry(action="audit.exported", n_items=15) as entries:
        said = export(path)

    lines = lines_of(path, ENTRIES)
    assert [line["path"] for line in lines] == [None] * 15
    assert [line["id"] for line in lines] == list(
        AuditEntry.objects.filter(action="tests.acted").order_by("id").values_list("id", flat=True)
    )
    assert (lines[0]["at"], lines[0]["status_code"]) == ("2026-01-01T00:00:00.000000+00:00", None)
    assert [line["no"] for line in lines_of(path, SEALS)] == [1, 2, 3, 4, 5]
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    assert json.loads(entries[0].details)["sha256"] == digest
    assert digest in said and "1 that are not sealed yet" in said
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    code, words = verified(path, stored, capsys)
    assert code == CLEAN, words
    assert "15 entries, 5 seals up to 5" in words and "hold 15 entries; 5 of them" in words


@pytest.mark.parametrize(
    ("options", "n_entries", "first_seal"),
    [
        (["--since", "2026-01-11"], 5, 4),
        (["--until", "2026-01-01T00:00:03"], 3, 1),
        (["--since", "2026-01-01T00:00:05", "--until", "2026-01-01T00:00:06+00:00"], 1, 2),
        (["--request-id", "r-1"], 1, 5),
        (["--target", "", "7"], 1, 5),
        (["--entry", "first", "last"], 2, 1),
    ],
)
def test_a_selection_has_a_path_for_each_entry(
    stored: SealedTrail,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    options: list[str],
    n_entries: int,
    first_seal: int,
) -> None:
    ids = list(AuditEntry.objects.order_by("id").values_list("id", flat=True))
    named = {"first": str(ids[0]), "last": str(ids[-1])}
    path = tmp_path / "some.zip"

    export(path, *[named.get(option, option) for option in options])

    assert len(lines_of(path, ENTRIES)) == n_entries
    seals = lines_of(path, SEALS)
    assert (seals[0]["no"], seals[-1]["no"]) == (first_seal, 5)
    code, said = verified(path, stored, capsys)
    assert code == CLEAN
    assert f"hold {sum(seal['n_entries'] for seal in seals)} entries" in said


def test_the_same_selection_gives_the_same_lines(stored: SealedTrail, tmp_path: Path) -> None:
    export(tmp_path / "one.zip")
    export(tmp_path / "two.zip")

    one, two = members_of(tmp_path / "one.zip"), members_of(tmp_path / "two.zip")
    assert (one[ENTRIES], one[SEALS]) == (two[ENTRIES], two[SEALS])


def test_what_was_pruned_is_no_longer_offered(
    stored: SealedTrail, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    prune()
    stored.seal()

    export(tmp_path / "rest.zip")

    assert {line["seal"] for line in lines_of(tmp_path / "rest.zip", ENTRIES)} == {4, 5, 7}
    assert verified(tmp_path / "rest.zip", stored, capsys)[0] == CLEAN


def test_what_is_being_pruned_is_not_offered_either(
    stored: SealedTrail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "DELETED_AT_ONCE", 3)

    def killed(share: float, step: str) -> None:
        raise KeyboardInterrupt

    keys = stored.signer.trusted
    planned = pruning.plan(
        before=OLD + timedelta(days=4), keys=keys, on_progress=lambda share, step: None
    )
    assert planned is not None
    pruning.record(planned, signer=stored.signer, by=BY, at=OLD)
    with pytest.raises(KeyboardInterrupt):
        pruning.delete(keys, on_progress=killed)

    export(tmp_path / "rest.zip")

    assert {line["seal"] for line in lines_of(tmp_path / "rest.zip", ENTRIES)} == {4, 5}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--entry", "1", "999999999"], r"not sealed: .*\b999999999\."),
        (["--entry", "-1", "9" * 30], rf"not sealed: -1, {'9' * 30}\."),
        (["--entry", *map(str, range(10**6, 10**6 + 12))], "1000009 and 2 more"),
        (["--since", "2027-01-01"], "No sealed entry"),
        (["--since", "yesterday"], "no date"),
    ],
)
def test_an_empty_selection_is_no_bundle(
    stored: SealedTrail, tmp_path: Path, options: list[str], reason: str
) -> None:
    with pytest.raises(CommandError, match=reason):
        export(tmp_path / "none.zip", *options)

    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_stays(stored: SealedTrail, tmp_path: Path) -> None:
    path = tmp_path / "there.zip"
    path.write_text("mine")

    with pytest.raises(CommandError, match="is there already"):
        export(path)
    with pytest.raises(CommandError, match="cannot be written"):
        export(tmp_path / "no" / "directory.zip")

    assert path.read_text() == "mine"


def test_a_file_that_comes_meanwhile_stays_too(
    stored: SealedTrail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "there.zip"
    monkeypatch.setattr("audit.bundle.os.fsync", lambda handle: path.write_text("mine"))

    with (
        one_entry(action="audit.exported", outcome="refused"),
        pytest.raises(CommandError, match="is there already"),
    ):
        export(path)

    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_without_its_entry_there_is_no_bundle(
    stored: SealedTrail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no space")

    monkeypatch.setattr(trail, "record", refuse)

    with pytest.raises(RuntimeError):
        export(tmp_path / "unrecorded.zip")

    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_its_leaf_is_no_evidence(stored: SealedTrail, tmp_path: Path) -> None:
    entry = AuditEntry.objects.order_by("id")[5]
    tamper("UPDATE audit_auditentry SET action = 'forged' WHERE id = %s", entry.pk)

    with pytest.raises(CommandError, match=rf"Entry {entry.pk} \(seal 2, position 1\) is not what"):
        export(tmp_path / "forged.zip")

    assert not list(tmp_path.iterdir())


def test_long_and_odd_entries_survive_the_journey(
    stored: SealedTrail, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    values = {"actor_label": "e\u0301\u2028\x00"[:3], "details": '"' * 1_000_000}
    entry = AuditEntry(at=OLD, actor_kind="user", action="a\nb", outcome="failed", **values)
    entry.duration_ms, entry.n_items = -0.0, 2**63 - 1
    entry.insert()
    stored.seal()

    export(tmp_path / "odd.zip", "--entry", str(entry.pk))

    assert verified(tmp_path / "odd.zip", stored, capsys)[0] == CLEAN


# Who vouches for it.


def test_without_trusted_keys_or_anchors_it_is_not_confirmed(
    stored: SealedTrail, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    keys, anchors = str(stored.files.public_keys), str(stored.files.anchors)
    early = tmp_path / "early.log"
    early.write_text("".join(Path(anchors).read_text().splitlines(keepends=True)[:-1]))
    (tmp_path / "empty").touch()

    assert verified(whole, stored, capsys, "--public-keys", keys)[0] == NOT_CONFIRMED
    assert verified(whole, stored, capsys, "--anchor", anchors)[0] == NOT_CONFIRMED
    code, said = verified(whole, stored, capsys, "--public-keys", keys, "--anchor", str(early))
    assert code == NOT_CONFIRMED and "No anchor confirms the seals after 4" in said
    late = tmp_path / "late.log"
    late.write_text(Path(anchors).read_text() + str(Anchor(0, timezone.now(), 9, "ab" * 32)) + "\n")
    code, said = verified(whole, stored, capsys, "--public-keys", keys, "--anchor", str(late))
    assert code == CLEAN and "later seals, up to 9" in said
    for unusable in ("empty", "missing"):
        for option in ("--public-keys", "--anchor"):
            path = str(tmp_path / unusable)
            assert verified(whole, stored, capsys, option, path)[0] == UNUSABLE
    os.mkfifo(tmp_path / "pipe")
    assert verified(whole, stored, capsys, "--anchor", str(tmp_path / "pipe"))[0] == UNUSABLE


def test_seals_of_another_key_are_found_when_the_trusted_ones_are_named(
    stored: SealedTrail, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    keys = tmp_path / "others.pem"
    keys.write_bytes(public_pem(Ed25519PrivateKey.generate().public_key()))

    code, said = verified(whole, stored, capsys, "--public-keys", str(keys))

    assert code == BROKEN and "seal 1: no trusted key signed it" in said


def test_another_chain_does_not_fit_the_anchors(
    stored: SealedTrail, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    anchors = tmp_path / "anchors.log"
    lines = stored.files.anchors.read_text().splitlines()
    lines[-1] = lines[-1][:-1] + ("1" if lines[-1].endswith("0") else "0")
    anchors.write_text("\n".join(["torn li", *lines, ""]))

    code, said = verified(whole, stored, capsys, "--anchor", str(anchors))

    assert (
        code == BROKEN and f"seal 5 is not the one in line {len(lines) + 1} of the anchors" in said
    )


# Tampering: each is named with its place.


def rewritten(path: Path, members: Members, *, fits: bool = True) -> Path:
    """A bundle of these members, whose manifest was made to fit unless told otherwise."""
    if fits:
        manifest = json.loads(members[MANIFEST])
        manifest["files"] = {
            name: sha256(content).hexdigest()
            for name, content in members.items()
            if name != MANIFEST
        }
        manifest["n_entries"] = len(members[ENTRIES].splitlines())
        manifest["n_seals"] = len(members[SEALS].splitlines())
        members = {**members, MANIFEST: json.dumps(manifest).encode()}
    forged = path.with_name("forged.zip")
    with zipfile.ZipFile(forged, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return forged


def changed(name: str, place: int, **values: Any) -> Callable[[Members], Members]:
    """With other values in one line."""

    def change(members: Members) -> Members:
        lines = [json.loads(line) for line in members[name].splitlines()]
        lines[place] |= values
        return {**members, name: b"".join(json.dumps(line).encode() + b"\n" for line in lines)}

    return change


def without(name: str, place: int) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        lines = members[name].splitlines(keepends=True)
        del lines[place]
        return {**members, name: b"".join(lines)}

    return change


ENTRY_6 = r"entry \d+ \(seal 2, position 1\): it is not what was sealed"
FORGERIES = {
    "a value": (changed(ENTRIES, 5, action="forged"), ENTRY_6),
    "a type": (changed(ENTRIES, 5, status_code=""), ENTRY_6),
    "a float for an int": (changed(ENTRIES, 5, n_items=0.0), ENTRY_6),
    "a moment": (changed(ENTRIES, 5, at="2026-01-01T00:00:09.000000+00:00"), ENTRY_6),
    "an id": (changed(ENTRIES, 5, id=99), r"entry 99 \(seal 2, position 1\): it is not what"),
    "a leaf": (changed(ENTRIES, 5, leaf="0" * 64), ENTRY_6),
    "an entry gone": (without(ENTRIES, 5), "seal 2: no entry at position 1"),
    "the last entry gone": (without(ENTRIES, 13), "seal 4: no entry at position 3"),
    "a place beyond": (changed(ENTRIES, 9, position=7), "seal 3: no entry at position 1"),
    "a path for a leaf": (changed(ENTRIES, 5, path=[]), r"position 1\): the proof is too short"),
    "an unknown seal": (changed(ENTRIES, 14, seal=8), "the bundle does not hold its seal"),
    "a signature": (changed(SEALS, 1, signature="0" * 128), "seal 2: its signature does not fit"),
    "no signature": (changed(SEALS, 1, signature=""), "seal 2: its signature does not fit"),
    "a key id": (changed(SEALS, 1, key_id="0" * 16), "seal 2: no trusted key signed it"),
    "a root": (changed(SEALS, 1, root="0" * 64), "seal 2: its signature does not fit"),
    "a count": (changed(SEALS, 1, n_entries=5), "seal 2: no entry at position 4"),
    "a time": (changed(SEALS, 1, sealed_at="2020-01-01T00:00:00+00:00"), "seal 2: its signature"),
    "a kind": (changed(SEALS, 1, kind="pruned"), "its seal has no entries"),
    "a seal gone": (without(SEALS, 1), "seal 3 comes after seal 1: seals are missing"),
    "the head gone": (without(SEALS, 4), "the head of the manifest is not that of the bundle"),
    "a link": (changed(SEALS, 1, previous="0" * 64), "seal 2 does not follow on seal 1"),
}


@pytest.mark.parametrize(("forge", "finding"), FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_is_named(
    stored: SealedTrail,
    whole: Path,
    capsys: pytest.CaptureFixture,
    forge: Callable[[Members], Members],
    finding: str,
) -> None:
    code, said = verified(rewritten(whole, forge(members_of(whole))), stored, capsys)

    assert code == BROKEN
    assert re.search(finding, said), said


def test_an_entry_of_one_seal_does_not_pass_at_another_place(
    stored: SealedTrail, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    ids = list(AuditEntry.objects.order_by("id").values_list("id", flat=True))
    export(tmp_path / "one.zip", "--entry", str(ids[5]))
    members = members_of(tmp_path / "one.zip")

    for values in ({"position": 2}, {"seal": 3}):
        forged = rewritten(tmp_path / "one.zip", changed(ENTRIES, 0, **values)(members))
        code, said = verified(forged, stored, capsys)
        assert code == BROKEN
        assert "does not lead to the root" in said or "the proof is too long" in said


def test_a_file_that_was_changed_on_the_way_is_named(
    stored: SealedTrail, whole: Path, capsys: pytest.CaptureFixture
) -> None:
    members = members_of(whole)
    members["audit/verify_bundle.py"] += b"\n"

    code, said = verified(rewritten(whole, members, fits=False), stored, capsys)

    assert code == BROKEN and "audit/verify_bundle.py is not the file" in said


def with_raw_line(name: str, line: bytes) -> Callable[[Members], Members]:
    return lambda members: {**members, name: line + b"\n" + members[name]}


def twice(name: str, place: int) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        lines = members[name].splitlines(keepends=True)
        return {**members, name: b"".join([*lines[: place + 1], *lines[place:]])}

    return change


def with_member(name: str) -> Callable[[Members], Members]:
    return lambda members: {**members, name: b""}


def lacking(name: str) -> Callable[[Members], Members]:
    return lambda members: {key: value for key, value in members.items() if key != name}


REFUSALS = {
    "no JSON": (with_raw_line(ENTRIES, b"{"), "line 1 of entries.ndjson is no JSON"),
    "deep JSON": (with_raw_line(ENTRIES, b"[" * 100_000), "is no JSON"),
    "no UTF-8": (with_raw_line(ENTRIES, b'"\xff"'), "is no JSON"),
    "a huge number": (with_raw_line(ENTRIES, b"1" * 10_000), "is no JSON"),
    "no object": (with_raw_line(SEALS, b"[]"), "line 1 of seals.ndjson is no object"),
    "a name twice": (with_raw_line(ENTRIES, b'{"id":1,"id":2}'), "a name is given twice"),
    "an empty line": (with_raw_line(ENTRIES, b""), "is no JSON"),
    "another name": (changed(ENTRIES, 0, verdict="good"), "has 'verdict'"),
    "a long line": (with_raw_line(ENTRIES, b" " * (16 * 1024**2)), "is too long"),
    "a list for a value": (changed(ENTRIES, 5, action=[1]), "which no trail does"),
    "a boolean": (changed(ENTRIES, 5, n_items=True), "which no trail does"),
    "a text for an id": (changed(ENTRIES, 5, id="1"), "in place of a whole number"),
    "a huge id": (changed(ENTRIES, 5, id=2**63), "in place of a whole number"),
    "no moment": (changed(ENTRIES, 5, at=None), "in place of a moment"),
    "no zone": (changed(ENTRIES, 5, at="2026-01-01T00:00:00"), "without a zone"),
    "a short leaf": (changed(ENTRIES, 5, leaf="00"), "in place of a hash"),
    "no path": (changed(ENTRIES, 5, path="00"), "in place of a path"),
    "a text for a number": (changed(SEALS, 1, no="2"), "in place of a whole number"),
    "a number for a text": (changed(SEALS, 1, root=2), "has a root that is no text"),
    "endless leaves": (changed(SEALS, 1, n_entries=10**12), "more than 1,000,000 entries"),
    "an entry twice": (twice(ENTRIES, 5), "line 7 of entries.ndjson is not in its place"),
    "a seal twice": (twice(SEALS, 1), "line 3 of seals.ndjson is not in its place"),
    "a path out": (with_member("../evil"), "which is no part of a bundle"),
    "an unknown file": (with_member("verify.py"), "which is no part of a bundle"),
    "no entries": (lacking(ENTRIES), "entries.ndjson is missing"),
    "no keys": (lacking("public_keys.pem"), "public_keys.pem is missing"),
}


@pytest.mark.parametrize(("forge", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_no_bundle_is_refused_in_a_sentence(
    stored: SealedTrail,
    whole: Path,
    capsys: pytest.CaptureFixture,
    forge: Callable[[Members], Members],
    reason: str,
) -> None:
    forged = rewritten(whole, forge(members_of(whole)), fits=False)

    code, said = verified(forged, stored, capsys)

    assert code == BROKEN
    assert "is refused" in said and reason in said
    assert len(said) < 500


MANIFESTS = {
    "another format": ({"format": "audit bundle 9"}, "its format is 'audit bundle 9'"),
    "other files": ({"files": {"x": "y"}}, "its manifest names other files"),
    "no files": ({"files": 1}, "its manifest names other files"),
}


@pytest.mark.parametrize(("values", "reason"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_of_something_else_is_refused(
    stored: SealedTrail,
    whole: Path,
    capsys: pytest.CaptureFixture,
    values: dict[str, Any],
    reason: str,
) -> None:
    members = members_of(whole)
    members[MANIFEST] = json.dumps(json.loads(members[MANIFEST]) | values).encode()

    code, said = verified(rewritten(whole, members, fits=False), stored, capsys)

    assert code == BROKEN and reason in said


def test_a_member_that_is_in_twice_is_refused(
    stored: SealedTrail, whole: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(whole, "a") as archive:
        archive.writestr(ENTRIES, b"")

    code, said = verified(whole, stored, capsys)

    assert code == BROKEN and "it holds entries.ndjson twice" in said


@pytest.mark.parametrize("damage", ["cut", "bytes", "empty", "text"])
def test_a_damaged_archive_is_refused(
    stored: SealedTrail, whole: Path, capsys: pytest.CaptureFixture, damage: str
) -> None:
    content = bytearray(whole.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "bytes":
        at = content.index(b"entries.ndjson") + 40
        content[at : at + 60] = bytes(60)
    else:
        content = bytearray(b"" if damage == "empty" else b"no zip")
    whole.write_bytes(content)

    code, said = verified(whole, stored, capsys)

    assert code == BROKEN and "is refused" in said


def test_bombs_end_early(
    stored: SealedTrail, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A line, a small file and a table of contents without end are not held in memory."""
    members = members_of(whole)
    endless = bytes(40 * 1024**2)
    for name, reason in ((ENTRIES, "is too long"), ("README.txt", "README.txt is too long")):
        forged = rewritten(whole, {**members, name: endless}, fits=False)
        assert reason in verified(forged, stored, capsys)[1]
    crowded = tmp_path / "crowded.zip"
    with zipfile.ZipFile(crowded, "w") as archive:
        for number in range(15_000):
            archive.writestr(f"{number:060}", b"")

    assert "its table of contents is too large" in verified(crowded, stored, capsys)[1]


# The verifier by itself.


def test_the_bundled_verifier_runs_where_there_is_no_product(
    stored: SealedTrail, whole: Path, tmp_path: Path
) -> None:
    """From the bundle's own copy, in a process that finds nothing but `cryptography`."""
    alone, libraries = tmp_path / "alone", tmp_path / "libraries"
    libraries.mkdir()
    with zipfile.ZipFile(whole) as archive:
        archive.extractall(alone)
    import cryptography

    packages = Path(cryptography.__file__).parents[1]
    for name in ("cryptography", "cffi", "_cffi_backend*", "pycparser"):
        for found in packages.glob(name):
            (libraries / found.name).symlink_to(found)
    program = (
        f"import sys; sys.path[:0] = [{str(alone)!r}, {str(libraries)!r}]\n"
        "import runpy\n"
        "try: runpy.run_module('audit.verify_bundle', run_name='__main__', alter_sys=True)\n"
        "finally: print(sorted(m for m in sys.modules if m.split('.')[0] in ('django', 'audit')))\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", program, *arguments],
            capture_output=True, text=True, cwd=tmp_path, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip

    files = ("--public-keys", str(stored.files.public_keys), "--anchor", str(stored.files.anchors))
    clean = run(str(whole), *files)
    assert clean.returncode == CLEAN, clean
    assert "CLEAN." in clean.stdout and "django" not in clean.stdout
    assert "'audit.leaf'" in clean.stdout
    forged = rewritten(whole, changed(ENTRIES, 5, action="forged")(members_of(whole)))
    broken = run(str(forged), *files)
    assert broken.returncode == BROKEN
    assert "(seal 2, position 1): it is not what was sealed" in broken.stdout
    assert not broken.stderr
