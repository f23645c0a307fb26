"""Quality figures against scikit-learn's and by hand; what counts as degenerate."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn import metrics

from ml.clusterers import NOISE
from ml.evaluation import degenerate_reason, evaluate, silhouette_values


def labelled_rows(*, n_rows: int = 200, n_clusters: int = 4, n_noise: int = 0, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_clusters, size=n_rows)
    X = rng.normal(size=(n_rows, 3)) + 3.0 * labels[:, None]
    labels[:n_noise] = NOISE
    return X, labels


def test_figures_worked_by_hand():
    X = np.array([[0.0], [2.0], [10.0], [12.0]])
    labels = np.array([0, 0, 1, 1])

    quality = evaluate(X, labels, random_state=0)

    # The outer rows: a = 2, b = 11; the inner ones: a = 2, b = 9.
    assert quality.silhouette == pytest.approx((9 / 11 + 7 / 9) / 2)
    assert quality.silhouette_sd == pytest.approx((9 / 11 - 7 / 9) / 2)
    # Mean distance to the centre is 1 in both, the centres lie 10 apart.
    assert quality.davies_bouldin == pytest.approx((1 + 1) / 10)
    # Between: 4 rows, 5 from the mean; within: 4 rows, 1 from theirs; degrees of freedom 1 and 2.
    assert quality.calinski_harabasz == pytest.approx((100 / 1) / (4 / 2))
    assert quality.inertia_per_customer == pytest.approx(1.0)
    assert (quality.n_clusters, quality.sizes, quality.noise_share) == (2, (2, 2), 0.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 80), st.integers(2, 6), st.integers(0, 1_000))
def test_figures_are_scikit_learns(n_rows, n_clusters, seed):
    X, labels = labelled_rows(n_rows=n_rows, n_clusters=n_clusters, seed=seed)
    labels[:2] = [0, 1]
    if len(set(labels.tolist())) == n_rows:
        labels[2:] = 0

    quality = evaluate(X, labels, random_state=0)

    assert quality.silhouette == pytest.approx(metrics.silhouette_score(X, labels), abs=1e-9)
    samples = metrics.silhouette_samples(X, labels)
    assert quality.silhouette_sd == pytest.approx(samples.std(), abs=1e-9)
    assert quality.davies_bouldin == pytest.approx(
        metrics.davies_bouldin_score(X, labels), rel=1e-9
    )
    assert quality.calinski_harabasz == pytest.approx(
        metrics.calinski_harabasz_score(X, labels), rel=1e-9
    )
    centres = np.array(
        [X[labels == c].mean(axis=0) for c in range(labels.max() + 1) if c in labels]
    )
    nearest_own = centres[np.unique(labels, return_inverse=True)[1]]
    assert quality.inertia_per_customer == pytest.approx(
        ((X - nearest_own) ** 2).sum(axis=1).mean(), rel=1e-9
    )


def test_each_silhouette_is_scikit_learns_also_alone_in_a_cluster():
    X, labels = labelled_rows()
    labels[0] = 9

    values = silhouette_values(cdist(X, X), labels)

    np.testing.assert_allclose(values, metrics.silhouette_samples(X, labels), atol=1e-12)
    assert values[0] == 0.0


@pytest.mark.parametrize("label", [0, NOISE])
def test_one_row_has_no_figures_but_its_place(label):
    quality = evaluate(np.array([[1.0, 2.0]]), np.array([label]), random_state=0)

    assert quality.silhouette is quality.davies_bouldin is quality.calinski_harabasz is None
    assert quality.inertia_per_customer == (0.0 if label == 0 else None)
    assert quality.noise_share == (0.0 if label == 0 else 1.0)


def test_rows_in_one_place_have_no_silhouette_to_speak_of():
    values = silhouette_values(np.zeros((4, 4)), np.array([0, 0, 1, 1]))

    assert values.tolist() == [0.0] * 4


def test_silhouettes_of_one_cluster_are_refused():
    with pytest.raises(ValueError, match="at least two clusters"):
        silhouette_values(np.zeros((3, 3)), np.zeros(3, dtype=np.int64))


def test_noise_is_counted_and_left_out():
    X, labels = labelled_rows(n_rows=200, n_noise=50)
    kept = labels != NOISE

    quality = evaluate(X, labels, random_state=0)
    alone = evaluate(X[kept], labels[kept], random_state=0)

    assert quality.noise_share == pytest.approx(0.25)
    assert sum(quality.sizes) == 150
    assert quality.silhouette == alone.silhouette
    assert quality.davies_bouldin == alone.davies_bouldin
    assert quality.inertia_per_customer == alone.inertia_per_customer


def test_a_seeded_sample_stands_for_a_big_table():
    X, labels = labelled_rows(n_rows=3_000)

    sampled = evaluate(X, labels, random_state=5, max_rows=1_000)

    assert sampled == evaluate(X, labels, random_state=5, max_rows=1_000)
    assert sampled.n_silhouette == 1_000
    assert sampled.silhouette == pytest.approx(metrics.silhouette_score(X, labels), abs=0.03)
    assert sampled.silhouette != evaluate(X, labels, random_state=6, max_rows=1_000).silhouette


@pytest.mark.parametrize("labels", [[NOISE] * 4, [0] * 4, [0, NOISE, NOISE, 1]])
def test_undefined_figures_are_none(labels):
    X = np.arange(4.0)[:, None]

    quality = evaluate(X, np.array(labels), random_state=0)

    assert quality.silhouette is quality.silhouette_sd is None
    assert quality.davies_bouldin is quality.calinski_harabasz is None
    assert quality.n_silhouette == 0


def test_noise_alone_has_no_inertia():
    quality = evaluate(np.ones((3, 1)), np.full(3, NOISE), random_state=0)

    assert quality.inertia_per_customer is None
    assert quality.sizes == ()


def test_quality_is_plain_data():
    quality = evaluate(*labelled_rows(n_noise=3), random_state=0)

    assert json.loads(json.dumps(quality.to_dict(), allow_nan=False)) == quality.to_dict()


@pytest.mark.parametrize(
    "labels, reason",
    [
        ([NOISE] * 6, "every customer is noise"),
        ([0] * 6, "Only one cluster"),
        ([0, 1, NOISE, NOISE, NOISE, NOISE], "66.7% of the customers are noise, more than 50%"),
    ],
)
def test_a_clustering_that_does_not_segment_says_why(labels, reason):
    quality = evaluate(np.arange(6.0)[:, None], np.array(labels), random_state=0)

    assert reason in degenerate_reason(quality)


def test_two_clusters_and_half_noise_are_not_degenerate():
    labels = np.array([0, 0, 1, NOISE, NOISE, NOISE])

    quality = evaluate(np.arange(6.0)[:, None], labels, random_state=0)

    assert degenerate_reason(quality) is None


@pytest.mark.parametrize(
    "X, labels, message",
    [
        (np.empty((0, 1)), [], "no rows"),
        (np.ones((2, 1)), [0], r"labels: expected shape \(2,\)"),
        (np.ones((2, 1)), [0, -2], "labels: expected -1 or more"),
        (np.array([[np.nan]]), [0], "row 0, column 0"),
    ],
)
def test_bad_input_is_refused(X, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluate(X, np.array(labels, dtype=np.int64), random_state=0)
