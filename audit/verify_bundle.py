"""Verify a bundle of `manage.py export_audit` without the server and its database.

    python -m audit.verify_bundle BUNDLE.zip --public-keys KEYS.pem --anchor ANCHORS.log

Needs Python 3.11, `cryptography`, and in the same package the other modules of `VERIFIER`. Nothing
of a bundle is unpacked, and nothing of it is run.

Exit codes: 0 when all of it fits, the signatures are those of the keys in the file named, and an
anchor confirms them; 1 when something does not fit; 3 when all of it fits, but only the bundle
vouches for its keys, or no anchor for its seals; 4 when a file named cannot be used.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from audit import merkle
from audit.anchors import UnreadableAnchor, anchor_of
from audit.anchors import opened as opened_file
from audit.leaf import FIELDS, Unreadable, leaf_hash
from audit.seal_format import NO_SEAL, SEAL_FIELDS, Seal, key_id_of

FORMAT = "audit bundle 1"
MANIFEST, KEYS, SEALS, ENTRIES = (
    "manifest.json",
    "public_keys.pem",
    "seals.ndjson",
    "entries.ndjson",
)
README = "README.txt"
VERIFIER = tuple(
    f"audit/{name}.py"
    for name in ("__init__", "anchors", "leaf", "merkle", "seal_format", "verify_bundle")
)
MEMBERS = {MANIFEST, KEYS, SEALS, ENTRIES, README, *VERIFIER}

MIB = 1024**2
MAX_LINE = 16 * MIB
"""Bytes of one line of a bundle."""
MAX_SMALL_FILE = MIB
"""Bytes of all other files of a bundle, and of its table of contents."""
MAX_ANCHOR = 1_000
"""Bytes of a line of anchors."""
MAX_LEAVES = 1_000_000
"""Of one seal; their hashes are held in memory."""
SHOWN = 100
"""Problems that are named; the others are counted."""

CLEAN, BROKEN, NOT_CONFIRMED, UNUSABLE = 0, 1, 3, 4
KEY_BLOCK = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class Refused(Exception):
    """The bundle has not the form of one."""


class Unusable(Exception):
    """A file named on the command line cannot be used."""


@dataclass(frozen=True, slots=True)
class BundledEntry:
    """A line of the entries; `path` is None where the seal is in the bundle as a whole."""

    line: int
    values: list[Any]
    seal: int
    position: int
    leaf: bytes
    path: list[bytes] | None

    @property
    def name(self) -> str:
        return f"entry {self.values[0]} (seal {self.seal}, position {self.position})"


@dataclass(slots=True)
class Verdict:
    """What was read, and what of it does not fit.

    `n_sealed` counts the entries that the seals in the bundle hold, in it or not; `confirmed_to` is
    the last seal anchored, `anchored_to` the last of which an anchor tells.
    """

    problems: list[str] = field(default_factory=list)
    n_problems: int = 0
    n_entries: int = 0
    n_seals: int = 0
    n_whole_seals: int = 0
    n_sealed: int = 0
    last_with_entries: int = 0
    head: tuple[int, str] = (0, NO_SEAL)
    confirmed_to: int = 0
    anchored_to: int = 0

    def add(self, problem: str) -> None:
        self.n_problems += 1
        if len(self.problems) < SHOWN:
            self.problems.append(problem)


Anchors = Mapping[int, Mapping[str, int]]
"""By number of a seal, each digest that it is said to have, and the line that says so."""
Keys = Mapping[str, Ed25519PublicKey]


# Reading a bundle that anybody may have made.


class _BoundedFile(io.FileIO):
    """`zipfile` reads a table of contents at once, however large the archive says it is."""

    def read(self, size: int | None = -1, /) -> Any:
        if size is not None and size > MAX_SMALL_FILE:
            raise Refused("its table of contents is too large")
        return super().read(-1 if size is None else size)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A bundle with the members that it should have. Raises `Refused`, and `OSError`."""
    with _BoundedFile(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                _check_members(archive.infolist())
                yield archive
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise Refused(f"it is no whole zip file: {shown(error)}") from error


def _check_members(members: Sequence[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    for name in names:
        if name not in MEMBERS:
            raise Refused(f"it holds {shown(name)}, which is no part of a bundle")
        if names.count(name) > 1:
            raise Refused(f"it holds {name} twice")
    for name in (MANIFEST, KEYS, SEALS, ENTRIES):
        if name not in names:
            raise Refused(f"{name} is missing")
    for member in members:
        if member.flag_bits & 1:
            raise Refused(f"{member.filename} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refused(f"{member.filename} is compressed in an unknown way")


def small_file(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        content = file.read(MAX_SMALL_FILE + 1)
    if len(content) > MAX_SMALL_FILE:
        raise Refused(f"{name} is too long")
    return content


class Lines:
    """The JSON objects of a file, one a line, and the digest of what was read."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self.name = name
        self.digest = sha256()
        self._file = io.BufferedReader(archive.open(name), 2**16)  # type: ignore[type-var]

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        while line := self._file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise Refused(f"line {number} of {self.name} is too long")
            self.digest.update(line)
            yield number, parsed(line, f"line {number} of {self.name}")


def parsed(content: bytes, where: str) -> dict[str, Any]:
    """Raises `Refused` for what is no JSON object, and for a name that it has twice."""
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{where} is no JSON: {shown(error)}") from error
    if type(found) is not dict:
        raise Refused(f"{where} is no object")
    return found


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def bundled_entries(lines: Lines) -> Iterator[BundledEntry]:
    """In the order of seals and positions, none twice; raises `Refused`."""
    place = (0, -1)
    names = {*FIELDS, "seal", "position", "leaf", "path"}
    for number, content in lines:
        where = f"line {number} of {lines.name}"
        _check_names(content, names, where)
        entry = BundledEntry(
            line=number,
            values=[content[name] for name in FIELDS],
            seal=_whole_number(content["seal"], where),
            position=_whole_number(content["position"], where),
            leaf=_hash(content["leaf"], where),
            path=None if content["path"] is None else _path(content["path"], where),
        )
        _whole_number(entry.values[0], where)
        entry.values[1] = _moment(entry.values[1], where)
        if (entry.seal, entry.position) <= place:
            raise Refused(f"{where} is not in its place: an entry is in twice, or the order wrong")
        place = (entry.seal, entry.position)
        yield entry


def bundled_seals(lines: Lines) -> Iterator[tuple[Seal, str]]:
    """With their signatures, by number, none twice; raises `Refused`."""
    last = 0
    for number, content in lines:
        where = f"line {number} of {lines.name}"
        _check_names(content, {*SEAL_FIELDS, "signature"}, where)
        for name, value in content.items():
            if name in ("no", "n_entries"):
                _whole_number(value, where)
            elif name in ("first_id", "last_id", "pruned_from", "pruned_to"):
                if value is not None:
                    _whole_number(value, where)
            elif type(value) is not str:
                raise Refused(f"{where} has a {name} that is no text")
        signature = content.pop("signature")
        seal = Seal(**{**content, "sealed_at": _moment(content["sealed_at"], where)})
        if seal.no <= last:
            raise Refused(f"{where} is not in its place: a seal is in twice, or the order wrong")
        if seal.n_entries > MAX_LEAVES:
            raise Refused(f"{where} says that the seal has more than {MAX_LEAVES:,} entries")
        last = seal.no
        yield seal, signature


def _check_names(content: Mapping[str, Any], names: set[str], where: str) -> None:
    if content.keys() != names:
        odd = min(content.keys() ^ names)
        raise Refused(f"{where} lacks {odd}" if odd in names else f"{where} has {shown(odd)}")


def _whole_number(value: object, where: str) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise Refused(f"{where} has {shown(value)} in place of a whole number")
    return value


def _hash(value: object, where: str) -> bytes:
    if type(value) is str and len(value) == 64:
        try:
            return bytes.fromhex(value)
        except ValueError:
            pass
    raise Refused(f"{where} has {shown(value)} in place of a hash")


def _path(value: object, where: str) -> list[bytes]:
    if type(value) is not list:
        raise Refused(f"{where} has {shown(value)} in place of a path")
    return [_hash(each, where) for each in value]


def _moment(value: object, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise Refused(f"{where} has {shown(value)} in place of a moment") from error
    if moment.tzinfo is None:
        raise Refused(f"{where} has a moment without a zone")
    return moment


def shown(value: object) -> str:
    """What somebody else wrote, fit for a terminal."""
    text = ascii(value) if type(value) is str else ascii(str(value))[1:-1]
    return text if len(text) <= 80 else f"{text[:80]}..."


# What the one who verifies trusts.


def keys_of(text: str) -> dict[str, Ed25519PublicKey]:
    """Ed25519 keys by their id, from PEM blocks. Raises `ValueError` when there are none."""
    found = {}
    for block in KEY_BLOCK.findall(text):
        try:
            key = load_pem_public_key(block.encode())
        except UnsupportedAlgorithm as error:
            raise ValueError("a key of an unknown kind") from error
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("a key that is not for Ed25519")
        found[key_id_of(key)] = key
    if not found:
        raise ValueError("no public key")
    return found


def anchors_of(path: Path) -> Anchors:
    """Raises `OSError`, and `Unusable` for a file without any; says which lines are none."""
    anchors: dict[int, dict[str, int]] = {}
    with open(opened_file(path), "rb") as file:
        number = 0
        while line := file.readline(MAX_ANCHOR):
            number += 1
            try:
                anchor = anchor_of(number, line.decode("ascii", "replace").rstrip("\r\n"))
            except UnreadableAnchor as error:  # torn by a power cut, say
                if line.strip():
                    print(f"{shown(str(path))}: {error}", file=sys.stderr)
                continue
            anchors.setdefault(anchor.no, {}).setdefault(anchor.digest, number)
    if not anchors:
        raise Unusable(f"{path} holds no anchor")
    return anchors


# Verifying.


def verify(
    archive: zipfile.ZipFile,
    *,
    keys: Keys,
    anchors: Anchors,
    on_progress: Callable[[int], None] = lambda n_entries: None,
) -> Verdict:
    """Check all that a bundle holds. Raises `Refused` when it has not the form of one."""
    verdict = Verdict(anchored_to=max(anchors, default=0))
    manifest = parsed(small_file(archive, MANIFEST), MANIFEST)
    if manifest.get("format") != FORMAT:
        raise Refused(f"its format is {shown(manifest.get('format'))}, and not {FORMAT!r}")
    files = {SEALS: Lines(archive, SEALS), ENTRIES: Lines(archive, ENTRIES)}
    try:
        _walk(files[SEALS], files[ENTRIES], keys, anchors, verdict, on_progress)
    except Unreadable as error:
        raise Refused(f"it holds {shown(error)}, which no trail does") from error
    _check_manifest(archive, manifest, files, verdict)
    return verdict


def _walk(
    seals: Lines,
    entries: Lines,
    keys: Keys,
    anchors: Anchors,
    verdict: Verdict,
    on_progress: Callable[[int], None],
) -> None:
    """Both files side by side, so that neither need be held."""
    rest = bundled_entries(entries)
    entry = next(rest, None)
    for seal, signature in bundled_seals(seals):
        _check_link(seal, signature, keys, anchors, verdict)
        while entry is not None and entry.seal < seal.no:
            verdict.add(f"{entry.name}: the bundle does not hold its seal")
            verdict.n_entries += 1
            entry = next(rest, None)
        unproved: dict[int, bytes] = {}
        n_before = verdict.n_entries
        while entry is not None and entry.seal == seal.no:
            _check_entry(entry, seal, unproved, verdict)
            verdict.n_entries += 1
            entry = next(rest, None)
        if unproved:
            _check_whole(seal, unproved, verdict)
        if verdict.n_entries > n_before:
            verdict.last_with_entries = seal.no
            on_progress(verdict.n_entries)
    if not verdict.n_seals:
        raise Refused("it holds no seal")
    while entry is not None:
        verdict.add(f"{entry.name}: the bundle does not hold its seal")
        verdict.n_entries += 1
        entry = next(rest, None)


def _check_link(seal: Seal, signature: str, keys: Keys, anchors: Anchors, verdict: Verdict) -> None:
    """That it follows the one before, is signed, and is what the anchors say."""
    no_before, digest_before = verdict.head
    if verdict.n_seals:
        if seal.no != no_before + 1:
            verdict.add(f"seal {seal.no} comes after seal {no_before}: seals are missing")
        elif seal.previous != digest_before:
            verdict.add(f"seal {seal.no} does not follow on seal {no_before} as it is here")
    elif seal.no == 1 and seal.previous != NO_SEAL:
        verdict.add("seal 1 says that a seal came before it")
    if not seal.is_signed(signature, keys):
        reason = "its signature does not fit" if seal.key_id in keys else "no trusted key signed it"
        verdict.add(f"seal {seal.no}: {reason} (key {shown(seal.key_id)})")
    try:
        digest = seal.digest(signature)
    except ValueError:
        digest = ""  # which no seal has: the next one does not follow on it
    if not verdict.n_seals:
        _compare(seal.no - 1, seal.previous, anchors, verdict)
    if _compare(seal.no, digest, anchors, verdict):
        verdict.confirmed_to = seal.no
    verdict.head = (seal.no, digest)
    verdict.n_seals += 1
    if seal.kind == "entries":
        verdict.n_sealed += seal.n_entries


def _compare(no: int, digest: str, anchors: Anchors, verdict: Verdict) -> bool:
    """Whether an anchor confirms a seal and none says otherwise."""
    said = anchors.get(no, {})
    for other, line in said.items():
        if other != digest:
            verdict.add(f"seal {no} is not the one in line {line} of the anchors")
    return list(said) == [digest]


def _check_entry(
    entry: BundledEntry, seal: Seal, unproved: dict[int, bytes], verdict: Verdict
) -> None:
    if leaf_hash(entry.values) != entry.leaf:
        verdict.add(f"{entry.name}: it is not what was sealed")
    if seal.kind != "entries":
        verdict.add(f"{entry.name}: its seal has no entries")
    elif entry.path is None:
        unproved[entry.position] = entry.leaf
    else:
        try:
            root = merkle.root_from_path(entry.leaf, entry.position, seal.n_entries, entry.path)
        except ValueError as error:
            verdict.add(f"{entry.name}: {error}")
            return
        if root.hex() != seal.root:
            verdict.add(f"{entry.name}: its path does not lead to the root of the seal")


def _check_whole(seal: Seal, leaves: Mapping[int, bytes], verdict: Verdict) -> None:
    """That entries without a path are all those of their seal."""
    missing = [str(place) for place in range(seal.n_entries) if place not in leaves]
    beyond = [str(place) for place in leaves if place >= seal.n_entries]
    if missing:
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
        verdict.add(f"seal {seal.no}: no entry at position {', '.join(missing[:5])}{more}")
    elif beyond:
        verdict.add(f"seal {seal.no}: it has no position {', '.join(beyond[:5])}")
    elif merkle.root([leaves[place] for place in range(seal.n_entries)]).hex() != seal.root:
        verdict.add(f"seal {seal.no}: its entries do not lead to its root")
    else:
        verdict.n_whole_seals += 1


def _check_manifest(
    archive: zipfile.ZipFile,
    manifest: Mapping[str, Any],
    files: Mapping[str, Lines],
    verdict: Verdict,
) -> None:
    """That the bundle came as it was made; nothing is proved by it."""
    names = set(archive.namelist()) - {MANIFEST}
    found = {
        name: files[name].digest if name in files else sha256(small_file(archive, name))
        for name in names
    }
    stated = manifest.get("files")
    if type(stated) is not dict or stated.keys() != names:
        raise Refused("its manifest names other files")
    for name in sorted(names):
        if stated[name] != found[name].hexdigest():
            verdict.add(f"{name} is not the file that the manifest names")
    no, digest = verdict.head
    for name, value in (
        ("head", {"no": no, "digest": digest}),
        ("n_entries", verdict.n_entries),
        ("n_seals", verdict.n_seals),
    ):
        if manifest.get(name) != value:
            verdict.add(f"the {name} of the manifest is not that of the bundle")


# The command line.


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m audit.verify_bundle", description="Verify a bundle of the audit trail."
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE.zip")
    parser.add_argument(
        "--public-keys", type=Path, metavar="FILE", help="the keys you trust, from their owner"
    )
    parser.add_argument(
        "--anchor", type=Path, metavar="FILE", help="heads that were kept outside the server"
    )
    options = parser.parse_args(arguments)
    try:
        return _run(options.bundle, options.public_keys, options.anchor)
    except Refused as refused:
        print(f"BROKEN: {shown(str(options.bundle))} is refused: {refused}.")
        return BROKEN
    except (Unusable, OSError) as error:
        print(f"Nothing was verified: {error}", file=sys.stderr)
        return UNUSABLE


def _run(bundle: Path, public_keys: Path | None, anchor: Path | None) -> int:
    anchors = {} if anchor is None else anchors_of(anchor)
    with opened(bundle) as archive:
        keys = _bundled_keys(archive) if public_keys is None else _trusted_keys(public_keys)
        verdict = verify(archive, keys=keys, anchors=anchors, on_progress=_show_progress)
    return report(verdict, keys=keys, public_keys=public_keys)


def _trusted_keys(path: Path) -> Keys:
    try:
        return keys_of(path.read_text("utf-8"))
    except ValueError as error:
        raise Unusable(f"{path} holds {error}") from error


def _bundled_keys(archive: zipfile.ZipFile) -> Keys:
    try:
        return keys_of(small_file(archive, KEYS).decode("utf-8"))
    except ValueError as error:
        raise Refused(f"{KEYS} holds {shown(error)}") from error


def _show_progress(n_entries: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{n_entries:,} entries", end="\r", file=sys.stderr)


def report(verdict: Verdict, *, keys: Keys, public_keys: Path | None) -> int:
    """Print what was found; returns the exit code."""
    no, digest = verdict.head
    print(f"{verdict.n_entries:,} entries, {verdict.n_seals:,} seals up to {no} ({digest}).")
    print(
        f"These seals hold {verdict.n_sealed:,} entries; {verdict.n_whole_seals:,} of them are "
        "here with all of theirs."
    )
    if verdict.anchored_to > no:
        print(f"The anchors tell of later seals, up to {verdict.anchored_to}.")
    for problem in verdict.problems:
        print(f"  {problem}")
    if verdict.n_problems > len(verdict.problems):
        print(f"  and {verdict.n_problems - len(verdict.problems):,} more")
    if verdict.n_problems:
        print(f"BROKEN: {verdict.n_problems:,} problems.")
        return BROKEN
    names = ", ".join(sorted(keys))
    if public_keys is None:
        print(f"Signed by {names}: keys that only the bundle vouches for. Give --public-keys.")
    else:
        print(f"Signed by keys of {shown(str(public_keys))} ({names}).")
    is_confirmed = verdict.confirmed_to >= max(verdict.last_with_entries, 1)
    if is_confirmed:
        print(f"An anchor confirms the seals up to {verdict.confirmed_to}.")
    else:
        print(
            f"No anchor confirms the seals after {verdict.confirmed_to}: who has the key could "
            "have written them anew. Give --anchor."
        )
    is_proved = is_confirmed and public_keys is not None
    print("CLEAN." if is_proved else "CLEAN, but not confirmed by anything outside the bundle.")
    return CLEAN if is_proved else NOT_CONFIRMED


if __name__ == "__main__":
    sys.exit(main())
