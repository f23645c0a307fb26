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

from ml.agreement import adjusted_rand_index
from ml.clusterers import NOISE, FloatArray, IntArray
from ml.features import RawColumns
from ml.quality import QualityBaseline, QualityLevel, compare_quality, refit
from ml.row_samples import sample_rows
from ml.scored import Scored
from ml.separation import separation
from modelregistry.artifacts import TrainedModel
from modelregistry.models import ModelVersion
from monitoring.alerts import Condition, Level
from monitoring.models import AlertKind, DriftReport, QualityPoint
from segments.assignment import SegmentLabels

BASELINE = "baseline"
"""Where the metrics of a version have what its silhouette is compared with."""
NOISE_KEY = str(NOISE)
"""Noise among the shares of segments."""
MAX_STABILITY_ROWS = 2_000
N_REFITS = 8
"""Refits a stability is the mean of: its standard error is then about .02."""
MIN_STABILITY_CUSTOMERS = 50
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
        stability=_stability(version, model, X, scored.labels) if with_stability else None,
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


def _stability(
    version: ModelVersion, model: TrainedModel, X: FloatArray, clusters: IntArray
) -> float | None:
    """Mean adjusted Rand index of the fixed clusters with those of refits on bootstraps.

    Source: Hennig (2007), Cluster-wise assessment of cluster stability; of the whole clustering as
    Fang and Wang (2012), Selection of the number of clusters via the bootstrap method.
    """
    if len(X) < MIN_STABILITY_CUSTOMERS:
        return None
    random_state = int(version.parameters.get("random_state", 0))
    rows = sample_rows(len(X), MAX_STABILITY_ROWS, random_state=random_state)
    sample, own = (X, clusters) if rows is None else (X[rows], clusters[rows])
    rng = np.random.default_rng(random_state)
    agreements = []
    for _ in range(N_REFITS):
        drawn = sample[rng.integers(len(sample), size=len(sample))]
        again = refit(drawn, model.clusters, version.parameters, n_rows=version.n_customers)
        found = np.full(len(own), NOISE) if again is None else again.predict(sample).labels
        agreements.append(adjusted_rand_index(_contingency(own, found)))
    return float(np.mean(agreements))


def _contingency(one: IntArray, other: IntArray) -> IntArray:
    n_groups = (int(one.max()) + 2, int(other.max()) + 2)
    counts = np.zeros(n_groups, dtype=np.int64)
    np.add.at(counts, (one - NOISE, other - NOISE), 1)
    return counts


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


def quality_condition(point: QualityPoint) -> Condition:
    """What a point says of quality loss."""
    version = point.version
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
        key=f"{AlertKind.QUALITY}:{version.model_type}",
        level=Level(point.level),
        title=f"Quality loss: {version}",
        summary=f"{version} segments current customers less well. {point.sentence}",
        advice=(
            "Look at the quality page of the version: which segments grew, and since when. If the "
            "change lasts, train a new version, compare it with this one and activate it."
        ),
        model_type=version.model_type,
        version=version,
        report=point.report,
        facts=tuple(facts),
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
