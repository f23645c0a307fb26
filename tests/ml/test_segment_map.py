"""The plane of a map: which directions it takes, how much they show, what they are made of."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from ml.clusterers import DBSCANModel, KMeansModel
from ml.features import Feature, FeatureSchema, Kind
from ml.segment_map import axis_parts, cluster_centres, fit_plane

CENTRES = np.array([[0.0, 0.0, 0.0], [6.0, 0.0, 0.0], [0.0, 2.0, 0.0]])


def test_the_axes_follow_the_centres_the_longer_way_first() -> None:
    plane = fit_plane(
        np.array([[-3.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]),
        np.ones(4),
        np.eye(3),
    )

    assert np.allclose(plane.axes, [[1, 0, 0], [0, 1, 0]])
    assert np.allclose(plane.between_shares, [0.9, 0.1])
    assert np.allclose(plane.place(np.array([[2.0, 5.0, 9.0]])), [[2.0, 5.0]])


def test_a_centre_counts_by_its_customers() -> None:
    plane = fit_plane(CENTRES, np.array([1000.0, 1.0, 1000.0]), np.eye(3))

    assert np.allclose(plane.origin, 1000 / 2001 * CENTRES[2] + 1 / 2001 * CENTRES[1])
    assert abs(plane.axes[0, 1]) > 0.99


def test_two_centres_leave_the_second_axis_to_the_customers() -> None:
    X = np.array([[0.0, 0.0, 4.0], [6.0, 0.0, -4.0], [0.0, 1.0, 4.0], [6.0, -1.0, -4.0]])

    plane = fit_plane(CENTRES[:2], np.ones(2), X)

    assert np.allclose(plane.axes, [[1, 0, 0], [0, 0, 1]], atol=0.2)
    assert np.allclose(plane.axes @ plane.axes.T, np.eye(2))
    assert np.allclose(plane.between_shares, [1.0, 0.0])


@pytest.mark.parametrize("n_centres", [0, 1])
def test_without_a_difference_between_centres_the_customers_decide(n_centres: int) -> None:
    X = np.array([[0.0, 9.0, 1.0], [0.0, -9.0, 1.0], [0.0, 0.0, -1.0], [0.0, 0.0, -1.0]])

    plane = fit_plane(CENTRES[:n_centres], np.ones(n_centres), X)

    assert np.allclose(plane.axes, [[0, 1, 0], [0, 0, 1]])
    assert plane.total_shares.sum() == pytest.approx(1.0)


def test_a_direction_that_nobody_has_is_an_axis_of_zeros() -> None:
    plane = fit_plane(np.array([[1.0], [3.0]]), np.ones(2), np.array([[1.0], [3.0]]))

    assert np.allclose(plane.axes, [[1.0], [0.0]])
    assert plane.place(np.array([[5.0]])).tolist() == [[3.0, 0.0]]


def test_it_does_not_depend_on_the_order_of_the_centres() -> None:
    rng = np.random.default_rng(0)
    centres, X, order = rng.normal(size=(5, 4)), rng.normal(size=(50, 4)), [3, 1, 4, 0, 2]
    weights = np.arange(1.0, 6.0)

    first = fit_plane(centres, weights, X)
    second = fit_plane(centres[order], weights[order], X)

    assert np.allclose(first.axes, second.axes)


def test_centres_of_dbscan_are_the_means_of_its_core_samples() -> None:
    samples = np.array([[0.0], [2.0], [10.0]])
    model = DBSCANModel(samples, np.array([0, 0, 1], dtype=np.int64), 1.0)

    assert cluster_centres(model).tolist() == [[1.0], [10.0]]
    assert cluster_centres(KMeansModel(samples)).tolist() == samples.tolist()


def test_an_axis_is_told_by_features_the_largest_first() -> None:
    common = {"log": False, "mean": 0.0, "scale": 1.0, "fill": 0.0, "imputed": False}
    schema = FeatureSchema(
        (
            Feature("spend", Kind.NUMBER, low=0.0, high=1.0, **common),
            Feature("since", Kind.DATE, low=0.0, high=1.0, **common),
            Feature("shop", Kind.CATEGORY, low=0.0, high=0.0, levels=("a", "b"), **common),
        ),
        (),
        date(2026, 1, 1),
        10,
    )

    parts = axis_parts(schema, np.array([0.0, 0.6, 0.0, -0.8]))

    assert [(p.feature, p.column, p.is_more) for p in parts] == [
        ("shop", "shop = b", False),
        ("since", "since", False),  # more days before the training is earlier
    ]
    assert [round(p.share, 2) for p in parts] == [0.64, 0.36]
