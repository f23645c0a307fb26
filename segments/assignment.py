"""Who is in which segment: assigning stored customers to a version, and switching versions.

Every stored customer is assigned to a version before it serves, so the switch is instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress, repeat
from operator import itemgetter
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
from modelregistry.activation import ActivationRefused, Move
from modelregistry.artifacts import TrainedModel
from modelregistry.models import Activation, ActiveModel, ModelVersion
from segments.comparison import compare
from segments.gates import GateLimits, check_gates
from segments.models import Assignment, Customer, VersionSegment

CHUNK = 10_000
"""Customers assigned in one transaction."""
# The guard skips a customer erased or changed between reading and writing.
UPSERT = """INSERT INTO segments_assignment
        (version_id, customer_id, segment_id, distance, status, assigned_at, customer_revision)
    SELECT %s, customer_id, %s, %s, %s, %s, revision FROM segments_customer
    WHERE revision = %s AND customer_id = %s
    ON CONFLICT (version_id, customer_id) DO UPDATE
    SET segment_id = excluded.segment_id, distance = excluded.distance,
        status = excluded.status, assigned_at = excluded.assigned_at,
        customer_revision = excluded.customer_revision"""

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
    """Upsert the assignments of customers as they stood at their revisions, in one statement."""
    clusters = prediction.labels.tolist()
    rows = zip(
        repeat(version_id),
        map(labels.ids.__getitem__, clusters),
        prediction.distances.tolist(),
        prediction.status or repeat(""),
        repeat(connection.ops.adapt_datetimefield_value(at)),
        revisions,
        customer_ids,
        strict=False,  # the repeated values have no end
    )
    in_order: list[Any] = sorted(rows, key=itemgetter(-1))
    with connection.cursor() as cursor:
        cursor.executemany(UPSERT, in_order)


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


def assign_to_active_versions(*, directory: Path) -> None:
    """Give new and changed customers their segment in each version that serves now."""
    for version in activation.active_versions():
        assign_stored_customers(version, activation.load(version, directory=directory))


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
    forced = not all(gate.passed for gate in gates)
    move = Move(version, pointer.generation, reason, forced=forced, gates=gates)
    return _switch(move, model, by=by, at=at)


def roll_back(
    model_type: str, *, reason: str, by: trail.Actor, at: datetime, directory: Path
) -> Activation:
    """Activate the version that served before the active one; no gate asks it again."""
    reason = activation.checked_reason(reason)
    pointer = activation.pointer_of(model_type)
    if pointer.previous is None:
        raise ActivationRefused(f"No version of {model_type} served before the active one.")
    model = _ready(pointer.previous, pointer, directory=directory)
    move = Move(pointer.previous, pointer.generation, reason, forced=False, is_rollback=True)
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
    entry = activation.move_pointer(move, by=by, at=at)
    # Customers stored between the assigning and the move.
    assign_stored_customers(move.to_version, model)
    return entry
