"""The silhouette of current customers against training: no false alarms, and blurs found."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from ml.clusterers import NOISE, FloatArray
from ml.evaluation import silhouette_values
from ml.fitting import Fit, fit_clusters
from ml.quality import (
    MIN_CUSTOMERS,
    QualityBaseline,
    QualityChange,
    QualityLevel,
    compare_quality,
    mean_silhouette,
)

CENTRES = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]])


def customers(n: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    return CENTRES[rng.integers(len(CENTRES), size=n)] + rng.normal(size=(n, 3))


@cache
def trained(n: int = 600, model_type: str = "kmeans") -> tuple[Fit, QualityBaseline]:
    parameters: dict[str, dict[str, object]] = {
        "kmeans": {"n_clusters": 4, "n_init": 2},
        "dbscan": {"eps": 0.9, "min_samples": 8},
    }
    X = customers(n, seed=0)
    fit = fit_clusters(model_type, X, parameters=parameters[model_type])
    baseline = QualityBaseline.fit(X, fit)
    assert baseline is not None
    return fit, baseline


def check(X: FloatArray, *, n_trained: int = 600, warned_before: bool = False) -> QualityChange:
    fit, baseline = trained(n_trained)
    return compare_quality(
        baseline,
        X,
        fit.model.predict(X).labels,
        threshold=0.05,
        checks_per_year=52,
        warned_before=warned_before,
        random_state=0,
    )


def blurred(X: FloatArray, seed: int = 0) -> FloatArray:
    """Half of the customers halfway to the centre of a random segment."""
    rng = np.random.default_rng(seed)
    chosen = rng.random(len(X)) < 0.5
    goals = CENTRES[rng.integers(len(CENTRES), size=len(X))]
    return np.where(chosen[:, None], X + 0.5 * (goals - X), X)


def test_the_mean_is_the_one_of_the_silhouettes() -> None:
    X = customers(200, seed=1)
    labels = np.random.default_rng(2).integers(4, size=200)

    found = mean_silhouette(X, labels)

    assert found is not None
    assert found.mean == pytest.approx(silhouette_values(cdist(X, X), labels).mean())


def test_the_standard_error_is_how_far_samples_differ() -> None:
    model = trained()[0].model
    samples = [customers(200, seed) for seed in range(150)]

    found = [mean_silhouette(X, model.predict(X).labels) for X in samples]

    spread = np.std([each.mean for each in found if each])
    stated = np.mean([each.standard_error for each in found if each])
    assert stated == pytest.approx(spread, rel=0.2)


def test_unchanged_customers_rarely_seem_worse_at_any_size() -> None:
    alarms = [
        check(customers(n, seed), n_trained=n_trained).level != QualityLevel.OK
        for n_trained in (300, 600)
        for n in (60, 200, 1_000)
        for seed in range(100, 120)
    ]

    assert np.mean(alarms) <= 0.05 + 2 * (0.05 * 0.95 / len(alarms)) ** 0.5


def test_a_sample_of_another_size_is_expected_to_score_otherwise() -> None:
    fit, baseline = trained(300)
    means = {
        n: np.mean(
            [
                found.mean
                for seed in range(40)
                if (found := mean_silhouette(X := customers(n, seed), fit.model.predict(X).labels))
            ]
        )
        for n in (60, 1_000)
    }

    for n, mean in means.items():
        assert baseline.expected(n) == pytest.approx(mean, abs=0.02)
    assert baseline.expected(60) < baseline.expected(1_000) < baseline.silhouette + 0.02


def test_a_blur_is_found() -> None:
    levels = [check(blurred(customers(200, seed), seed)).level for seed in range(20)]

    assert levels.count(QualityLevel.OK) <= 1


def test_a_strong_loss_is_an_alarm_at_once_and_says_so() -> None:
    change = check(blurred(customers(2_000, seed=5)))

    assert change.level == QualityLevel.ALARM
    assert change.drop is not None and change.drop > 0.1
    assert change.z is not None and change.z < -5
    assert "less distinct than at training" in change.sentence


def test_a_warning_after_a_warning_is_an_alarm() -> None:
    X = customers(150, seed=3)
    shares = np.linspace(0.02, 1.0, 99)
    slightly = next(
        partly
        for share in shares
        if check(partly := np.where(np.arange(150)[:, None] < share * 150, blurred(X), X)).level
        == QualityLevel.WARNING
    )

    assert check(slightly, warned_before=True).level == QualityLevel.ALARM


def test_a_trifle_is_no_loss_however_sure() -> None:
    X = customers(20_000, seed=6)
    X[:400] = blurred(X[:400])

    change = check(X)

    assert change.level == QualityLevel.OK
    assert change.drop is not None and change.drop < 0.02


def test_better_separated_customers_are_no_alarm() -> None:
    fit, _ = trained()
    X = customers(500, seed=7)
    tighter = CENTRES[cdist(X, CENTRES).argmin(axis=1)] * 0.5 + X * 0.5

    change = check(tighter)

    assert change.level == QualityLevel.OK
    assert change.p_value == pytest.approx(1.0)
    assert change.drop is not None and change.drop < 0


@pytest.mark.parametrize("n", [0, 1, MIN_CUSTOMERS - 1])
def test_few_customers_leave_it_unknown(n: int) -> None:
    change = check(customers(n, seed=8).reshape(n, 3))

    assert change.level == QualityLevel.UNKNOWN
    assert f"{n:,} customers" in change.sentence
    assert change.z is change.drop is None


def test_one_segment_noise_only_and_no_baseline_are_unknown() -> None:
    X = customers(200, seed=9)
    _, baseline = trained()
    cases = [
        (baseline, np.zeros(200, dtype=np.int64), "in one segment"),
        (baseline, np.full(200, NOISE), "0 customers have a segment"),
        (None, np.arange(200) % 4, "At training no silhouette"),
    ]

    for known, labels, words in cases:
        change = compare_quality(
            known,
            X,
            labels,
            threshold=0.05,
            checks_per_year=1,
            warned_before=True,
            random_state=0,
        )
        assert change.level == QualityLevel.UNKNOWN
        assert words in change.sentence


def test_identical_customers_do_not_break_it() -> None:
    X = np.repeat(CENTRES, 50, axis=0)

    change = check(X)

    assert change.level == QualityLevel.OK
    assert change.silhouette is not None and change.silhouette.mean == 1.0


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        compare_quality(
            None,
            customers(10, seed=1),
            np.zeros(9, dtype=np.int64),
            threshold=0.05,
            checks_per_year=1,
            warned_before=False,
            random_state=0,
        )


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_a_baseline_survives_json_and_is_the_same_each_time(model_type: str) -> None:
    fit, baseline = trained(600, model_type)

    read = QualityBaseline.from_dict(json.loads(json.dumps(baseline.to_dict(), allow_nan=False)))

    assert read == baseline == QualityBaseline.fit(customers(600, seed=0), fit)
    assert baseline.optimism >= 0 and baseline.size_effect >= 0


def test_a_clustering_without_a_silhouette_has_no_baseline() -> None:
    X = customers(100, seed=1)
    fit = fit_clusters("dbscan", X, parameters={"eps": 50.0, "min_samples": 5})

    assert QualityBaseline.fit(X, fit) is None
