"""Fits of large tables: what a sample decides, what it may not change, and what it gives up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import cluster_fits
from ml.cluster_fits import (
    continue_kmeans,
    distinct_rows,
    fit_dbscan,
    fit_kmeans,
    n_density_rows,
    samples_in_fit,
)
from ml.clusterers import NOISE, FloatArray, IntArray
from ml.fitting import fit_clusters

ROOT = Path(__file__).resolve().parents[2]
CENTRES = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
LIMIT = 200


def blobs(*, n_rows: int = 1_200, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Three blobs that nobody could mistake, the first the biggest and the last the smallest."""
    rng = np.random.default_rng(seed)
    own = rng.choice(3, size=n_rows, p=[0.5, 0.3, 0.2])
    return CENTRES[own] + rng.normal(size=(n_rows, 2)), own


@pytest.fixture
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_fits, "MAX_DENSITY_ROWS", LIMIT)
    monkeypatch.setattr(cluster_fits, "MAX_START_ROWS", LIMIT)


# --- DBSCAN -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("_small_limits")
def test_a_sample_finds_the_clusters_of_the_whole_table():
    X, own = blobs()

    model, labels = fit_dbscan(X, eps=1.5, min_samples=60)

    clustered = labels != NOISE
    assert clustered.mean() > 0.95
    assert labels[clustered].tolist() == own[clustered].tolist()
    assert 0 < len(model.core_samples) <= LIMIT
    rows = set(map(tuple, X))
    assert all(tuple(core) in rows for core in model.core_samples)


@pytest.mark.usefixtures("_small_limits")
def test_a_sampled_fit_labels_every_row_as_predict_does():
    X = np.vstack([blobs()[0], np.random.default_rng(1).uniform(-30, 50, size=(300, 2))])

    model, labels = fit_dbscan(X, eps=1.0, min_samples=40)

    assert labels.tolist() == model.predict(X).labels.tolist()
    assert NOISE in labels


@pytest.mark.usefixtures("_small_limits")
def test_the_same_places_count_as_dense_in_a_sample():
    X = np.vstack([blobs()[0], [[200.0, 200.0]] * 30])  # a place with 30 customers of 1,230

    dense = fit_dbscan(X, eps=1.0, min_samples=15)[0].predict(X[-1:]).labels
    sparse = fit_dbscan(X, eps=1.0, min_samples=90)[0].predict(X[-1:]).labels

    assert dense != NOISE
    assert sparse == NOISE


def test_a_cluster_too_small_for_the_sample_is_given_up(monkeypatch: pytest.MonkeyPatch):
    X = np.vstack([blobs(n_rows=1_000)[0], [[200.0, 200.0]] * 3])
    exact = fit_dbscan(X, eps=2.0, min_samples=3)[1]
    monkeypatch.setattr(cluster_fits, "MAX_DENSITY_ROWS", 20)

    sampled = fit_dbscan(X, eps=2.0, min_samples=3)[1]

    assert (exact[-3:] != NOISE).all()
    assert (sampled[-3:] == NOISE).all()


@pytest.mark.usefixtures("_small_limits")
@settings(max_examples=15, deadline=None)
@given(random=st.randoms(use_true_random=False), seed=st.integers(0, 3))
def test_the_order_of_rows_does_not_change_a_sampled_fit(random, seed):
    X = np.round(blobs(n_rows=600, seed=seed)[0], 1)  # some rows occur more than once
    order = list(range(len(X)))
    random.shuffle(order)

    model, labels = fit_dbscan(X, eps=1.0, min_samples=20, random_state=seed)
    shuffled_model, shuffled = fit_dbscan(X[order], eps=1.0, min_samples=20, random_state=seed)

    assert shuffled.tolist() == labels[order].tolist()
    assert shuffled_model.core_samples.tobytes() == model.core_samples.tobytes()


@pytest.mark.usefixtures("_small_limits")
def test_the_seed_chooses_the_sample():
    X, _ = blobs()

    models = [fit_dbscan(X, eps=1.5, min_samples=60, random_state=s)[0] for s in (1, 1, 2)]

    once, again, other = (model.core_samples.tobytes() for model in models)
    assert once == again != other


def test_up_to_the_limit_every_row_is_fitted(monkeypatch: pytest.MonkeyPatch):
    X, _ = blobs(n_rows=LIMIT)
    model, labels = fit_dbscan(X, eps=1.0, min_samples=5)
    monkeypatch.setattr(cluster_fits, "MAX_DENSITY_ROWS", LIMIT)

    same_model, same = fit_dbscan(X, eps=1.0, min_samples=5, random_state=9)

    assert same.tolist() == labels.tolist()
    assert same_model.core_samples.tobytes() == model.core_samples.tobytes()


@pytest.mark.parametrize(
    ("min_samples", "n_rows", "expected"),
    [
        (20, 10_000, 20),
        (20, 30_000, 20),
        (20, 60_000, 10),
        (10_000, 1_000_000, 300),
        (20, 1_000_000, 2),  # .6 of a customer: one would make every sampled row a core sample
        (1, 1_000_000, 1),
    ],
)
def test_min_samples_keeps_its_share_of_the_customers(min_samples, n_rows, expected):
    assert samples_in_fit(min_samples, n_rows) == expected
    assert n_density_rows(n_rows) == min(n_rows, 30_000)


@pytest.mark.usefixtures("_small_limits")
@pytest.mark.parametrize(
    ("model_type", "n_rows", "expected"),
    [("dbscan", LIMIT, None), ("dbscan", LIMIT + 1, LIMIT), ("kmeans", LIMIT + 1, None)],
)
def test_a_fit_says_how_many_rows_it_was_made_from(model_type, n_rows, expected):
    parameters = {"dbscan": {"eps": 1.5, "min_samples": 10}, "kmeans": {"n_clusters": 3}}
    X, _ = blobs(n_rows=n_rows)

    fit = fit_clusters(model_type, X, parameters=parameters[model_type])

    assert fit.n_fitted == expected
    assert len(fit.labels) == n_rows


@pytest.mark.usefixtures("_small_limits")
def test_the_random_state_of_a_fit_chooses_its_sample():
    X, _ = blobs()
    stated = {"eps": 1.5, "min_samples": 60}

    fits = [
        fit_clusters("dbscan", X, parameters=stated, random_state=seed).model for seed in (1, 2)
    ]

    one, other = (fit.arrays()["core_samples"].tobytes() for fit in fits)
    assert one != other


# --- k-means ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("_small_limits")
def test_starts_that_compete_on_a_sample_end_with_a_fit_of_all_rows():
    X, own = blobs()

    model, labels = fit_kmeans(X, n_clusters=3, random_state=0)

    assert labels.tolist() == own.tolist()
    means = [X[own == cluster].mean(axis=0) for cluster in range(3)]
    np.testing.assert_allclose(model.centers, means, atol=1e-9)


@pytest.mark.usefixtures("_small_limits")
def test_a_sampled_start_costs_next_to_no_inertia(monkeypatch: pytest.MonkeyPatch):
    X = np.random.default_rng(4).normal(size=(2_000, 5))  # no clusters: the hardest for a start
    sampled = float(
        np.sum(fit_kmeans(X, n_clusters=4, random_state=0)[0].predict(X).distances ** 2)
    )
    monkeypatch.setattr(cluster_fits, "MAX_START_ROWS", len(X))

    whole = float(np.sum(fit_kmeans(X, n_clusters=4, random_state=0)[0].predict(X).distances ** 2))

    assert sampled <= 1.02 * whole


@pytest.mark.usefixtures("_small_limits")
@settings(max_examples=15, deadline=None)
@given(random=st.randoms(use_true_random=False), seed=st.integers(0, 3))
def test_the_order_of_rows_does_not_change_a_sampled_start(random, seed):
    X = np.round(np.random.default_rng(seed).normal(size=(500, 3)), 1)
    order = list(range(len(X)))
    random.shuffle(order)

    model, labels = fit_kmeans(X, n_clusters=4, n_init=3, random_state=seed)
    other, shuffled = fit_kmeans(X[order], n_clusters=4, n_init=3, random_state=seed)

    assert shuffled.tolist() == labels[order].tolist()
    assert other.centers.tobytes() == model.centers.tobytes()


@pytest.mark.usefixtures("_small_limits")
def test_a_retrain_of_a_large_table_continues_the_active_centres():
    X, own = blobs()

    _, labels, warm_started = continue_kmeans(X, initial_centers=CENTRES[::-1], random_state=0)

    assert warm_started
    assert labels.tolist() == own.tolist()


@pytest.mark.usefixtures("_small_limits")
def test_a_sample_may_hold_fewer_different_rows_than_clusters():
    X = np.vstack([np.zeros((2_000, 1)), np.arange(1.0, 6.0)[:, None]])

    model, labels = fit_kmeans(X, n_clusters=6, random_state=0)

    assert labels[0] == 0
    assert model.n_clusters == len(set(labels.tolist()))


# --- both -------------------------------------------------------------------------------------


def test_the_number_of_threads_changes_no_sampled_fit():
    program = (
        "import hashlib, numpy as np; from ml import cluster_fits\n"
        "cluster_fits.MAX_DENSITY_ROWS = cluster_fits.MAX_START_ROWS = 1000\n"
        "X = np.random.default_rng(0).normal(size=(4000, 6))\n"
        "kmeans, _ = cluster_fits.fit_kmeans(X, n_clusters=8, n_init=2, random_state=0)\n"
        "dbscan, labels = cluster_fits.fit_dbscan(X, eps=1.5, min_samples=20)\n"
        "arrays = kmeans.centers, dbscan.core_samples, labels\n"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in arrays)).hexdigest())"
    )

    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n},
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for n in "12"
    }

    assert len(digests) == 1


@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
def test_folded_rows_are_contiguous_whatever_the_table_s_layout(layout):
    X = np.random.default_rng(2).normal(size=(50, 3))

    rows, counts, inverse = distinct_rows(layout(X))

    assert rows.flags.c_contiguous
    assert counts.tolist() == [1] * 50
    assert rows[inverse].tobytes() == X.tobytes()
