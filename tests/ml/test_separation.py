"""Davies-Bouldin, Calinski-Harabasz and inertia: by hand, and as scikit-learn has them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from ml.separation import Separation, separation


def test_two_pairs_worked_by_hand() -> None:
    rows = np.array([[0.0], [2.0], [10.0], [12.0]])

    found = separation(rows, np.array([0, 0, 1, 1]))

    assert found.inertia_per_customer == 1.0
    assert found.davies_bouldin == pytest.approx((1 + 1) / 10)
    assert found.calinski_harabasz == pytest.approx((100 / 1) / (4 / 2))


def test_the_indices_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(500, 4)), rng.integers(5, size=500) * 2

    found = separation(rows, labels)

    assert found.davies_bouldin == pytest.approx(metrics.davies_bouldin_score(rows, labels))
    assert found.calinski_harabasz == pytest.approx(metrics.calinski_harabasz_score(rows, labels))


@pytest.mark.parametrize(
    ("rows", "labels", "expected"),
    [
        (np.empty((0, 2)), [], Separation(None, None, None)),
        (np.array([[1.0], [3.0]]), [0, 0], Separation(None, None, 1.0)),
        (np.array([[1.0], [3.0]]), [0, 1], Separation(None, None, 0.0)),
        (np.array([[1.0], [1.0], [1.0]]), [0, 1, 1], Separation(None, None, 0.0)),
    ],
    ids=["nobody", "one cluster", "everybody alone", "all alike"],
)
def test_what_is_not_defined_is_none(
    rows: np.ndarray, labels: list[int], expected: Separation
) -> None:
    assert separation(rows, np.array(labels, dtype=np.int64)) == expected
