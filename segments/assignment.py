"""Who is in which segment: assigning stored customers to a version, and switching versions.

Every stored customer is assigned to a version before it serves, so the switch is instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress, repeat
from operator import itemgetter
from pathlib import Path
from typing import Any

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
from modelregistry.models import Activation, ModelVersion
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
    fresh = Assignment.objects.filter(
        version=version, customer=OuterRef("pk"), customer_revision=OuterRef("revision")
    )
    return Customer.objects.filter(~Exists(fresh))


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
    last = ""
    while True:
        at = timezone.now()
        chunk = list(
            unassigned(version)
            .filter(customer_id__gt=last)
            .order_by("customer_id")
            .values_list("customer_id", "attributes_json", "revision")[:CHUNK]
        )
        if not chunk:
            return n_left_out
        last = chunk[-1][0]
        ids, attributes, revisions = zip(*chunk, strict=True)
        records = list(map(_decode, attributes))
        with transaction.atomic():
            n_left_out += assign(
                version.pk, model, labels, ids=ids, records=records, revisions=revisions, at=at
            )
        n_done += len(chunk)
        on_progress(n_done)


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
    force: bool = False,
    is_rollback: bool = False,
) -> Activation:
    """Let a version serve: verify its artifact, assign whom it lacks, move the pointer.

    Raises `ActivationRefused`, `DamagedArtifact` or `ActivationConflict`; then nothing changed.
    """
    reason = activation.checked_reason(reason)
    pointer = activation.pointer_of(version.model_type)
    if pointer.active_id == version.pk:
        raise ActivationRefused(f"{version} is already active.")
    activation.check_servable(version, directory=directory, force=force)
    model = activation.load(version, directory=directory)
    assign_stored_customers(version, model)
    move = Move(version, pointer.generation, reason, forced=force, is_rollback=is_rollback)
    entry = activation.move_pointer(move, by=by, at=at)
    # Customers stored between the assigning and the move.
    assign_stored_customers(version, model)
    return entry


def roll_back(
    model_type: str, *, reason: str, by: trail.Actor, at: datetime, directory: Path
) -> Activation:
    """Activate the version that served before the active one."""
    previous = activation.pointer_of(model_type).previous
    if previous is None:
        raise ActivationRefused(f"No version of {model_type} served before the active one.")
    return activate(
        previous,
        reason=reason,
        by=by,
        at=at,
        directory=directory,
        force=True,  # it served before, with its reasons recorded then
        is_rollback=True,
    )
