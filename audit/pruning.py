"""Retention: the entries of the oldest seals go, and a signed record says which and how many.

Only whole seals are pruned, and only the oldest: what is gone is one stretch from the first seal
on. The seals themselves stay, so the chain is never broken. The record, a seal of the kind
`pruned`, comes before the deletion: the triggers let pass what a record names, and a pruning that
was killed is finished by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from django.db import connection, transaction
from django.db.models import Max

from audit import merkle, trail
from audit.leaf import FIELDS
from audit.models import AuditLeaf, AuditSeal, SealKind
from audit.seal_format import NO_SEAL
from audit.sealing import HeadMoved, SealedBatch, append_seal, current_head, durable
from audit.sealing_key import Signer
from audit.stored_entries import ENTRIES, LEAVES, StoredLeaf
from audit.stored_seals import digest_of
from audit.whole_seals import Keys, NotWhole, last_pruned, whole_seals

PRUNED = "audit.pruned"
TARGET = ("audit_trail", "")
AT = FIELDS.index("at")
DELETED_AT_ONCE = 500
"""Entries, in one transaction, for which SQLite's other writers wait."""
MAX_ATTEMPTS = 20
"""At the record, when sealers keep coming first."""
Report: TypeAlias = Callable[[float, str], None]


class PruningOvertaken(Exception):
    """Another pruning came first, or sealers did again and again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Seals that lose their entries; `digests` are those of all seals from `first` to `last`."""

    first: int
    last: int
    n_entries: int
    digests: Sequence[bytes]

    @property
    def root(self) -> bytes:
        return merkle.root(self.digests)


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many entries went, and how long the longest transaction took: SQLite has one writer."""

    n_entries: int
    longest_seconds: float


def plan(*, before: datetime, keys: Keys, on_progress: Report) -> Plan | None:
    """The oldest seals all of whose entries are older; None when there is none.

    Verifies all that would go. Raises `audit.whole_seals.NotWhole`.
    """
    done = last_pruned(keys)
    head = AuditSeal.objects.aggregate(last=Max("no"))["last"] or 0
    previous = digest_of(AuditSeal.objects.get(no=done)) if done else NO_SEAL
    digests: list[bytes] = []
    last = n_entries = 0
    for whole in whole_seals(above=done, up_to=head, keys=keys):
        if whole.seal.previous != previous:
            raise NotWhole(f"Seal {whole.seal.no} does not follow on the one before it.")
        if not all(_is_older(leaf, before) for leaf in whole.leaves):
            break
        previous = whole.digest
        digests.append(bytes.fromhex(previous))
        if whole.leaves:
            last, n_entries = whole.seal.no, n_entries + len(whole.leaves)
        on_progress((whole.seal.no - done) / (head - done), "verifying")
    return Plan(done + 1, last, n_entries, digests[: last - done]) if last else None


def _is_older(leaf: StoredLeaf, before: datetime) -> bool:
    at = leaf.values[AT] if leaf.values else None
    return isinstance(at, datetime) and at < before


def n_unfinished(keys: Keys) -> int:
    """Entries that a record says are gone and that are still there: somebody was interrupted."""
    return AuditLeaf.objects.filter(seal_no__lte=last_pruned(keys)).count()


def record(planned: Plan, *, signer: Signer, by: trail.Actor, at: datetime) -> SealedBatch:
    """Append the signed record of a pruning, with its entry; the deletion is next.

    Raises `PruningOvertaken`, `audit.whole_seals.NotWhole` and `audit.sealing.SealingRefused`.
    """
    for _ in range(MAX_ATTEMPTS):
        head = current_head(signer)
        if last_pruned(signer.trusted) != planned.first - 1:
            break
        try:
            with durable(), transaction.atomic():
                stored = append_seal(
                    signer,
                    after=head,
                    kind=SealKind.PRUNED,
                    n_entries=planned.n_entries,
                    root=planned.root,
                    at=at,
                    pruned_from=planned.first,
                    pruned_to=planned.last,
                )
                _leave_entry(
                    by,
                    planned.n_entries,
                    seal=stored.seal.no,
                    digest=stored.digest,
                    pruned_from=planned.first,
                    pruned_to=planned.last,
                )
            return stored
        except HeadMoved:
            continue
    raise PruningOvertaken("Another pruning or sealing came first; run it again.")


def leave_entry_of_finishing(keys: Keys, *, by: trail.Actor) -> None:
    """Say that what an interrupted pruning left is deleted now."""
    _leave_entry(by, n_unfinished(keys), pruned_to=last_pruned(keys))


def _leave_entry(by: trail.Actor, n_entries: int, **details: object) -> None:
    trail.record(PRUNED, by=by, target=TARGET, n_items=n_entries, details=details)


def delete(keys: Keys, *, on_progress: Report) -> Deleted:
    """Delete the entries and leaves of all seals that the records name, some at a time."""
    last = last_pruned(keys)
    n_leaves = n_unfinished(keys)
    n_deleted, longest = 0, 0.0
    place = (0, -1)
    while True:
        began = time.monotonic()
        with transaction.atomic():
            place, n_rows = _delete_some(place, last)
        seconds = time.monotonic() - began
        if not n_rows:
            return Deleted(n_deleted, longest)
        n_deleted, longest = n_deleted + n_rows, max(longest, seconds)
        on_progress(min(1.0, n_deleted / n_leaves), "deleting")
        if connection.vendor == "sqlite":
            time.sleep(seconds)  # SQLite has no queue: a writer who waits must find it free


def _delete_some(after: tuple[int, int], last: int) -> tuple[tuple[int, int], int]:
    """Delete the next entries and their leaves; returns the place of the last, and how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT seal_no, position, entry_id FROM {LEAVES} "
            "WHERE (seal_no, position) > (%s, %s) AND seal_no <= %s "
            "ORDER BY seal_no, position LIMIT %s",
            [*after, last, DELETED_AT_ONCE],
        )
        rows = cursor.fetchall()
        if not rows:
            return after, 0
        ids = [row[2] for row in rows]
        places = ", ".join(["%s"] * len(ids))
        cursor.execute(f"DELETE FROM {ENTRIES} WHERE id IN ({places})", ids)
        cursor.execute(f"DELETE FROM {LEAVES} WHERE entry_id IN ({places})", ids)
        return rows[-1][:2], len(rows)
