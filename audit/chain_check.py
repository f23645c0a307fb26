"""The chain of seals: numbers without a gap, links, signatures, times and records of prunings."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeGuard

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit import merkle
from audit.findings import Findings, Place, shortened
from audit.models import SealKind
from audit.seal_format import NO_SEAL, Seal
from audit.stored_chain import StoredSeal, stored_seals

TOLERANCE = timedelta(minutes=5)
"""By how much clocks may differ, and how long sealing may take, before a word is lost on it."""
DIGEST_BYTES = 32
MAX_NUMBER = 2**63 - 1


@dataclass(slots=True)
class Chain:
    """What the later checks need to know of the seals: some fifty bytes for each.

    `untrusted` are numbers of seals that prove nothing; `pruned` are the ranges of the signed
    records of prunings; `sealed_ids` are the ranges of ids that seals name, signed or not, joined
    where they touch; `last_id` is the last one of a signed seal. `n_damaged` counts seals that
    cannot be read, whose leaves are not looked at either.
    """

    numbers: array[int] = field(default_factory=lambda: array("q"))
    digests: bytearray = field(default_factory=bytearray)
    sizes: array[int] = field(default_factory=lambda: array("q"))
    untrusted: set[int] = field(default_factory=set)
    pruned: list[tuple[int, int]] = field(default_factory=list)
    sealed_ids: list[tuple[int, int]] = field(default_factory=list)
    last_id: int = 0
    n_seals: int = 0
    n_damaged: int = 0
    n_pruned: int = 0
    head: Seal | None = None
    head_digest: str = NO_SEAL

    def digest(self, no: int) -> str | None:
        """Hexadecimal; None for a seal that is not there."""
        places = self.places(no, no)
        return self.digests_at(places)[0].hex() if places else None

    def places(self, first: int, last: int) -> range:
        """Where the seals from `first` to `last` stand; empty unless all of them are there."""
        start = bisect_left(self.numbers, first)
        end = start + last - first
        is_whole = (
            end < len(self.numbers) and self.numbers[start] == first and self.numbers[end] == last
        )
        return range(start, end + 1) if is_whole else range(0)

    def digests_at(self, places: range) -> list[bytes]:
        starts = range(places.start * DIGEST_BYTES, places.stop * DIGEST_BYTES, DIGEST_BYTES)
        return [bytes(self.digests[start : start + DIGEST_BYTES]) for start in starts]

    def is_pruned(self, no: int) -> bool:
        """Whether a signed record says so; once the whole chain was walked."""
        place = bisect_right(self.pruned, no, key=lambda pruned: pruned[0])
        return place > 0 and no <= self.pruned[place - 1][1]


def check_chain(
    chain: Chain,
    keys: Mapping[str, Ed25519PublicKey],
    findings: Findings,
    *,
    at: datetime,
    progress: Callable[[int], None],
) -> None:
    """Walk the seals from the first to the head, and note them in `chain`. `at` is now."""
    before: Seal | None = None
    for stored in stored_seals():
        chain.n_seals += 1
        progress(1)
        if stored.seal is None:
            chain.n_damaged += 1
            no = stored.no if _is_number(stored.no) else None
            findings.broken(Place.SEAL, no, stored.damage)
            if no is not None and no > _last(chain):
                _check_number(chain, no, findings)
                _add(chain, no, digest="", size=0)
                chain.untrusted.add(no)
            continue
        seal = stored.seal
        if not _is_number(seal.no):
            chain.n_damaged += 1
            findings.broken(Place.SEAL, seal.no, "is no number that a seal can have")
            continue
        if seal.no <= _last(chain):
            findings.broken(Place.SEAL, seal.no, "stands in the chain more than once")
            continue
        _check_number(chain, seal.no, findings)
        _check_signature(chain, stored, seal, keys, findings)
        _check_link(chain, seal, before, findings)
        _note_ids(chain, seal)
        if seal.no not in chain.untrusted:
            _check_contents(chain, seal, findings)
        _add(chain, seal.no, digest=_digest(stored, seal), size=_size(seal))
        before, chain.head = seal, seal
    chain.pruned.sort()
    if chain.head is not None:
        chain.head_digest = chain.digest(chain.head.no) or NO_SEAL
        if chain.head.sealed_at - at > TOLERANCE:
            findings.warning(
                Place.SEAL,
                chain.head.no,
                "was sealed at a time that is still to come: a clock is or was wrong",
            )


def _last(chain: Chain) -> int:
    return chain.numbers[-1] if chain.numbers else 0


def _is_number(no: object) -> TypeGuard[int]:
    return type(no) is int and 1 <= no <= MAX_NUMBER


def _check_number(chain: Chain, no: int, findings: Findings) -> None:
    missing = _last(chain) + 1
    if no == missing + 1:
        findings.broken(Place.SEAL, missing, "is missing from the chain")
    elif no > missing:
        findings.broken(Place.SEAL, missing, f"is missing from the chain, as all up to {no - 1}")


def _check_signature(
    chain: Chain,
    stored: StoredSeal,
    seal: Seal,
    keys: Mapping[str, Ed25519PublicKey],
    findings: Findings,
) -> None:
    if seal.is_signed(stored.signature, keys):
        return
    chain.untrusted.add(seal.no)
    key = shortened(seal.key_id)
    if seal.key_id in keys:
        findings.broken(Place.SEAL, seal.no, f"is not what the key {key} signed")
    else:
        findings.broken(Place.SEAL, seal.no, f"names the key {key}, which is not a trusted one")


def _check_link(chain: Chain, seal: Seal, before: Seal | None, findings: Findings) -> None:
    """Whether it follows the seal before; what is wrong with that one was said there."""
    if seal.no in chain.untrusted:
        return
    if before is None:
        if seal.no == 1 and seal.previous != NO_SEAL:
            findings.broken(Place.SEAL, 1, "names a seal before it, though it is the first")
        return
    if before.no != seal.no - 1 or before.no in chain.untrusted:
        return
    if seal.previous != chain.digest(before.no):
        findings.broken(Place.SEAL, seal.no, f"follows another seal {before.no} than the one here")
    if before.sealed_at - seal.sealed_at > TOLERANCE:
        findings.warning(
            Place.SEAL,
            seal.no,
            f"was sealed {before.sealed_at - seal.sealed_at} before seal {before.no}: the clock "
            "was set back",
        )


def _note_ids(chain: Chain, seal: Seal) -> None:
    first, last = seal.first_id, seal.last_id
    if first is None or last is None or first > last:
        return
    if chain.sealed_ids and first == chain.sealed_ids[-1][1] + 1:
        first = chain.sealed_ids.pop()[0]
    chain.sealed_ids.append((first, last))


def _check_contents(chain: Chain, seal: Seal, findings: Findings) -> None:
    """What a signed seal says of its entries, or of the seals whose entries it says are gone."""
    if seal.kind == SealKind.ENTRIES:
        if seal.first_id is None or seal.last_id is None or seal.n_entries < 1:
            findings.broken(Place.SEAL, seal.no, "seals no entries")
        else:
            chain.last_id = max(chain.last_id, seal.last_id)
    elif seal.kind == SealKind.PRUNED:
        _check_pruning(chain, seal, findings)
    else:
        findings.broken(Place.SEAL, seal.no, f"is of the unknown kind {shortened(seal.kind)}")


def _check_pruning(chain: Chain, seal: Seal, findings: Findings) -> None:
    first, last = seal.pruned_from, seal.pruned_to
    if first is None or last is None or not 1 <= first <= last < seal.no:
        findings.broken(Place.SEAL, seal.no, f"says that seals {first} to {last} were pruned")
        return
    if any(first <= other_last and other_first <= last for other_first, other_last in chain.pruned):
        findings.broken(
            Place.SEAL, seal.no, f"says that seals {first} to {last} were pruned, some once more"
        )
    chain.pruned.append((first, last))
    chain.n_pruned += max(seal.n_entries, 0)
    places = chain.places(first, last)
    if not places or any(first <= no <= last for no in chain.untrusted):
        return  # the seals that are missing or not signed were named
    if merkle.root(chain.digests_at(places)).hex() != seal.root:
        findings.broken(
            Place.SEAL, seal.no, f"says that other seals than {first} to {last} here were pruned"
        )
    elif (n_held := sum(chain.sizes[places.start : places.stop])) != seal.n_entries:
        findings.broken(
            Place.SEAL,
            seal.no,
            f"says that {seal.n_entries:,} entries were pruned; seals {first} to {last} held "
            f"{n_held:,}",
        )


def _digest(stored: StoredSeal, seal: Seal) -> str:
    try:
        return seal.digest(stored.signature)
    except ValueError:
        return ""


def _size(seal: Seal) -> int:
    is_size = seal.kind == SealKind.ENTRIES and 0 <= seal.n_entries <= MAX_NUMBER
    return seal.n_entries if is_size else 0


def _add(chain: Chain, no: int, *, digest: str, size: int) -> None:
    chain.numbers.append(no)
    chain.digests += bytes.fromhex(digest or NO_SEAL)
    chain.sizes.append(size)
