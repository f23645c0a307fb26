"""Who is in which segment: assigning stored customers to a version, and switching versions.

Every stored customer is assigned to a version before it serves, so the switch is instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import compress, repeat
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from audit import trail
from ml.clusterers import NOISE, Prediction
from modelregistry import activation
from modelregistry.activation import ActivationConflict, ActivationRefused, Move
from modelregistry.artifacts import DamagedArtifact, TrainedModel
from modelregistry.models import Activation, ActiveModel, ModelVersion
from segments.comparison import compare
from segments.gates import GateLimits, check_gates, check_has_clusters
from segments.models import Assignment, Customer, VersionSegment

CHUNK = 10_000
"""Customers assigned in one transaction."""
# The guard skips a customer erased or changed between reading and writing. It is a subquery, not a
# join, so that PostgreSQL looks each customer up rather than reading the whole table.
UPSERT = """WITH new (customer_id, revision, segment_id, distance, status) AS ({rows})
    INSERT INTO segments_assignment
        (customer_id, customer_revision, segment_id, distance, status, version_id, assigned_at)
    SELECT customer_id, revision, segment_id, distance, status, %s, %s FROM new
    WHERE revision = (SELECT stored.revision FROM segments_customer AS stored
        WHERE stored.customer_id = new.customer_id {lock})
    ON CONFLICT (version_id, customer_id) DO UPDATE
    SET segment_id = excluded.segment_id, distance = excluded.distance,
        status = excluded.status, assigned_at = excluded.assigned_at,
        customer_revision = excluded.customer_revision"""
UPSERT_ROW = UPSERT.format(rows="VALUES (%s, %s, %s, %s, %s)", lock="")
# Customers are locked first and in order, as those who store them do: no deadlock with them, and
# nobody is erased before the commit.
UPSERT_COLUMNS = UPSERT.format(
    rows="""SELECT * FROM unnest(
        %s::varchar[], %s::bigint[], %s::bigint[], %s::float8[], %s::varchar[]
    ) AS columns (customer_id) ORDER BY customer_id""",
    lock="FOR KEY SHARE",
)
# Who comes into another segment, or into the first. Of a version that never served nobody asks.
CHANGES = """INSERT INTO segments_assignmentchange
        (version_id, customer_id, segment_id, was_assigned, changed_at)
    SELECT served.id, {new}.customer_id, before.segment_id, before.customer_id IS NOT NULL, %s
    FROM modelregistry_modelversion AS served
    CROSS JOIN {rows}
    LEFT JOIN segments_assignment AS before
        ON before.version_id = served.id AND before.customer_id = {new}.customer_id
    WHERE served.id = %s
        AND EXISTS (SELECT 1 FROM modelregistry_activation WHERE to_version_id = served.id)
        AND (before.customer_id IS NULL
            OR COALESCE(before.segment_id, -1) <> COALESCE({new}.segment_id, -1))"""
# PostgreSQL: one statement sees the table as it was before. SQLite: its only writer looks first.
UPSERT_AND_CHANGES = (
    "WITH written AS ({upsert} RETURNING customer_id, segment_id) {changes}".format(
        upsert=UPSERT_COLUMNS, changes=CHANGES.format(new="written", rows="written")
    )
)
CHANGES_TO_COME = CHANGES.format(
    new="new",
    rows="""(SELECT json_extract(value, '$[0]') AS customer_id,
            json_extract(value, '$[1]') AS revision, json_extract(value, '$[2]') AS segment_id
        FROM json_each(%s)) AS new
    JOIN segments_customer AS stored
        ON stored.customer_id = new.customer_id AND stored.revision = new.revision""",
)

IdRange: TypeAlias = dict[str, str]
"""Conditions on customer_id, as a filter takes them."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class SegmentLabels:
    """The segments of one version by cluster; noise is cluster -1 and has no segment."""

    ids: Mapping[int, int | None]
    names: Mapping[int, str | None]

    @classmethod
    def of(cls, version: ModelVersion) -> SegmentLabels:
        """One query."""
        rows = VersionSegment.objects.filter(version=version).values_list(
            "cluster", "segment_id", "segment__name"
        )
        return cls.named(rows)

    @classmethod
    def named(cls, rows: Iterable[tuple[int, int, str]]) -> SegmentLabels:
        """From cluster, segment id and name of each row."""
        ids: dict[int, int | None] = {NOISE: None}
        names: dict[int, str | None] = {NOISE: None}
        for cluster, segment_id, name in rows:
            ids[cluster], names[cluster] = segment_id, name
        return cls(ids, names)


def write_assignments(
    version_id: int,
    customer_ids: Sequence[str],
    revisions: Sequence[int],
    prediction: Prediction,
    labels: SegmentLabels,
    *,
    at: datetime,
) -> None:
    """Upsert the assignments of distinct customers as they stood at their revisions.

    Who comes into another segment of a version that has served is noted in `AssignmentChange`.
    """
    segment_ids = list(map(labels.ids.__getitem__, prediction.labels.tolist()))
    columns = (
        customer_ids,
        revisions,
        segment_ids,
        prediction.distances.tolist(),
        prediction.status or [""] * len(customer_ids),
    )
    moment = connection.ops.adapt_datetimefield_value(at)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # where row by row means waiting row by row
            values = [*map(list, columns), version_id, moment, moment, version_id]
            cursor.execute(UPSERT_AND_CHANGES, values)
        else:
            changed = msgspec.json.encode(
                list(zip(customer_ids, revisions, segment_ids, strict=True))
            )
            cursor.execute(CHANGES_TO_COME, [moment, changed.decode(), version_id])
            rows = zip(*columns, repeat(version_id), repeat(moment), strict=False)  # have no end
            cursor.executemany(UPSERT_ROW, list(rows))


def assign(
    version_id: int,
    model: TrainedModel,
    labels: SegmentLabels,
    *,
    ids: Sequence[str],
    records: Sequence[Mapping[str, Any]],
    revisions: Sequence[int],
    at: datetime,
) -> int:
    """Assign customers from what is stored of them; returns how many could not be."""
    raw = model.encoder.raw_from_records(records, strict=False)
    usable = ~model.encoder.missing_required(raw)
    prediction = model.clusters.predict(model.encoder.encode(raw)[usable])
    write_assignments(
        version_id,
        list(compress(ids, usable)),
        list(compress(revisions, usable)),
        prediction,
        labels,
        at=at,
    )
    return len(ids) - int(np.count_nonzero(usable))


def unassigned(version: ModelVersion) -> QuerySet[Customer]:
    """Customers without an assignment to this version, or changed since it was made."""
    return Customer.objects.filter(~Exists(_fresh(version)))


def _fresh(version: ModelVersion) -> QuerySet[Assignment]:
    """The assignment of the customer of an outer query, if it was made from their revision."""
    return Assignment.objects.filter(
        version=version, customer=OuterRef("pk"), customer_revision=OuterRef("revision")
    )


def assign_stored_customers(
    version: ModelVersion,
    model: TrainedModel,
    *,
    on_progress: Callable[[int], None] = lambda n: None,
) -> int:
    """Assign all customers that lack a fresh assignment; returns how many could not be.

    A customer who misses a value that the version needs is left without a segment.
    """
    labels = SegmentLabels.of(version)
    n_left_out = n_done = 0
    for bounds in _id_ranges():
        at = timezone.now()
        chunk = list(
            _unassigned_within(version, bounds)
            .order_by("customer_id")
            .values_list("customer_id", "attributes_json", "revision")
        )
        if not chunk:
            continue
        ids, attributes, revisions = zip(*chunk, strict=True)
        records = list(map(_decode, attributes))
        with transaction.atomic():
            n_left_out += assign(
                version.pk, model, labels, ids=ids, records=records, revisions=revisions, at=at
            )
        n_done += len(chunk)
        on_progress(n_done)
    return n_left_out


def _id_ranges() -> Iterator[IdRange]:
    """Bounds (above, at most) that part the customers in order of id; the last has no end."""
    above = ""
    ids = Customer.objects.order_by("customer_id").values_list("customer_id", flat=True)
    while end := ids.filter(customer_id__gt=above)[CHUNK - 1 : CHUNK].first():
        yield {"customer_id__gt": above, "customer_id__lte": end}
        above = end
    yield {"customer_id__gt": above}


def _unassigned_within(version: ModelVersion, bounds: IdRange) -> QuerySet[Customer]:
    """As `unassigned`. The bounds stand on both tables: where PostgreSQL does not know yet how many
    assignments there are, it would go through all of them for every chunk."""
    return Customer.objects.filter(~Exists(_fresh(version).filter(**bounds)), **bounds)


def assign_to_current_versions(*, directory: Path) -> list[str]:
    """Give new and changed customers their segment in each version that serves now, then in the
    newest candidate of each type, so that the two stay comparable.

    Returns what to tell of the versions that serve and could not assign every stored customer.
    Raises `DamagedArtifact` of a version that serves; a candidate says it when it is compared.
    """
    told = []
    for version in activation.active_versions():
        model = activation.load(version, directory=directory)
        if n_left_out := assign_stored_customers(version, model):
            told.append(
                f"Customers not assigned by {version}, since they lack a value that it needs: "
                f"{n_left_out:,}."
            )
    for version in activation.newest_candidates():
        with suppress(DamagedArtifact):
            assign_stored_customers(version, activation.load(version, directory=directory))
    return told


def activate(
    version: ModelVersion,
    *,
    reason: str,
    by: trail.Actor,
    at: datetime,
    directory: Path,
    limits: GateLimits = GateLimits(),  # noqa: B008 - frozen
    force: bool = False,
) -> Activation:
    """Let a version serve: verify its artifact, assign whom it lacks, check, move the pointer.

    Raises `ActivationRefused`, on a breached gate too unless forced; `DamagedArtifact` or
    `ActivationConflict`. Then nothing changed.
    """
    reason = activation.checked_reason(reason)
    pointer = activation.pointer_of(version.model_type)
    model = _ready(version, pointer, directory=directory)
    comparison = compare(version, pointer.active) if pointer.active else None
    gates = check_gates(version, model, comparison, limits=limits)
    if not force:
        activation.require_passed(version, gates)
    forced = any(gate.is_breached for gate in gates)
    move = Move(version, pointer.generation, reason, forced=forced, gates=gates)
    return _switch(move, model, by=by, at=at)


def roll_back(
    model_type: str,
    *,
    reason: str,
    by: trail.Actor,
    at: datetime,
    directory: Path,
    version: int | None = None,
    force: bool = False,
) -> Activation:
    """Activate the version that served before the active one.

    `version` is the number it is expected to have: a rollback that is asked for twice must not
    undo itself. Only a degenerate version needs force; no other gate is asked again. Raises as
    `activate` does.
    """
    reason = activation.checked_reason(reason)
    pointer = activation.pointer_of(model_type)
    previous = pointer.previous
    if previous is None:
        raise ActivationRefused(f"No version of {model_type} served before the active one.")
    if version not in (None, previous.number):
        raise ActivationConflict(
            f"{pointer.active} serves now, and {previous} is the version before it; look and try "
            "again."
        )
    gates = check_has_clusters(previous)
    if not force:
        activation.require_passed(previous, gates)
    model = _ready(previous, pointer, directory=directory)
    move = Move(
        previous, pointer.generation, reason, forced=bool(gates), is_rollback=True, gates=gates
    )
    return _switch(move, model, by=by, at=at)


def _ready(version: ModelVersion, pointer: ActiveModel, *, directory: Path) -> TrainedModel:
    """The verified model of a version that may serve, with every stored customer assigned."""
    if pointer.active_id == version.pk:
        raise ActivationRefused(f"{version} is already active.")
    activation.check_servable(version, directory=directory)
    model = activation.load(version, directory=directory)
    assign_stored_customers(version, model)
    return model


def _switch(move: Move, model: TrainedModel, *, by: trail.Actor, at: datetime) -> Activation:
    # Dated when it happens: by then many may have had to be assigned.
    entry = activation.move_pointer(move, by=by, at=max(at, timezone.now()))
    # Customers stored between the assigning and the move.
    assign_stored_customers(move.to_version, model)
    return entry
