"""Seals with all of their leaves and entries, each checked before it is handed on.

Retention must not remove what does not verify, and a bundle must not offer it as evidence.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit import merkle
from audit.leaf import Unreadable, leaf_hash
from audit.models import AuditSeal, SealKind
from audit.seal_format import Seal
from audit.stored_chain import StoredSeal, stored_seals
from audit.stored_entries import StoredLeaf, rows_by_seal
from audit.stored_seals import seal_of

Keys: TypeAlias = Mapping[str, Ed25519PublicKey]

READ_AT_ONCE = 10_000
"""Leaves with their entries, unless a single seal has more."""


class NotWhole(Exception):
    """Names the first seal or entry that does not fit."""


@dataclass(frozen=True, slots=True)
class WholeSeal:
    """Its leaves by position; none of a seal of the kind `pruned`."""

    seal: Seal
    signature: str
    leaves: Sequence[StoredLeaf]

    @property
    def digest(self) -> str:
        return self.seal.digest(self.signature)


def last_pruned(keys: Keys) -> int:
    """The last seal whose entries went, or are going; 0 when none did.

    Raises `NotWhole` for a record that none of the keys signed.
    """
    last = 0
    for row in AuditSeal.objects.filter(kind=SealKind.PRUNED).order_by("pruned_from"):
        if not seal_of(row).is_signed(row.signature, keys):
            raise NotWhole(f"Seal {row.no}, the record of a pruning, is not signed.")
        last = max(last, row.pruned_to or 0)
    return last


def whole_seals(
    *,
    above: int,
    up_to: int,
    keys: Keys,
    among: Container[int] | None = None,
) -> Iterator[WholeSeal]:
    """Seals by number, from the one after `above`; of those, the ones `among` the numbers given.

    Raises `NotWhole` at the first that is not signed by one of the keys, or whose entries are not
    what was sealed.
    """
    batch: list[tuple[Seal, str]] = []
    n_leaves = 0
    for stored in stored_seals(above=above):
        if among is not None and stored.no not in among:
            continue
        seal = _signed(stored, keys)
        if seal.no > up_to:
            break
        size = seal.n_entries if seal.kind == SealKind.ENTRIES else 0
        is_next = not batch or seal.no == batch[-1][0].no + 1
        if batch and (not is_next or n_leaves + size > READ_AT_ONCE):
            yield from _with_leaves(batch)
            batch, n_leaves = [], 0
        batch.append((seal, stored.signature))
        n_leaves += size
    yield from _with_leaves(batch)


def _signed(stored: StoredSeal, keys: Keys) -> Seal:
    if stored.seal is None:
        raise NotWhole(f"Seal {stored.no} is damaged: {stored.damage}.")
    if not stored.seal.is_signed(stored.signature, keys):
        raise NotWhole(f"Seal {stored.no} is not signed by a trusted key.")
    return stored.seal


def _with_leaves(batch: Sequence[tuple[Seal, str]]) -> Iterator[WholeSeal]:
    if not batch:
        return
    leaves: dict[int, list[StoredLeaf]] = {seal.no: [] for seal, _ in batch}
    for leaf in rows_by_seal(batch[0][0].no, batch[-1][0].no):
        leaves[leaf.seal_no].append(leaf)
    for seal, signature in batch:
        whole = WholeSeal(seal, signature, leaves.pop(seal.no))
        _check(whole)
        yield whole


def _check(whole: WholeSeal) -> None:
    seal = whole.seal
    if seal.kind == SealKind.PRUNED and not whole.leaves:
        return
    for leaf in whole.leaves:
        try:
            fits = leaf.values is not None and leaf_hash(leaf.values) == leaf.hash
        except Unreadable:
            fits = False
        if not fits:
            raise NotWhole(
                f"Entry {leaf.entry_id} (seal {seal.no}, position {leaf.position}) is not what "
                "was sealed."
            )
    positions = [leaf.position for leaf in whole.leaves]
    root = merkle.root([leaf.hash for leaf in whole.leaves])
    if positions != list(range(seal.n_entries)) or root.hex() != seal.root:
        raise NotWhole(f"The leaves of seal {seal.no} do not lead to its root.")
