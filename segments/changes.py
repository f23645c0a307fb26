"""Who came into another segment since a moment: what serves now beside what served then.

Two things move customers: their attributes, noted in `AssignmentChange`, and a switch of versions,
told by the ledger of activations. Only the net change counts: who left and came back did not move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, models, transaction

from audit import trail
from modelregistry import activation
from modelregistry.models import Activation, ModelVersion
from segments.models import AssignmentChange, ChangeHistory, Segment

SETTLED_AFTER = timedelta(seconds=60)
"""Longer than assignments wait for their commit, which is when they are first seen."""

# A customer's first change after a moment says what they left: where they were at that moment.
FIRST = """NOT EXISTS (SELECT 1 FROM segments_assignmentchange AS earlier
        WHERE earlier.customer_id = {first}.customer_id
            AND earlier.version_id = {first}.version_id
            AND earlier.changed_at > %(since)s AND earlier.id < {first}.id)"""
LAST = """(SELECT MAX(last.changed_at) FROM segments_assignmentchange AS last
        WHERE last.customer_id = now.customer_id AND last.version_id = {version}
            AND last.changed_at > {after})"""
IS_NEW = """(SELECT stored.created_at > %(since)s FROM segments_customer AS stored
        WHERE stored.customer_id = now.customer_id)"""
MOVED = "(NOT {was} OR COALESCE({before}, -1) <> COALESCE(now.segment_id, -1))"
CONCERNS = """({was} AND COALESCE({before}, -1) = %(segment)s
        OR COALESCE(now.segment_id, -1) = %(segment)s)"""

UNDER_ONE_VERSION = f"""SELECT now.customer_id, first.was_assigned, first.segment_id,
        now.segment_id, {LAST.format(version="%(now)s", after="%(since)s")}, NULL, {IS_NEW}
    FROM segments_assignmentchange AS first
    JOIN segments_assignment AS now
        ON now.version_id = %(now)s AND now.customer_id = first.customer_id
    WHERE first.version_id = %(now)s AND first.changed_at > %(since)s
        AND {FIRST.format(first="first")}
        AND {MOVED.format(was="first.was_assigned", before="first.segment_id")}"""
CONCERNS_UNDER_ONE = CONCERNS.format(was="first.was_assigned", before="first.segment_id")

# The version that served then may have assigned the customer since, while it still served.
_WAS = "(former.customer_id IS NOT NULL AND (first.id IS NULL OR first.was_assigned))"
_BEFORE = "CASE WHEN first.id IS NULL THEN former.segment_id ELSE first.segment_id END"
UNDER_TWO_VERSIONS = f"""SELECT now.customer_id, {_WAS}, {_BEFORE},
        now.segment_id, {LAST.format(version="%(now)s", after="%(activated)s")},
        CASE WHEN COALESCE(former.segment_id, -1) = COALESCE(now.segment_id, -1)
            THEN {LAST.format(version="%(then)s", after="%(since)s")} END, {IS_NEW}
    FROM segments_assignment AS now
    LEFT JOIN segments_assignment AS former
        ON former.version_id = %(then)s AND former.customer_id = now.customer_id
    LEFT JOIN segments_assignmentchange AS first
        ON first.version_id = %(then)s AND first.customer_id = now.customer_id
            AND first.changed_at > %(since)s AND {FIRST.format(first="first")}
    WHERE now.version_id = %(now)s AND {MOVED.format(was=_WAS, before=_BEFORE)}"""
CONCERNS_UNDER_TWO = CONCERNS.format(was=_WAS, before=_BEFORE)


class OutOfReach(Exception):
    """What was at the moment asked about is not known, or not yet."""


class Cause(models.TextChoices):
    """What brought the customer into the segment."""

    ACTIVATION = "activation", "another version was activated"
    ATTRIBUTES_CHANGED = "attributes_changed", "the customer's attributes changed"
    NEW_CUSTOMER = "new_customer", "the customer is new since then"


@dataclass(frozen=True, slots=True)
class NetChanges:
    """The changes of one model type since a moment, in the order of customers.

    `order_by`, `filter` and a slice are what paging by keyset asks of a query set.

    Attributes
    ----------
    now, then : the version that serves, and the one that served at `since`, if any did
    generation, activated_at : number and moment of the activation by which `now` began to serve
    as_of : all that happened before is in here; the moment to ask from the next time
    segment : id of the only segment to look at; NOISE_KEY for noise, None for every segment
    """

    now: ModelVersion
    then: ModelVersion | None
    generation: int
    activated_at: datetime
    since: datetime
    as_of: datetime
    segment: int | None = None
    backwards: bool = False
    position: str | None = None

    def order_by(self, field: str) -> NetChanges:
        return replace(self, backwards=field.startswith("-"))

    def filter(self, **condition: str) -> NetChanges:
        """Beyond a customer, in the order that is set."""
        (position,) = condition.values()
        return replace(self, position=position)

    def __getitem__(self, rows: slice) -> list[dict[str, Any]]:
        """One query for the changes and one for the names of their segments."""
        adapted = connection.ops.adapt_datetimefield_value
        values = {
            "now": self.now.pk,
            "then": self.then.pk if self.then else None,
            "since": adapted(self.since),
            "activated": adapted(self.activated_at),
            "segment": self.segment,
            "position": self.position,
            "limit": rows.stop - rows.start,
            "offset": rows.start,
        }
        with connection.cursor() as cursor:
            cursor.execute(self._statement(), values)
            found = cursor.fetchall()
        ids = {segment for row in found for segment in row[2:4]} - {None}
        names: dict[int | None, str] = dict(
            Segment.objects.filter(pk__in=ids).values_list("pk", "name")
        )
        return [self._shown(row, names) for row in found]

    def _statement(self) -> str:
        is_one = self.then == self.now
        parts = [UNDER_ONE_VERSION if is_one else UNDER_TWO_VERSIONS]
        if self.segment is not None:
            parts.append(f"AND {CONCERNS_UNDER_ONE if is_one else CONCERNS_UNDER_TWO}")
        if self.position is not None:
            parts.append(f"AND now.customer_id {'<' if self.backwards else '>'} %(position)s")
        parts.append(f"ORDER BY now.customer_id {'DESC' if self.backwards else 'ASC'}")
        return " ".join([*parts, "LIMIT %(limit)s OFFSET %(offset)s"])

    def _shown(self, row: tuple[Any, ...], names: Mapping[int | None, str]) -> dict[str, Any]:
        customer_id, was_assigned, before, after, moved, moved_under_then, is_new = row
        by_attributes = moved or moved_under_then
        if is_new and not was_assigned:
            cause = Cause.NEW_CUSTOMER
        else:
            cause = Cause.ATTRIBUTES_CHANGED if by_attributes else Cause.ACTIVATION
        return {
            "customer_id": customer_id,
            "from": {"segment": before, "segment_name": names.get(before)}
            if was_assigned
            else None,
            "to": {"segment": after, "segment_name": names.get(after)},
            "at": _moment(by_attributes) if by_attributes else self.activated_at,
            "cause": cause.value,
        }


def changes_since(
    model_type: str, since: datetime | None, *, at: datetime, default: timedelta
) -> NetChanges:
    """The changes from `since` to `at`; without `since`, from `default` before `at`, if known.

    Three queries. Raises `NoActiveVersion` and `OutOfReach`.
    """
    now = activation.active_version(model_type)
    kept_since = ChangeHistory.objects.get().kept_since
    if since is None:
        since = max(at - default, kept_since)
    if since < kept_since:
        reach = kept_since.isoformat().replace("+00:00", "Z")
        raise OutOfReach(f"must be {reach} or later: changes are kept from then on")
    if since > at:
        raise OutOfReach("must not be in the future")
    served = Activation.objects.filter(model_type=model_type).select_related("to_version")
    last = served.filter(to_version=now).order_by("-generation")[0]
    return NetChanges(
        now=now,
        then=activation.version_at(model_type, since),
        generation=last.generation,
        activated_at=last.activated_at,
        since=since,
        as_of=max(since, at - SETTLED_AFTER),
    )


@transaction.atomic
def forget_changes(*, before: datetime, by: trail.Actor) -> int:
    """Delete old changes, with one entry if there are any; returns how many."""
    old = AssignmentChange.objects.filter(changed_at__lt=before)
    n_forgotten: int = old.delete()[0]
    if n_forgotten:
        ChangeHistory.objects.filter(kept_since__lt=before).update(kept_since=before)
        trail.record("segments.changes_forgotten", by=by, n_items=n_forgotten)
    return n_forgotten


def _moment(stored: Any) -> datetime:
    """A moment as the database driver gave it; SQLite keeps it as text in UTC."""
    if isinstance(stored, str):
        stored = datetime.fromisoformat(f"{stored}+00:00")
    moment: datetime = stored
    return moment
