"""Figures for Prometheus: all from the database, so every process and every restart tells the same.

Names are `segmentation_…` with their unit; what is counted never falls.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, product
from typing import Any

from django.db.models import Count, OuterRef, Subquery
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from modelregistry.models import ActiveModel, JobState, ModelType, ModelVersion, TrainingJob
from monitoring.models import (
    Alert,
    AlertState,
    Channel,
    DeliveryState,
    DriftReport,
    Notification,
    QualityPoint,
    Source,
    Verdict,
)
from monitoring.performance import MEASURES
from monitoring.serving import STEPS_A_DOUBLING, Calls, calls_ever, upper_bound_ms

PREFIX = "segmentation_"
OF_VERSION = ("model_type", "version")
DOUBLINGS = range(-1, 15)
"""Bounds of the latency histogram: from half a millisecond, doubled up to 16 seconds."""
QUALITY_WORDS = {
    "silhouette": "Mean silhouette, -1 to 1, higher is better.",
    "davies_bouldin": "Davies-Bouldin index, lower is better.",
    "calinski_harabasz": "Calinski-Harabasz index; compare checks of one size only.",
    "inertia_per_customer": "Mean squared distance to the mean of the segment.",
    "noise_share": "Share of customers without a segment.",
    "stability": "Mean adjusted Rand index with refits on bootstraps.",
}


class _Figures(Collector):
    """One reading; the number of queries does not depend on what there is."""

    def __init__(self, *, build: str) -> None:
        self.build = build

    def collect(self) -> Iterator[Metric]:
        yield _info("build", "What runs.", version=self.build, python=platform.python_version())
        yield from _serving()
        pointers = ActiveModel.objects.filter(active__isnull=False).select_related("active")
        versions = [pointer.active for pointer in pointers if pointer.active is not None]
        yield from _versions(versions)
        yield from _quality(versions)
        yield from _drift(versions)
        yield from _states()


def exposition(*, build: str) -> str:
    """All figures in Prometheus' text format 0.0.4; `build` is the version of the product."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(list(_Figures(build=build).collect())))
    return generate_latest(registry).decode()


class _Once(Collector):
    """Figures that were read before: a registry reads its collectors when they are registered."""

    def __init__(self, figures: Sequence[Metric]) -> None:
        self.figures = figures

    def collect(self) -> Iterable[Metric]:
        return self.figures


def _info(name: str, words: str, **labels: str) -> InfoMetricFamily:
    return InfoMetricFamily(PREFIX + name, words, value=labels)


def _gauge(name: str, words: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, words, labels=labels)


def _serving() -> Iterator[Metric]:
    requests = CounterMetricFamily(
        PREFIX + "predict_requests",
        "Calls of POST /predict by outcome; version none: no version answered.",
        labels=(*OF_VERSION, "outcome"),
    )
    customers = CounterMetricFamily(
        PREFIX + "predict_customers", "Customers that were predicted.", labels=OF_VERSION
    )
    latency = HistogramMetricFamily(
        PREFIX + "predict_latency_seconds", "Time of answered calls.", labels=("model_type",)
    )
    of_type = {str(model_type): Calls() for model_type in ModelType.values}
    for (model_type, number, _), calls in sorted(calls_ever().items()):
        labels = [model_type, str(number or "none")]
        for outcome, n in (
            ("answered", calls.n_requests),
            ("refused", calls.n_refused),
            ("failed", calls.n_failed),
        ):
            requests.add_metric([*labels, outcome], n)
        if number:
            customers.add_metric(labels, calls.n_customers)
        of_type.setdefault(model_type, Calls()).add(calls)
    for model_type, calls in of_type.items():
        latency.add_metric([model_type], _buckets(calls), calls.latency_ms_sum / 1e3)
    yield from (requests, customers, latency)


def _buckets(calls: Calls) -> list[tuple[str, float]]:
    """Answers up to each bound in seconds; exact, as each is a bound of ours, too."""
    bounds = [doubling * STEPS_A_DOUBLING for doubling in DOUBLINGS]
    counts = [0] * (len(bounds) + 1)
    for bucket, n in calls.latencies.items():
        place = next((i for i, bound in enumerate(bounds) if bucket <= bound), len(bounds))
        counts[place] += n
    names = [*(f"{upper_bound_ms(bound) / 1e3:.6g}" for bound in bounds), "+Inf"]
    return list(zip(names, map(float, accumulate(counts)), strict=True))


def _versions(versions: Sequence[ModelVersion]) -> Iterator[Metric]:
    number = _gauge("active_version", "Number of the version that serves.", ("model_type",))
    trained = _gauge("active_version_trained_timestamp_seconds", "When it was trained.", OF_VERSION)
    for version in versions:
        number.add_metric([version.model_type], version.number)
        trained.add_metric(_names(version), version.trained_at.timestamp())
    yield from (number, trained)


def _names(version: ModelVersion) -> list[str]:
    return [version.model_type, str(version.number)]


def _latest(model: Any, moment: str, source: str, versions: Sequence[ModelVersion]) -> list[Any]:
    """The newest row of each version that is about its stored customers; one query.

    What a file or a request held says nothing of how the version does.
    """
    newest = model.objects.filter(version=OuterRef("version"), **{source: Source.STORED})
    newest = newest.order_by(f"-{moment}", "-id")
    return list(
        model.objects.filter(version__in=versions, pk=Subquery(newest.values("pk")[:1]))
        .select_related("version")
        .order_by("version")
    )


def _quality(versions: Sequence[ModelVersion]) -> Iterator[Metric]:
    gauges = {name: _gauge(f"quality_{name}", QUALITY_WORDS[name], OF_VERSION) for name in MEASURES}
    measured = _gauge("quality_measured_timestamp_seconds", "When it was measured.", OF_VERSION)
    level = _gauge("quality_level", "1 for what the last check says.", (*OF_VERSION, "level"))
    shares = _gauge(
        "segment_share_ratio",
        "Share of the customers of the last check by segment; -1 is noise.",
        (*OF_VERSION, "segment"),
    )
    for point in _latest(QualityPoint, "measured_at", "report__source", versions):
        names = _names(point.version)
        measured.add_metric(names, point.measured_at.timestamp())
        for name, gauge in gauges.items():
            if getattr(point, name) is not None:
                gauge.add_metric(names, getattr(point, name))
        for known in ("ok", "warning", "alarm", "unknown"):
            level.add_metric([*names, known], float(point.level == known))
        for segment, share in point.shares.items():
            shares.add_metric([*names, segment], share)
    yield from (*gauges.values(), measured, level, shares)


def _drift(versions: Sequence[ModelVersion]) -> Iterator[Metric]:
    verdict = _gauge(
        "drift_verdict", "1 for the verdict of the last check.", (*OF_VERSION, "verdict")
    )
    checked = _gauge("drift_checked_timestamp_seconds", "When it was checked.", OF_VERSION)
    for report in _latest(DriftReport, "created_at", "source", versions):
        names = _names(report.version)
        checked.add_metric(names, report.created_at.timestamp())
        for known in Verdict.values:
            verdict.add_metric([*names, known], float(report.verdict == known))
    yield from (verdict, checked)


def _states() -> Iterator[Metric]:
    """Alerts, jobs and messages by state, those of no state being 0."""
    kinds = dict(Alert._meta.get_field("kind").choices or ())
    open_states = (AlertState.PENDING, AlertState.FIRING)
    yield _counts(
        "alerts", "Open alerts.", Alert.objects.unresolved(), {"kind": kinds, "state": open_states}
    )
    yield _counts(
        "training_jobs", "Trainings.", TrainingJob.objects.all(), {"state": JobState.values}
    )
    yield _counts(
        "notifications",
        "Messages of the outbox.",
        Notification.objects.all(),
        {"channel": Channel.values, "state": DeliveryState.values},
    )


def _counts(
    name: str, words: str, rows: Any, values: Mapping[str, Iterable[str]]
) -> GaugeMetricFamily:
    """How many rows have each combination of values of some fields; one query."""
    counted = {
        tuple(found): n
        for *found, n in rows.order_by().values_list(*values).annotate(n=Count("pk"))
    }
    gauge = _gauge(name, words, tuple(values))
    for labels in product(*values.values()):
        gauge.add_metric(list(labels), counted.get(labels, 0))
    return gauge
