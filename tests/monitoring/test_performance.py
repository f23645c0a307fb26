"""One point of a version's quality: its figures, its verdict, and what alerts are told."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.conf import settings

from ml.clusterers import NOISE
from ml.evaluation import evaluate
from ml.scored import Scored, score
from ml.stability import MAX_STABILITY_ROWS
from modelregistry import activation
from modelregistry.models import ModelVersion
from monitoring.alerts import Level
from monitoring.models import AlertKind, DriftReport, QualityPoint
from monitoring.performance import (
    Watch,
    baseline_of,
    measure,
    quality_condition,
    series,
    warned_before,
)
from segments.assignment import SegmentLabels
from tests.factories import TrainedModels, make_records
from tests.monitoring.alert_rows import make_alert

AT = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
WATCH = Watch(threshold=0.05, checks_per_year=52.0, warned_before=False)


def measured(
    version: ModelVersion, records: list[dict[str, Any]], *, with_stability: bool = False
) -> QualityPoint | None:
    model = activation.load(version, directory=settings.MODEL_DIR)
    raw = model.encoder.raw_from_records(records, strict=False)
    scored = score(model.encoder, model.clusters, raw, random_state=0)
    return measure(
        version,
        model,
        raw,
        scored,
        SegmentLabels.of(version),
        watch=WATCH,
        with_stability=with_stability,
        at=AT,
    )


def saved(version: ModelVersion, **fields: Any) -> QualityPoint:
    values = {
        "measured_at": AT,
        "n_customers": 100,
        "noise_share": 0.0,
        "level": "ok",
        "sentence": "Fine.",
        **fields,
    }
    return QualityPoint.objects.create(version=version, **values)


def reported(version: ModelVersion, *, source: str = "stored") -> DriftReport:
    return DriftReport.objects.create(
        model_type=version.model_type,
        version=version,
        verdict="ok",
        summary="-",
        source=source,
        n_reference=1,
        n_seen=1,
        n_current=1,
        threshold=0.05,
        arguments={"checks_per_year": 52.0},
        report={},
        created_at=AT,
        created_by="tests",
    )


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_the_training_customers_score_as_at_training(
    trained: TrainedModels, model_type: str
) -> None:
    version = getattr(trained, model_type)

    point = measured(version, trained.records)

    assert point is not None and point.level == Level.OK
    for name in ("silhouette", "inertia_per_customer", "davies_bouldin", "calinski_harabasz"):
        assert getattr(point, name) == pytest.approx(version.metrics[name], rel=1e-6), name
    assert point.noise_share == pytest.approx(version.metrics["noise_share"], abs=1e-12)
    assert sum(point.shares.values()) == pytest.approx(1.0)
    assert set(point.shares) - {str(NOISE)} == {str(s.segment_id) for s in version.segments.all()}
    assert point.stability is None


def test_new_customers_of_the_same_kind_are_fine_and_others_are_not(
    trained: TrainedModels,
) -> None:
    same = make_records(n_customers=1_000, random_state=5)
    rng = np.random.default_rng(0)
    shuffled = [dict(record) for record in same]
    for name in same[0]:
        order = rng.permutation(len(same))
        for record, place in zip(shuffled, order, strict=True):
            record[name] = same[place].get(name)

    fine, worse = measured(trained.kmeans, same), measured(trained.kmeans, shuffled)

    assert fine is not None and fine.level == Level.OK
    assert worse is not None and worse.level == Level.ALARM
    assert worse.silhouette_z is not None and worse.silhouette_z < -3


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_the_training_customers_are_as_stable_as_at_training(
    trained: TrainedModels, model_type: str
) -> None:
    version = getattr(trained, model_type)

    point = measured(version, trained.records, with_stability=True)

    assert point is not None and point.stability is not None
    assert point.stability == pytest.approx(version.metrics["stability"], abs=0.01)
    assert 0.2 < point.stability <= 1.0


def test_few_customers_make_a_point_without_a_verdict(trained: TrainedModels) -> None:
    point = measured(trained.kmeans, trained.records[:20], with_stability=True)

    assert point is not None
    assert (point.level, point.n_customers, point.stability) == (Level.UNKNOWN, 20, None)
    assert point.inertia_per_customer is not None


def test_nobody_is_no_point(trained: TrainedModels) -> None:
    model = activation.load(trained.kmeans, directory=settings.MODEL_DIR)
    nobody = Scored(np.empty(0, dtype=np.int64), np.empty(0))
    raw = {name: values[:0] for name, values in model.encoder.raw_from_records(
        trained.records, strict=False).items()}  # fmt: skip

    point = measure(
        trained.kmeans,
        model,
        raw,
        nobody,
        SegmentLabels.of(trained.kmeans),
        watch=WATCH,
        with_stability=True,
        at=AT,
    )

    assert point is None


def test_noise_only_is_measured_without_a_verdict(trained: TrainedModels) -> None:
    far = [
        {k: v * 1e6 + 1e9 if isinstance(v, float) else v for k, v in record.items()}
        for record in trained.records
    ]

    point = measured(trained.dbscan, far)

    assert point is not None and point.level == Level.UNKNOWN
    assert (point.noise_share, point.silhouette) == (1.0, None)
    assert point.shares[str(NOISE)] == 1.0


def test_a_version_of_an_older_release_has_no_verdict(trained: TrainedModels) -> None:
    version = ModelVersion.objects.get(pk=trained.kmeans.pk)
    version.metrics = {k: v for k, v in version.metrics.items() if k != "baseline"}

    point = measured(version, trained.records)

    assert baseline_of(version) is None
    assert point is not None and point.level == Level.UNKNOWN
    assert point.silhouette is not None


def test_many_customers_take_little_time(trained: TrainedModels) -> None:
    model = activation.load(trained.kmeans, directory=settings.MODEL_DIR)
    few = model.encoder.raw_from_records(trained.records, strict=False)
    many = {name: np.tile(values, 167)[:50_000] for name, values in few.items()}
    scored = score(model.encoder, model.clusters, many, random_state=0)
    started = time.process_time()

    point = measure(
        trained.kmeans,
        model,
        many,
        scored,
        SegmentLabels.of(trained.kmeans),
        watch=WATCH,
        with_stability=True,
        at=AT,
    )

    assert time.process_time() - started < 5.0
    assert point is not None
    assert (point.n_customers, point.n_silhouette) == (50_000, MAX_STABILITY_ROWS)


def test_a_condition_names_the_version_and_its_figures(trained: TrainedModels) -> None:
    point = saved(
        trained.kmeans,
        level="alarm",
        silhouette=0.1,
        silhouette_se=0.01,
        n_silhouette=100,
        sentence="Worse.",
    )

    condition = quality_condition(point, report=reported(trained.kmeans))

    assert (condition.kind, condition.level) == (AlertKind.QUALITY, Level.ALARM)
    assert condition.key == "quality:kmeans:stored"
    assert (condition.version, condition.model_type) == (trained.kmeans, "kmeans")
    assert condition.summary.endswith("Worse.")
    assert ("Silhouette now", "0.100 ± 0.010") in condition.facts


@pytest.mark.parametrize(
    ("n", "error", "state", "level"),
    [
        (1_000, 0.01, "firing", Level.OK),
        (500, 0.06, "firing", Level.OK),  # hardly fewer
        (60, 0.06, "firing", Level.UNKNOWN),
        (60, 0.01, "firing", Level.OK),  # few, and yet enough for so large a loss
        (60, 0.06, "resolved", Level.OK),  # nothing is left to resolve
    ],
)
def test_a_check_that_could_not_see_the_loss_resolves_nothing(
    trained: TrainedModels, n: int, error: float, state: str, level: Level
) -> None:
    baseline = baseline_of(trained.kmeans)
    assert baseline is not None
    first, later = reported(trained.kmeans), reported(trained.kmeans)
    lost = baseline.expected(1_000) - 0.1
    saved(trained.kmeans, report=first, level="alarm", silhouette=lost, n_silhouette=1_000)
    made = make_alert(
        key="quality:kmeans:stored",
        kind=AlertKind.QUALITY,
        version=trained.kmeans,
        report=first,
        state=state,
        resolved_at=AT if state == "resolved" else None,
    )
    point = saved(
        trained.kmeans,
        report=later,
        silhouette=baseline.expected(n),
        silhouette_se=error,
        n_silhouette=n,
    )

    condition = quality_condition(point, report=later)

    assert (condition.key, condition.level) == (made.key, level)


def test_the_check_before_of_the_same_source_is_asked(trained: TrainedModels) -> None:
    report = reported(trained.kmeans)
    saved(trained.kmeans, level="warning", report=report, measured_at=AT - timedelta(days=3))
    saved(trained.kmeans, level="unknown", report=report, measured_at=AT - timedelta(days=2))
    saved(trained.kmeans, level="ok", report=report, measured_at=AT)

    def before(days: int, source: str = "stored") -> bool:
        return warned_before(trained.kmeans, source=source, before=AT - timedelta(days=days))

    assert before(1)
    assert not before(0) and not before(4) and not before(1, source="request")


def test_a_series_begins_at_training(trained: TrainedModels) -> None:
    for days in range(3):
        saved(trained.kmeans, measured_at=AT + timedelta(days=days), n_customers=days)

    training, *points = series(trained.kmeans, limit=2)

    for name in ("silhouette", "stability"):
        assert training[name] == trained.kmeans.metrics[name] is not None
    assert training["measured_at"] == trained.kmeans.trained_at
    assert [point["n_customers"] for point in points] == [1, 2]
    assert points[0].keys() == training.keys()


def test_the_baseline_is_of_the_training_customers(trained: TrainedModels) -> None:
    version = trained.kmeans
    model = activation.load(version, directory=settings.MODEL_DIR)
    X = model.encoder.encode(model.encoder.raw_from_records(trained.records, strict=False))
    quality = evaluate(X, model.clusters.predict(X).labels, random_state=0)

    baseline = baseline_of(version)

    assert baseline is not None and quality.silhouette is not None
    assert baseline.silhouette == pytest.approx(quality.silhouette)
    assert baseline.n_customers == len(trained.records)
