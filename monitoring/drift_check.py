"""Comparing current customers with the reference of the active version, and keeping the report.

One engine for the API and `check_drift`; only the caller decides who is current.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from django.db import transaction

from audit import trail
from ml.drift import Floors, compare
from ml.scored import score
from ml.unreadable import unreadable_values
from modelregistry import activation
from modelregistry.models import ModelVersion
from monitoring.models import DriftReport, Verdict
from segments.assignment import SegmentLabels
from segments.models import Customer

MAX_CURRENT = 200_000
"""Stored customers compared at the most, the latest first."""
YEAR = timedelta(days=365)

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def check_drift(
    model_type: str,
    records: Sequence[Mapping[str, Any]],
    *,
    source: str,
    threshold: float,
    interval: timedelta,
    directory: Path,
    by: trail.Actor,
    at: datetime,
    floors: Floors = Floors(),  # noqa: B008 - frozen
) -> DriftReport:
    """Compare, store the report, leave one audit entry.

    A value of the wrong kind counts as missing: it is a signal here, not an input error. One
    finding alone is drift at `threshold` shared among the checks of a year, one each `interval`;
    a weaker one is a warning, and drift when the check before warned of the same. Raises
    `NoActiveVersion` or `DamagedArtifact`.
    """
    version = activation.active_version(model_type)
    model = activation.load(version, directory=directory)
    labels = SegmentLabels.of(version)
    schema = model.encoder.schema
    raw = model.encoder.raw_from_records(records, strict=False)
    random_state = int(version.parameters.get("random_state", 0))
    result = compare(
        model.profile,
        raw,
        score(
            model.encoder,
            model.clusters,
            raw,
            random_state=random_state,
            ignores_own_place=model.profile.ignores_own_place,
        ),
        threshold=threshold,
        checks_per_year=max(1.0, YEAR / interval),
        previous_subjects=previous_subjects(version, source=source, before=at - interval / 2),
        floors=floors,
        days_since_training=max(0, (at.date() - schema.as_of).days),
        unreadable=unreadable_values(schema, records, raw),
        segment_names={cluster: name for cluster, name in labels.names.items() if name},
        random_state=random_state,
    )
    report = named_segments(result.to_dict(), labels)
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


def previous_subjects(version: ModelVersion, *, source: str, before: datetime) -> list[str]:
    """What the last check of the same kind found, if it was of other customers.

    A check soon after another sees much the same customers and confirms nothing.
    """
    last = (
        DriftReport.objects.filter(version=version, source=source, created_at__lte=before)
        .exclude(verdict=Verdict.INSUFFICIENT_DATA)
        .order_by("-created_at", "-id")
        .first()
    )
    return [] if last is None else list(last.report.get("subjects", []))


def named_segments(report: dict[str, Any], labels: SegmentLabels) -> dict[str, Any]:
    """The report with each cluster under the id and name of its segment."""

    def named(shift: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "segment": labels.ids.get(shift["cluster"]),
            "segment_name": labels.names.get(shift["cluster"]),
            **{key: value for key, value in shift.items() if key != "cluster"},
        }

    return {**report, **{key: list(map(named, report[key])) for key in ("segments", "inside")}}


def recent_records(since: datetime) -> list[dict[str, Any]]:
    """The customers stored or changed since a moment, the latest first, up to a limit."""
    rows = (
        Customer.objects.filter(updated_at__gte=since)
        .order_by("-updated_at", "customer_id")
        .values_list("attributes_json", flat=True)[:MAX_CURRENT]
    )
    return [_decode(row) for row in rows]
