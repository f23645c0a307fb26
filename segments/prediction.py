"""Segments for customers that a client sends: the hot path. No pandas, no scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec
from django.db import transaction

from audit import trail
from ml.clusterers import Prediction
from ml.records import ID_FIELD, InvalidRecords, RecordProblem, RecordTable, check_table
from modelregistry.activation import NoActiveVersion
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import ModelType
from segments.assignment import SegmentLabels, assign
from segments.customers import upsert_customers
from segments.explanations import Explanation, explained
from segments.serving import ServingVersion, serving_model

AUDIT_ACTION = "segments.predicted"
MODEL_TYPE_TARGET = "model_type"
"""Target of the entry of a prediction call that no version answered."""


class CustomerSegment(msgspec.Struct, frozen=True, gc=False):
    """One answer; `segment` is null for DBSCAN's noise.

    `distance` is infinite, and null in JSON, when a DBSCAN version has no core sample at all.
    """

    customer_id: str | None
    segment: int | None
    segment_name: str | None
    distance: float


class DensityCustomerSegment(CustomerSegment, frozen=True, gc=False):
    """DBSCAN's answer also says core, border or noise."""

    status: str


class ExplainedCustomerSegment(CustomerSegment, frozen=True, gc=False):
    explanation: Explanation


class ExplainedDensityCustomerSegment(DensityCustomerSegment, frozen=True, gc=False):
    explanation: Explanation


ANSWERS: Mapping[tuple[bool, bool], type[CustomerSegment]] = {
    (False, False): CustomerSegment,
    (False, True): ExplainedCustomerSegment,
    (True, False): DensityCustomerSegment,
    (True, True): ExplainedDensityCustomerSegment,
}
"""By whether the answer has a status and an explanation."""


@dataclass(frozen=True, slots=True)
class PredictedSegments:
    """Predictions in the order of the records, and the one version that made them all."""

    version: ServingVersion
    predictions: Sequence[CustomerSegment]
    n_stored: int


def predict_segments(
    model_type: str,
    body: object,
    *,
    store: bool,
    explain: bool,
    max_records: int,
    max_explained_records: int,
    directory: Path,
    by: trail.Actor,
    at: datetime,
) -> PredictedSegments:
    """Predict, store the customers who have an id unless told not to, leave one audit entry.

    The answer is about the records as they were sent, and says why if told to explain; a stored
    customer keeps the attributes that a record does not name, and is assigned by all of them.

    Raises `InvalidRecords`, `NoActiveVersion` or `DamagedArtifact`; then nothing is stored.
    """
    table = check_table(body, max_records=max_records)
    records = table.records
    if explain and len(records) > max_explained_records:
        detail = f"with explain=true the list may hold at most {max_explained_records:,} records"
        raise InvalidRecords([RecordProblem(-1, None, "too-many", detail)], 1)
    version, model = serving_model(model_type, directory=directory)
    encoded = model.encoder.encode_records(records, table=table)
    prediction = model.clusters.predict(encoded)
    explanations = explained(model, version.labels, encoded) if explain else None
    answer = _answer(table, prediction, version.labels, explanations)
    known = [i for i, record in enumerate(records) if ID_FIELD in record] if store else []
    with transaction.atomic():
        if known:
            _store([records[i] for i in known], directory=directory, at=at)
        trail.record(
            AUDIT_ACTION,
            by=by,
            target=("model_version", str(version)),
            status_code=200,
            n_items=len(records),
            details={"n_stored": len(known), "artifact_sha256": version.artifact.sha256},
        )
    return PredictedSegments(version, answer, len(known))


def _answer(
    table: RecordTable,
    prediction: Prediction,
    labels: SegmentLabels,
    explanations: Sequence[Explanation] | None,
) -> list[CustomerSegment]:
    clusters = prediction.labels.tolist()
    columns: list[Iterable[Any]] = [
        _customer_ids(table),
        map(labels.ids.__getitem__, clusters),
        map(labels.names.__getitem__, clusters),
        prediction.distances.tolist(),
    ]
    if prediction.status is not None:
        columns.append(prediction.status)
    if explanations is not None:
        columns.append(explanations)
    kind = ANSWERS[prediction.status is not None, explanations is not None]
    return list(map(kind, *columns))


def _customer_ids(table: RecordTable) -> Iterable[Any]:
    if table.columns is not None:
        return table.columns.get(ID_FIELD, repeat(None))
    return map(dict.get, table.records, repeat(ID_FIELD))


def _store(records: Sequence[dict[str, Any]], *, directory: Path, at: datetime) -> None:
    """Upsert customers and assign them to every version that serves, not the asked one only."""
    rows = {}
    for record in records:
        attributes = dict(record)
        rows[attributes.pop(ID_FIELD)] = attributes
    stored = upsert_customers(rows, at=at)
    for model_type in ModelType.values:
        try:
            # Read within the transaction: an activation meanwhile must find them assigned.
            version, model = serving_model(model_type, directory=directory)
        except (NoActiveVersion, DamagedArtifact):  # that type is assigned when it serves again
            continue
        assign(
            version.id,
            model,
            version.labels,
            ids=stored.ids,
            records=stored.attributes,
            revisions=stored.revisions,
            at=at,
        )
