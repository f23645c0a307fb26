"""Bundles: entries of the trail as a file that proves itself, with what verifies it.

A bundle is a zip archive: the entries with their leaves, the seals from the first that holds one
of them to the head, the public keys, and the verifier. An entry of a seal that is not in the
bundle as a whole has its Merkle path. `audit.verify_bundle` says what is checked, and reads the
format that is written here.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, TypeAlias

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from audit import merkle, trail, verify_bundle
from audit.leaf import FIELDS
from audit.models import AuditEntry, AuditLeaf, AuditSeal
from audit.seal_format import SEAL_FIELDS
from audit.sealing_key import public_pem
from audit.stored_chain import stored_seals
from audit.stored_seals import digest_of
from audit.whole_seals import Keys, NotWhole, WholeSeal, last_pruned, whole_seals

EXPORTED = "audit.exported"
COMPRESSION = 4
"""Of deflate: a fifth of the time of 9, and a file a tenth larger."""
MAX_NAMED = 10
"""Ids in one refusal."""
README = """\
A bundle of the audit trail of the Customer Segmentation API, made at {made_at}.

entries.ndjson   {n_entries:,} entries, each with its leaf, its place in its seal, and a Merkle path
                 unless all entries of that seal are here
seals.ndjson     {n_seals:,} signed seals, from the first that holds one of them to {head[no]}, the
                 head
public_keys.pem  the keys that the server trusts
manifest.json    the filters, the head, and the SHA-256 of each file
audit/           the verifier: Python 3.11 or newer with the package `cryptography`, nothing else

    python -m audit.verify_bundle BUNDLE.zip --public-keys KEYS.pem --anchor ANCHORS.log

Whoever could forge the entries could put another verifier and other keys in here too. Take both
from a source you trust: the verifier from the product's own release, the public keys and the
anchors from whoever keeps them apart from the server. Without them the verifier says what it found,
and that only the bundle vouches for it.

A bundle proves that its entries were sealed as they are here, and by whose key. It says nothing of
entries that it leaves out, save in a seal that is here as a whole. {n_unsealed:,} entries that
were not sealed yet are left out.
"""


Report: TypeAlias = Callable[[float, str], None]


class ExportRefused(Exception):
    """There is nothing to export, or no place for it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries: those that all of the given terms fit. `until` is exclusive."""

    since: datetime | None = None
    until: datetime | None = None
    request_id: str = ""
    ids: frozenset[int] = frozenset()
    target: tuple[str, str] | None = None

    def entries(self) -> QuerySet[AuditEntry]:
        terms: dict[str, Any] = {
            "at__gte": self.since,
            "at__lt": self.until,
            "request_id": self.request_id or None,
            "id__in": self.ids or None,
        }
        if self.target is not None:
            terms["target_type"], terms["target_id"] = self.target
        return AuditEntry.objects.filter(
            **{name: value for name, value in terms.items() if value is not None}
        )

    def holds(self, values: Mapping[str, Any]) -> bool:
        """The same of an entry's stored values."""
        return (
            (self.since is None or values["at"] >= self.since)
            and (self.until is None or values["at"] < self.until)
            and (not self.request_id or values["request_id"] == self.request_id)
            and (not self.ids or values["id"] in self.ids)
            and (self.target is None or (values["target_type"], values["target_id"]) == self.target)
        )

    def described(self) -> dict[str, Any]:
        terms: dict[str, Any] = {
            "since": self.since and _text(self.since),
            "until": self.until and _text(self.until),
            "request_id": self.request_id,
            "entries": sorted(self.ids),
            "target": self.target and list(self.target),
        }
        return {name: value for name, value in terms.items() if value}


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was written."""

    path: Path
    n_entries: int
    n_seals: int
    n_unsealed: int
    sha256: str


def export(
    path: Path,
    selection: Selection,
    *,
    keys: Keys,
    by: trail.Actor,
    at: datetime,
    on_progress: Report,
) -> Bundle:
    """Write the sealed entries of a selection to a new file, whole or not at all, and record it.

    Memory is that of the entries of one seal. Raises `ExportRefused`, `OSError`, and
    `audit.whole_seals.NotWhole` when what it would offer as evidence is none.
    """
    if path.exists():
        raise ExportRefused(f"{path} is there already.")
    if missing := _not_sealed(selection.ids):
        named = ", ".join(map(str, missing[:MAX_NAMED]))
        more = f" and {len(missing) - MAX_NAMED:,} more" if len(missing) > MAX_NAMED else ""
        raise ExportRefused(f"Entries that are not there, or not sealed: {named}{more}.")
    head = AuditSeal.objects.order_by("-no").first()
    seals = _seals_of(selection, keys)
    n_unsealed = _n_unsealed(selection)
    if head is None or not seals:
        also = f" {n_unsealed:,} that match are not sealed yet." if n_unsealed else ""
        raise ExportRefused(f"No sealed entry matches.{also}")
    with _temporary(path.parent) as (temporary, file):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION) as archive:
            members = _Members(archive)
            members.add(
                verify_bundle.KEYS, b"".join(public_pem(keys[name]) for name in sorted(keys))
            )
            n_seals = members.add_lines(verify_bundle.SEALS, _seal_lines(seals[0], head.no))
            lines = _entry_lines(selection, seals, keys, on_progress)
            n_entries = members.add_lines(verify_bundle.ENTRIES, lines)
            if not n_entries:
                raise ExportRefused("No sealed entry matches.")
            members.add_manifest(
                made_at=_text(at),
                filters=selection.described(),
                head={"no": head.no, "digest": digest_of(head)},
                n_entries=n_entries,
                n_seals=n_seals,
                n_unsealed=n_unsealed,
            )
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        digest = file_digest(file, "sha256").hexdigest()
        bundle = Bundle(path, n_entries, n_seals, n_unsealed, digest)
        _publish(temporary, bundle, selection, head.no, by)
    return bundle


def _seals_of(selection: Selection, keys: Keys) -> list[int]:
    """The numbers of the seals that hold a selected entry; none of those that were pruned."""
    leaves = AuditLeaf.objects.filter(seal_no__gt=last_pruned(keys))
    if selection != Selection():
        leaves = leaves.filter(entry_id__in=selection.entries().order_by().values("id"))
    return list(leaves.order_by("seal_no").values_list("seal_no", flat=True).distinct())


def _n_unsealed(selection: Selection) -> int:
    leaf = AuditLeaf.objects.filter(entry_id=OuterRef("id"))
    return selection.entries().order_by().exclude(Exists(leaf)).count()


def _not_sealed(ids: frozenset[int]) -> list[int]:
    possible = [each for each in ids if abs(each) < 2**63]  # others no column holds
    known = AuditLeaf.objects.filter(entry_id__in=possible).values_list("entry_id", flat=True)
    return sorted(ids - set(known))


def _seal_lines(first: int, last: int) -> Iterator[dict[str, Any]]:
    for stored in stored_seals(above=first - 1):
        if stored.seal is None:
            raise NotWhole(f"Seal {stored.no} is damaged: {stored.damage}.")
        if stored.seal.no > last:
            return
        fields = {name: getattr(stored.seal, name) for name in SEAL_FIELDS}
        sealed_at = _text(stored.seal.sealed_at)
        yield {**fields, "sealed_at": sealed_at, "signature": stored.signature}


def _entry_lines(
    selection: Selection, seals: Sequence[int], keys: Keys, on_progress: Report
) -> Iterator[dict[str, Any]]:
    wanted = frozenset(seals)
    found = whole_seals(above=seals[0] - 1, up_to=seals[-1], keys=keys, among=wanted)
    for n_done, whole in enumerate(found, start=1):
        yield from _lines_of(selection, whole)
        on_progress(n_done / len(seals), "writing")


def _lines_of(selection: Selection, whole: WholeSeal) -> Iterator[dict[str, Any]]:
    """The selected entries of one seal, with their paths unless they are all of them."""
    named: list[dict[str, Any]] = [
        dict(zip(FIELDS, leaf.values or (), strict=True)) for leaf in whole.leaves
    ]
    for values in named:
        if not isinstance(values["at"], datetime):
            raise NotWhole(f"Entry {values['id']} was sealed with something that is no moment.")
    is_chosen = [selection.holds(values) for values in named]
    hashes = [leaf.hash for leaf in whole.leaves]
    is_whole = all(is_chosen)
    for leaf, values, chosen in zip(whole.leaves, named, is_chosen, strict=True):
        if chosen:
            path = merkle.path(hashes, leaf.position) if not is_whole else None
            yield {
                **values,
                "at": _text(values["at"]),
                "seal": leaf.seal_no,
                "position": leaf.position,
                "leaf": leaf.hash.hex(),
                "path": path and [each.hex() for each in path],
            }


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


class _Members:
    """The files of a bundle, hashed as they are written."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._digests: dict[str, str] = {}

    def add(self, name: str, content: bytes) -> None:
        self._archive.writestr(name, content)
        self._digests[name] = sha256(content).hexdigest()

    def add_lines(self, name: str, objects: Iterator[dict[str, Any]]) -> int:
        """Returns how many. Raises `ExportRefused` for a line that no verifier would read."""
        digest, n_lines = sha256(), 0
        with self._archive.open(name, "w", force_zip64=True) as file:
            for each in objects:
                line = json.dumps(each, separators=(",", ":")).encode() + b"\n"
                if len(line) > verify_bundle.MAX_LINE:
                    raise ExportRefused(f"Entry {each['id']} is too long for a bundle.")
                digest.update(line)
                file.write(line)
                n_lines += 1
        self._digests[name] = digest.hexdigest()
        return n_lines

    def add_manifest(self, **facts: Any) -> None:
        """Last, for it names all the others: the instructions and the verifier go before it."""
        self.add(verify_bundle.README, README.format(**facts).encode())
        for name in verify_bundle.VERIFIER:
            self.add(name, Path(__file__).with_name(Path(name).name).read_bytes())
        manifest = {"format": verify_bundle.FORMAT, **facts, "files": self._digests}
        self.add(verify_bundle.MANIFEST, json.dumps(manifest, indent=2, sort_keys=True).encode())


@contextmanager
def _temporary(directory: Path) -> Iterator[tuple[Path, Any]]:
    """A file that only its owner can read, gone after the block unless it was linked elsewhere."""
    handle, name = tempfile.mkstemp(prefix=".audit-", suffix=".zip", dir=directory)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield Path(name), file
    finally:
        Path(name).unlink(missing_ok=True)


def _publish(
    temporary: Path, bundle: Bundle, selection: Selection, head: int, by: trail.Actor
) -> None:
    """Record the export and give the file its name: both or neither."""
    is_there = False
    try:
        with transaction.atomic():
            trail.record(
                EXPORTED,
                by=by,
                n_items=bundle.n_entries,
                details={
                    "filters": selection.described(),
                    "head": head,
                    "sha256": bundle.sha256,
                    "unsealed": bundle.n_unsealed,
                },
            )
            os.link(temporary, bundle.path)  # unlike a renaming, never over another file
            is_there = True
    except FileExistsError as error:
        raise ExportRefused(f"{bundle.path} is there already.") from error
    except BaseException:
        if is_there:
            bundle.path.unlink()
        raise
