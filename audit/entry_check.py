"""Entries against their leaves, leaves against their seals, and entries that no seal holds yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from django.db import connection

from audit import merkle
from audit.chain_check import TOLERANCE, Chain
from audit.findings import Findings, Place, shortened
from audit.leaf import FIELDS, Unreadable, leaf_hash
from audit.models import SealKind
from audit.seal_format import Seal
from audit.stored_chain import SEALS, stored_seals
from audit.stored_entries import (
    AT,
    LEAVES,
    StoredLeaf,
    misfit,
    rows_by_seal,
    unsealed,
)

N_AT_ONCE = 5_000
MAX_AT_ONCE = 1_000_000
"""Leaves that are read together; no sealer puts so many into one seal."""


@dataclass(slots=True)
class Arrivals:
    """What came before a seal, to tell entries that are older than they can be.

    `at` is the latest moment among the entries before, `id` the greatest one among the seals
    before, and `sealed_at` when the seal before was made.
    """

    at: datetime | None = None
    id: int = 0
    sealed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Walked:
    """How many leaves were read seal by seal, and how many of their entries are there."""

    n_leaves: int
    n_entries: int


def check_sealed(chain: Chain, findings: Findings, *, progress: Callable[[int], None]) -> Walked:
    """Walk the leaves of each seal of the chain with their entries."""
    walk = _Walk(chain, findings, progress)
    walk.run()
    return Walked(walk.n_leaves, walk.n_entries)


@dataclass(slots=True)
class _Walk:
    chain: Chain
    findings: Findings
    progress: Callable[[int], None]
    n_leaves: int = 0
    n_entries: int = 0
    _before: Arrivals = field(default_factory=Arrivals)

    def run(self) -> None:
        for seals in self._groups():
            first, last = seals[0].no, seals[-1].no
            n_stored = _count(
                f"SELECT COUNT(*) FROM {LEAVES} WHERE seal_no BETWEEN %s AND %s", [first, last]
            )
            if n_stored > MAX_AT_ONCE:
                self.findings.broken(
                    Place.SEAL, last, f"holds more leaves than one can: {n_stored:,}"
                )
                continue
            by_no = {seal.no: seal for seal in seals}
            held: dict[int, list[StoredLeaf]] = {}
            for no, leaves in groupby(rows_by_seal(first, last), key=lambda leaf: leaf.seal_no):
                if no in by_no:
                    held[no] = list(leaves)
            for no, seal in by_no.items():
                self._check_seal(seal, held.pop(no, []))

    def _groups(self) -> Iterator[list[Seal]]:
        """Seals that together hold about as many leaves as are read at once."""
        group: list[Seal] = []
        n_leaves = 0
        for stored in stored_seals():
            if stored.seal is None or not self.chain.places(stored.seal.no, stored.seal.no):
                continue
            group.append(stored.seal)
            n_leaves += max(stored.seal.n_entries, 1)
            if n_leaves >= N_AT_ONCE:
                yield group
                group, n_leaves = [], 0
        if group:
            yield group

    def _check_seal(self, seal: Seal, leaves: Sequence[StoredLeaf]) -> None:
        is_pruned = self.chain.is_pruned(seal.no)
        n_missing = 0
        altered: dict[int, bytes] = {}
        damaged: dict[int, str] = {}
        for place, leaf in enumerate(leaves):
            if leaf.values is None:
                n_missing += 1
                if not is_pruned:
                    self.findings.broken(
                        Place.ENTRY,
                        leaf.entry_id,
                        f"is missing; seal {seal.no} holds it at position {leaf.position}",
                    )
                continue
            try:
                found = leaf_hash(leaf.values)
            except Unreadable as error:
                damaged[place] = str(error)
                continue
            if found != leaf.hash:
                altered[place] = found
            else:
                self._check_values(leaf.values)
        self._check_leaves(seal, leaves, altered, damaged, is_pruned=is_pruned)
        if seal.kind == SealKind.ENTRIES:
            self._check_arrivals(seal, leaves)
        self.n_leaves += len(leaves)
        self.n_entries += len(leaves) - n_missing
        self.progress(len(leaves))

    def _check_values(self, values: Sequence[object]) -> None:
        """Name what was sealed as it is here, though no entry can be like that."""
        if why := _misfit(values):
            self.findings.broken(Place.ENTRY, values[0], f"{why}; it was sealed so")

    def _check_leaves(
        self,
        seal: Seal,
        leaves: Sequence[StoredLeaf],
        altered: dict[int, bytes],
        damaged: dict[int, str],
        *,
        is_pruned: bool,
    ) -> None:
        is_signed = seal.no not in self.chain.untrusted
        is_whole = True
        if is_signed:
            is_whole = self._check_positions(seal, leaves, is_pruned=is_pruned)
        hashes = [leaf.hash for leaf in leaves]
        if is_signed and is_whole:
            root = _root(hashes)
            if root != seal.root and altered:
                mended = [altered.get(place, each) for place, each in enumerate(hashes)]
                if _root(mended) == seal.root:
                    for place in altered:
                        self.findings.broken(
                            Place.LEAF,
                            leaves[place].entry_id,
                            f"was altered; the entry is as seal {seal.no} holds it",
                        )
                    root, altered = seal.root, {}
            if root != seal.root:
                self.findings.broken(
                    Place.SEAL,
                    seal.no,
                    f"does not hold these {len(leaves):,} leaves: at least one was altered",
                )
        for place in sorted({*altered, *damaged}):
            why = f": it holds {damaged[place]}" if place in damaged else ""
            self.findings.broken(
                Place.ENTRY,
                leaves[place].entry_id,
                f"is not what seal {seal.no} holds at position {leaves[place].position}{why}",
            )

    def _check_positions(
        self, seal: Seal, leaves: Sequence[StoredLeaf], *, is_pruned: bool
    ) -> bool:
        """Whether the leaves are those that were counted, by place and id."""
        positions = [leaf.position for leaf in leaves]
        n = seal.n_entries if seal.kind == SealKind.ENTRIES else 0
        if positions == list(range(len(positions))) and len(positions) == n:
            return self._check_ids(seal, leaves)
        surplus = [leaf for leaf in leaves if not _is_below(leaf.position, n)]
        if surplus:
            self.findings.broken(
                Place.LEAF,
                surplus[0].entry_id,
                f"says that seal {seal.no} holds it at position {shortened(surplus[0].position)}; "
                f"that seal holds {n:,}" + _and_others(len(surplus)),
            )
        known = sorted({each for each in positions if _is_below(each, n)})
        if len(known) + len(surplus) < len(leaves):
            self.findings.broken(Place.SEAL, seal.no, "has two leaves at one position")
        if not is_pruned:
            self._name_gaps(seal, known, leaves)
        return False

    def _check_ids(self, seal: Seal, leaves: Sequence[StoredLeaf]) -> bool:
        if not leaves:
            return False  # a record of a pruning holds none
        ids = [leaf.entry_id for leaf in leaves]
        if any(type(each) is not int for each in ids):
            self.findings.broken(Place.SEAL, seal.no, "has a leaf of an entry without a number")
        elif (min(ids), max(ids)) != (seal.first_id, seal.last_id):
            self.findings.broken(
                Place.SEAL,
                seal.no,
                f"holds entries {seal.first_id} to {seal.last_id}; its leaves are of "
                f"{min(ids)} to {max(ids)}",
            )
        return True

    def _name_gaps(self, seal: Seal, known: list[int], leaves: Sequence[StoredLeaf]) -> None:
        """Say which positions have no leaf, and whose they were as far as the neighbours tell."""
        ids: dict[int, object] = {leaf.position: leaf.entry_id for leaf in leaves}
        ends = [-1, *known, seal.n_entries]
        for below, above in zip(ends, ends[1:], strict=False):
            if above - below < 2:
                continue
            first = _next_id(ids.get(below), 1) if below >= 0 else seal.first_id
            last = _next_id(ids.get(above), -1) if above < seal.n_entries else seal.last_id
            positions = f"position {below + 1}"
            if above - below > 2:
                positions += f" to {above - 1}"
            if first is None or last is None or last < first:
                whose = ""
            elif first == last:
                whose = f": entry {first} was there"
            else:
                whose = f": entries between {first} and {last} were there"
            self.findings.broken(Place.SEAL, seal.no, f"has no leaf at {positions}{whose}")

    def _check_arrivals(self, seal: Seal, leaves: Sequence[StoredLeaf]) -> None:
        """Name entries that should have been in an earlier seal.

        A sealer that catches up seals old entries too, but in the order of their ids, in which
        their moments follow each other; SQLite gives ids in the order of commits.
        """
        before = self._before
        late: list[StoredLeaf] = []
        inserted: list[StoredLeaf] = []
        is_signed = seal.no not in self.chain.untrusted
        made_at = before.sealed_at
        if made_at is not None:
            made_at = min(made_at, seal.sealed_at)
        latest = before.at
        for leaf in leaves:
            at = leaf.values[AT] if leaf.values is not None else None
            if not isinstance(at, datetime) or type(leaf.entry_id) is not int:
                continue
            if not is_signed or not _is_below(leaf.position, seal.n_entries):
                pass  # it was named, and says nothing about the order
            elif leaf.entry_id < before.id and connection.vendor == "sqlite":
                inserted.append(leaf)
            elif made_at is not None and made_at - at > TOLERANCE:
                is_older = latest is not None and latest - at > TOLERANCE
                if is_older or leaf.entry_id < before.id:
                    late.append(leaf)
            if latest is None or at > latest:
                latest = at
        if inserted:
            self.findings.broken(
                Place.ENTRY,
                inserted[0].entry_id,
                f"was put among entries sealed before it; seal {seal.no} holds it"
                + _and_others(len(inserted)),
            )
        if late:
            self.findings.warning(
                Place.ENTRY,
                late[0].entry_id,
                f"is older than seal {seal.no - 1}, which does not hold it: back-dated, of a "
                "transaction that took so long, or written while a clock was wrong"
                + _and_others(len(late)),
            )
        last_id = seal.last_id if is_signed and seal.last_id is not None else 0
        sealed_at = seal.sealed_at if is_signed else before.sealed_at
        self._before = Arrivals(latest, max(before.id, last_id), sealed_at)


def check_strays(findings: Findings) -> int:
    """Name leaves whose seal is not there; returns how many there are."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT MIN(l.entry_id), l.seal_no, COUNT(*) FROM {LEAVES} l "
            f"LEFT JOIN {SEALS} s ON s.no = l.seal_no WHERE s.no IS NULL "
            "GROUP BY l.seal_no ORDER BY 1"
        )
        n_strays = 0
        while rows := cursor.fetchmany(N_AT_ONCE):
            for entry_id, seal_no, n in rows:
                findings.broken(
                    Place.LEAF,
                    entry_id,
                    f"names seal {shortened(seal_no)}, which is not there" + _and_others(n),
                )
                n_strays += n
    return n_strays


def check_unsealed(chain: Chain, findings: Findings, *, at: datetime) -> int:
    """Return how many entries wait for a seal; name those that cannot get one, or wait long."""
    n, n_late, above, last_sealed = 0, 0, -(2**63), chain.last_id
    first_late: object = None
    while rows := unsealed(above=above, at_most=N_AT_ONCE):
        for values in rows:
            entry_id, moment = values[0], values[AT]
            try:
                leaf_hash(values)
            except Unreadable as error:
                findings.broken(Place.ENTRY, entry_id, f"cannot be sealed: it holds {error}")
                continue
            if why := _misfit(values):
                findings.broken(Place.ENTRY, entry_id, why)
            elif entry_id < 1:  # type: ignore[operator]
                findings.broken(Place.ENTRY, entry_id, "is never sealed: ids begin with 1")
            elif connection.vendor == "sqlite" and entry_id < last_sealed:  # type: ignore[operator]
                findings.broken(Place.ENTRY, entry_id, "is not sealed, though entries after it are")
            elif moment < at - TOLERANCE:  # type: ignore[operator]
                n_late += 1
                first_late = entry_id if first_late is None else first_late
        n += len(rows)
        above = rows[-1][0]  # type: ignore[assignment]
    if n_late:
        findings.warning(
            Place.ENTRY,
            first_late,
            "was written more than five minutes ago and is not sealed: sealing is late"
            + _and_others(n_late),
        )
    return n


def _misfit(values: Sequence[object]) -> str | None:
    """What is wrong with the first value of a type that its field cannot have."""
    name = misfit(tuple(map(type, values)))
    if name is None:
        return None
    return f"holds {shortened(values[FIELDS.index(name)])} as {name}, which no entry can"


def _count(statement: str, params: Sequence[int] = ()) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, list(params))
        return int(cursor.fetchone()[0])


def n_rows(table: str) -> int:
    """Of the table itself, not of one of its indexes."""
    hint = "NOT INDEXED" if connection.vendor == "sqlite" else ""
    return _count(f"SELECT COUNT(*) FROM {table} {hint}")


def _root(hashes: Sequence[object]) -> str:
    if any(type(each) is not bytes or len(each) != 32 for each in hashes):
        return ""
    return merkle.root(hashes).hex()  # type: ignore[arg-type]


def _is_below(position: object, n: int) -> bool:
    return type(position) is int and 0 <= position < n


def _next_id(entry_id: object, step: int) -> int | None:
    return entry_id + step if type(entry_id) is int else None


def _and_others(n: int) -> str:
    return f" ({n - 1:,} more like it)" if n > 1 else ""
