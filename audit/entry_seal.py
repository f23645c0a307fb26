"""Whether an entry is sealed, and whether the proof of it holds: leaf, path, root, signature.

This says that the entry is what its seal holds. That no other is missing, and that the seals hang
together, `verify_audit` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit import merkle
from audit.leaf import Unreadable, leaf_hash
from audit.models import AuditEntry, AuditLeaf, AuditSeal
from audit.stored_entries import entries
from audit.stored_seals import seal_of


@dataclass(frozen=True, slots=True)
class SealState:
    """`holds` is None while there is no seal."""

    holds: bool | None
    words: str
    sha256: str = ""
    """The leaf's hash, recomputed from the entry as it is stored now."""


def seal_state(entry: AuditEntry, *, keys: Mapping[str, Ed25519PublicKey]) -> SealState:
    """Prove an entry against its seal; `keys` are the trusted ones by their ids.

    Four queries, and the hashes of one seal.
    """
    leaf = AuditLeaf.objects.filter(pk=entry.pk).first()
    if leaf is None:
        return SealState(None, "Not sealed yet.")
    row = AuditSeal.objects.filter(pk=leaf.seal_no).first()
    if row is None:
        return _broken(f"seal {leaf.seal_no}, which is to hold it, is not there.")
    try:
        found = leaf_hash(entries(above=entry.pk - 1, at_most=1)[0])
    except Unreadable as error:
        return _broken(f"it holds {error}.")
    stored = AuditLeaf.objects.filter(seal_no=row.no).order_by("position")
    hashes = [bytes(each) for each in stored.values_list("hash", flat=True)]
    place = f"seal {row.no}, position {leaf.position + 1:,} of {row.n_entries:,}"
    if found != bytes(leaf.hash):
        return _broken(f"it is not what was sealed in {place}.", found)
    if len(hashes) != row.n_entries or leaf.position >= len(hashes):
        return _broken(f"seal {row.no} does not have all of its leaves.", found)
    path = merkle.path(hashes, leaf.position)
    if merkle.root_from_path(found, leaf.position, len(hashes), path).hex() != row.root:
        return _broken(f"its proof does not lead to the root of seal {row.no}.", found)
    try:
        is_signed = seal_of(row).is_signed(row.signature, keys)
    except Unreadable:
        is_signed = False
    if not is_signed:
        return _broken(f"seal {row.no} is not signed by a trusted key.", found)
    at = row.sealed_at.isoformat(" ", "seconds")
    return SealState(True, f"Sealed in {place}, at {at}; the proof holds.", found.hex())


def _broken(why: str, found: bytes = b"") -> SealState:
    return SealState(False, f"Does not fit: {why}", found.hex())
