"""Where one customer was before: each move under the versions that served, and why it happened.

Attributes move a customer within a version, which `AssignmentChange` notes with the segment left;
an activation moves them from what one version says to what the next one says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from modelregistry.models import Activation, ModelVersion
from segments.changes import Cause
from segments.models import Assignment, AssignmentChange, ChangeHistory, Customer

MAX_CHANGES = 200
MAX_ACTIVATIONS = 100
"""The newest that are looked at, of all model types together."""


@dataclass(frozen=True, slots=True)
class SegmentPlace:
    """A segment by its name now; no name is noise, or nothing where it is not assigned."""

    is_assigned: bool
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """At a moment, from one place to another; `version` is the one that served afterwards."""

    at: datetime
    version: ModelVersion
    before: SegmentPlace
    after: SegmentPlace
    cause: Cause


@dataclass(frozen=True, slots=True)
class History:
    """Newest first; `is_cut` when older moves than these are known."""

    moves: list[Move]
    known_since: datetime
    is_cut: bool


def history_of(customer: Customer, assignments: Sequence[Assignment]) -> History:
    """Three queries; `assignments` are all those of the customer, with version and segment."""
    changes = list(
        AssignmentChange.objects.filter(customer=customer)
        .select_related("version", "segment")
        .order_by("-id")[: MAX_CHANGES + 1]
    )
    ledger = list(
        Activation.objects.select_related("from_version", "to_version").order_by(
            "-activated_at", "-id"
        )[: MAX_ACTIVATIONS + 1]
    )
    known_since = ChangeHistory.objects.get().kept_since
    is_cut = len(changes) > MAX_CHANGES or len(ledger) > MAX_ACTIVATIONS
    times = [changes[-1].changed_at] if len(changes) > MAX_CHANGES else []
    times += [ledger[-1].activated_at] if len(ledger) > MAX_ACTIVATIONS else []
    reach = max([known_since, customer.created_at, *times])
    past = _Past(assignments, changes)
    found = [*_by_attributes(past, changes, ledger), *_by_activations(past, ledger, reach)]
    moves = sorted(found, key=lambda move: move.at, reverse=True)
    return History([move for move in moves if move.at >= reach], known_since, is_cut)


class _Past:
    """Where the customer was under each version at a moment."""

    def __init__(
        self, assignments: Sequence[Assignment], changes: Sequence[AssignmentChange]
    ) -> None:
        self._now = {row.version_id: _named(row) for row in assignments}
        self._changes: dict[int, list[AssignmentChange]] = {}
        for change in reversed(changes):  # oldest first
            self._changes.setdefault(change.version_id, []).append(change)

    def at(self, version_id: int, moment: datetime) -> SegmentPlace:
        """Just after a moment: what the next change left, or where the customer is now."""
        later = (row for row in self._changes.get(version_id, []) if row.changed_at > moment)
        change = next(later, None)
        return self.now(version_id) if change is None else left_by(change)

    def after(self, change: AssignmentChange) -> SegmentPlace:
        later = (row for row in self._changes[change.version_id] if row.pk > change.pk)
        following = next(later, None)
        return self.now(change.version_id) if following is None else left_by(following)

    def now(self, version_id: int) -> SegmentPlace:
        return self._now.get(version_id, SegmentPlace(is_assigned=False))


def left_by(change: AssignmentChange) -> SegmentPlace:
    return SegmentPlace(
        is_assigned=change.was_assigned, name=change.segment.name if change.segment else None
    )


def _named(row: Assignment) -> SegmentPlace:
    return SegmentPlace(is_assigned=True, name=row.segment.name if row.segment else None)


def _by_attributes(
    past: _Past, changes: Sequence[AssignmentChange], ledger: Sequence[Activation]
) -> Iterator[Move]:
    for change in changes:
        if _served_at(change, ledger):
            before = left_by(change)
            cause = Cause.ATTRIBUTES_CHANGED if before.is_assigned else Cause.NEW_CUSTOMER
            after = past.after(change)
            if before != after:
                yield Move(change.changed_at, change.version, before, after, cause)


def _served_at(change: AssignmentChange, ledger: Sequence[Activation]) -> bool:
    """Whether people saw the change: its version served then."""
    of_type = (row for row in ledger if row.model_type == change.version.model_type)
    last = next((row for row in of_type if row.activated_at <= change.changed_at), None)
    return last is not None and last.to_version_id == change.version_id


def _by_activations(past: _Past, ledger: Sequence[Activation], reach: datetime) -> Iterator[Move]:
    for row in ledger:
        if row.activated_at < reach or row.from_version is None:
            continue
        before = past.at(row.from_version.pk, row.activated_at)
        after = past.at(row.to_version_id, row.activated_at)
        if before != after:
            yield Move(row.activated_at, row.to_version, before, after, Cause.ACTIVATION)
