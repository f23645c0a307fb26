"""Stability: near 1 for what is found again, the same each time; None where it says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from ml.clusterers import NOISE, FloatArray
from ml.fitting import Fit, fit_clusters
from ml.stability import MAX_STABILITY_ROWS, MIN_STABILITY_CUSTOMERS, stability

PARAMETERS: dict[str, dict[str, object]] = {
    "kmeans": {"n_clusters": 3, "n_init": 2},
    "dbscan": {"eps": 0.6, "min_samples": 6},
}


def customers(n: int, *, apart: float, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    centres = apart * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return centres[np.arange(n) % 3] + rng.normal(size=(n, 2)) * 0.5


def stability_of(X: FloatArray, fit: Fit) -> float | None:
    return stability(X, fit.labels, fit.model, fit.parameters, n_rows=len(X))


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_clusters_far_apart_are_found_again(model_type: str) -> None:
    X = customers(300, apart=8.0)
    fit = fit_clusters(model_type, X, parameters=PARAMETERS[model_type])

    found = stability_of(X, fit)

    assert found is not None and found > 0.9
    assert stability_of(X, fit) == found


def test_a_blob_is_cut_in_another_place_each_time() -> None:
    X = customers(300, apart=0.0)

    found = stability_of(X, fit_clusters("kmeans", X, parameters=PARAMETERS["kmeans"]))

    assert found is not None and found < 0.7


def test_of_very_many_customers_a_sample_is_refitted(monkeypatch: pytest.MonkeyPatch) -> None:
    X = customers(MAX_STABILITY_ROWS + 1_000, apart=8.0)
    fit = fit_clusters("kmeans", X, parameters=PARAMETERS["kmeans"])
    n_rows: list[int] = []

    def noted(rows: FloatArray, *args: object, **kwargs: object) -> None:
        n_rows.append(len(rows))

    monkeypatch.setattr("ml.stability.refit", noted)
    found = stability_of(X, fit)

    assert set(n_rows) == {MAX_STABILITY_ROWS}
    assert found == pytest.approx(0.0, abs=1e-12)  # refits without any cluster agree on nothing


def test_few_customers_or_one_group_say_nothing() -> None:
    X = customers(MIN_STABILITY_CUSTOMERS, apart=8.0)
    fit = fit_clusters("kmeans", X, parameters=PARAMETERS["kmeans"])

    for rows, labels in ((X[:-1], fit.labels[:-1]), (X, np.full(len(X), NOISE))):
        assert stability(rows, labels, fit.model, fit.parameters, n_rows=len(X)) is None
