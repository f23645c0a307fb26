"""Comparing current customers with the reference of the active version, and keeping the report.

One engine for the API and `check_drift`; only the caller decides who is current.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from django.db import transaction

from audit import trail
from ml.drift import compare
from modelregistry import activation
from monitoring.models import DriftReport
from segments.assignment import SegmentLabels
from segments.models import Customer

MAX_CURRENT = 200_000
"""Stored customers compared at the most, the latest first."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def check_drift(
    model_type: str,
    records: Sequence[Mapping[str, Any]],
    *,
    source: str,
    threshold: float,
    directory: Path,
    by: trail.Actor,
    at: datetime,
) -> DriftReport:
    """Compare, store the report, leave one audit entry.

    A value of the wrong kind counts as missing: it is a signal here, not an input error. Raises
    `NoActiveVersion` or `DamagedArtifact`.
    """
    version = activation.active_version(model_type)
    model = activation.load(version, directory=directory)
    raw = model.encoder.raw_from_records(records, strict=False)
    prediction = model.clusters.predict(model.encoder.encode(raw))
    result = compare(model.profile, raw, prediction.labels, threshold=threshold)
    report = named_segments(result.to_dict(), SegmentLabels.of(version))
    with transaction.atomic():
        stored = DriftReport.objects.create(
            model_type=model_type,
            version=version,
            verdict=result.verdict,
            summary=result.summary,
            source=source,
            n_reference=result.n_reference,
            n_current=result.n_current,
            threshold=threshold,
            report=report,
            created_at=at,
            created_by=by.label,
        )
        trail.record(
            "drift.checked",
            by=by,
            target=("drift_report", stored.pk),
            n_items=result.n_current,
            details={"version": str(version), "verdict": result.verdict, "source": source},
        )
    return stored


def named_segments(report: dict[str, Any], labels: SegmentLabels) -> dict[str, Any]:
    """The report with each cluster under the id and name of its segment."""
    segments = [
        {
            "segment": labels.ids.get(shift["cluster"]),
            "segment_name": labels.names.get(shift["cluster"]),
            **{key: value for key, value in shift.items() if key != "cluster"},
        }
        for shift in report["segments"]
    ]
    return {**report, "segments": segments}


def recent_records(since: datetime) -> list[dict[str, Any]]:
    """The customers stored or changed since a moment, the latest first, up to a limit."""
    rows = (
        Customer.objects.filter(updated_at__gte=since)
        .order_by("-updated_at", "customer_id")
        .values_list("attributes_json", flat=True)[:MAX_CURRENT]
    )
    return [_decode(row) for row in rows]
