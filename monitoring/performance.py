"""How well a version segments the customers of each check: a point of its series, and its verdict.

The first point of a series is training; each check adds one. Nothing here needs labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from ml.clusterers import NOISE, IntArray
from ml.features import RawColumns
from ml.quality import QualityBaseline, QualityLevel, compare_quality, could_see
from ml.scored import Scored
from ml.separation import separation
from ml.stability import stability
from modelregistry.artifacts import TrainedModel
from modelregistry.models import ModelVersion
from monitoring.alerts import Condition, Level
from monitoring.drift_alerts import half_an_interval
from monitoring.drift_troubles import COMPARABLE_SHARE
from monitoring.models import Alert, AlertKind, DriftReport, QualityPoint
from segments.assignment import SegmentLabels

BASELINE = "baseline"
"""Where the metrics of a version have what its silhouette is compared with."""
NOISE_KEY = str(NOISE)
"""Noise among the shares of segments."""
MEASURES = (
    *("silhouette", "davies_bouldin", "calinski_harabasz"),
    *("inertia_per_customer", "noise_share", "stability"),
)
MAX_POINTS = 100
"""Points of a series that are shown at the most, the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How strictly a silhouette is judged; the words are those of `ml.quality`."""

    threshold: float
    checks_per_year: float
    warned_before: bool


def measure(
    version: ModelVersion,
    model: TrainedModel,
    raw: RawColumns,
    scored: Scored,
    labels: SegmentLabels,
    *,
    watch: Watch,
    with_stability: bool,
    at: datetime,
    report: DriftReport | None = None,
) -> QualityPoint | None:
    """The point of one check, not yet saved; None without customers. Touches no database.

    `raw` are the customers, `scored` their clusters as the drift check knows them. The stability
    fits the model again, which a web process must not: it loads scikit-learn.
    """
    if not len(scored.labels):
        return None
    seen = raw if scored.rows is None else {name: raw[name][scored.rows] for name in raw}
    X = model.encoder.encode(seen)
    random_state = int(version.parameters.get("random_state", 0))
    change = compare_quality(
        baseline_of(version),
        X,
        scored.labels,
        threshold=watch.threshold,
        checks_per_year=watch.checks_per_year,
        warned_before=watch.warned_before,
        random_state=random_state,
    )
    clustered = scored.labels != NOISE
    apart = separation(X[clustered], scored.labels[clustered])
    found = change.silhouette
    return QualityPoint(
        version=version,
        report=report,
        measured_at=at,
        n_customers=scored.n_customers(raw),
        silhouette=found.mean if found else None,
        silhouette_se=found.standard_error if found else None,
        n_silhouette=found.n_customers if found else 0,
        silhouette_z=change.z if change.z is not None and math.isfinite(change.z) else None,
        davies_bouldin=apart.davies_bouldin,
        calinski_harabasz=apart.calinski_harabasz,
        inertia_per_customer=apart.inertia_per_customer,
        noise_share=float(1.0 - clustered.mean()),
        stability=stability(
            X, scored.labels, model.clusters, version.parameters, n_rows=version.n_customers
        )
        if with_stability
        else None,
        shares=_shares(scored.labels, labels),
        level=change.level,
        sentence=change.sentence,
    )


def baseline_of(version: ModelVersion) -> QualityBaseline | None:
    """What the version's silhouette is compared with; versions of older releases have none."""
    values = version.metrics.get(BASELINE)
    return None if values is None else QualityBaseline.from_dict(values)


def _shares(clusters: IntArray, labels: SegmentLabels) -> dict[str, float]:
    """Share of customers by segment id, every segment of the version among them."""
    counts = np.bincount(clusters - NOISE, minlength=1 - NOISE).tolist()
    shares = {str(segment): 0.0 for segment in labels.ids.values() if segment is not None}
    for cluster, n_customers in enumerate(counts, start=NOISE):
        if n_customers:
            segment = labels.ids.get(cluster)
            key = NOISE_KEY if segment is None else str(segment)
            shares[key] = shares.get(key, 0.0) + n_customers / len(clusters)
    return shares


# What is made of it.


def warned_before(version: ModelVersion, *, source: str, before: datetime) -> bool:
    """Whether the last check of the same kind that could judge warned; one query.

    A check soon after another sees much the same customers and confirms nothing.
    """
    last = (
        version.quality.filter(report__source=source, measured_at__lte=before)
        .exclude(level=QualityLevel.UNKNOWN)
        .order_by("-measured_at", "-id")
        .first()
    )
    return last is not None and last.level in (QualityLevel.WARNING, QualityLevel.ALARM)


def quality_condition(point: QualityPoint, *, report: DriftReport) -> Condition:
    """What the point of a report says of quality loss, of customers of the report's source.

    As with drift, what a file says of its customers resolves nothing of the stored ones; nor does
    a check that found nothing, but of too few customers to find what the alert tells of.
    """
    version = point.version
    key = f"{AlertKind.QUALITY}:{version.model_type}:{report.source}"
    level = Level(point.level)
    if level == Level.OK and not _would_show(key, point, report):
        level = Level.UNKNOWN
    trained = baseline_of(version)
    facts = [("Customers", f"{point.n_customers:,}")]
    if point.silhouette is not None and trained is not None:
        expected = trained.expected(point.n_silhouette)
        facts += [
            ("Silhouette now", f"{point.silhouette:.3f} ± {point.silhouette_se:.3f}"),
            ("Silhouette expected", f"{expected:.3f}"),
        ]
    if point.stability is not None:
        facts.append(("Stability", f"{point.stability:.2f}"))
    return Condition(
        kind=AlertKind.QUALITY,
        key=key,
        level=level,
        title=f"Quality loss: {version}",
        summary=f"{version} segments current customers less well. {point.sentence}",
        advice=(
            "Look at the quality page of the version: which segments grew, and since when. If the "
            "change lasts, train a new version, compare it with this one and activate it."
        ),
        model_type=version.model_type,
        version=version,
        report=report,
        facts=tuple(facts),
        apart=half_an_interval(report),
    )


def _would_show(key: str, point: QualityPoint, report: DriftReport) -> bool:
    """Whether the loss that an open alert tells of would most likely show in a point; one query.

    In one of hardly fewer customers it would, or is told no less than then.
    """
    of_alert = Alert.objects.unresolved().filter(key=key)
    told = QualityPoint.objects.filter(version=point.version, report__alerts__in=of_alert).first()
    trained = baseline_of(point.version)
    if told is None or told.silhouette is None or trained is None or point.silhouette_se is None:
        return True
    if point.n_silhouette >= COMPARABLE_SHARE * told.n_silhouette:
        return True
    return could_see(
        trained.expected(told.n_silhouette) - told.silhouette,
        trained,
        point.silhouette_se,
        threshold=report.threshold,
        checks_per_year=report.arguments["checks_per_year"],
    )


def training_point(version: ModelVersion) -> dict[str, Any]:
    """The figures of training, by the names of a point."""
    figures = {name: version.metrics.get(name) for name in MEASURES}
    sd, n = version.metrics.get("silhouette_sd"), version.metrics.get("n_silhouette") or 0
    trained = baseline_of(version)
    error = trained.standard_error if trained else sd / math.sqrt(n) if n and sd else None
    return {
        "measured_at": version.trained_at,
        "n_customers": version.n_customers,
        **figures,
        "silhouette_se": error,
        "n_silhouette": n,
        "shares": {
            str(part.segment_id): part.share for part in version.segments.order_by("cluster")
        },
        "level": None,
        "sentence": "At training.",
    }


def series(version: ModelVersion, *, limit: int = MAX_POINTS) -> list[Mapping[str, Any]]:
    """Training first, then the latest measured points, oldest first; two queries."""
    latest = version.quality.order_by("-measured_at", "-id")[:limit]
    return [training_point(version), *map(point_figures, reversed(latest))]


def point_figures(point: QualityPoint) -> dict[str, Any]:
    """A measured point as `training_point` gives that of training."""
    return {
        "measured_at": point.measured_at,
        "n_customers": point.n_customers,
        **{name: getattr(point, name) for name in MEASURES},
        "silhouette_se": point.silhouette_se,
        "n_silhouette": point.n_silhouette,
        "shares": point.shares,
        "level": point.level,
        "sentence": point.sentence,
    }
