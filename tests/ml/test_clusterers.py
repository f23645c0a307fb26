"""Trained models as arrays: predict, both fits, and what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import DBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score

from ml import cluster_fits, clusterers
from ml.cluster_fits import (
    WARM_START_TOLERANCE,
    canonical_order,
    continue_kmeans,
    distinct_rows,
    fit_dbscan,
    fit_kmeans,
)
from ml.clusterers import (
    EPS_TOLERANCE,
    MODEL_CLASSES,
    NOISE,
    ClusterModel,
    DBSCANModel,
    KMeansModel,
)
from ml.eps_selection import choose_eps
from ml.owners import Owners

PLAIN = st.floats(-100, 100, allow_subnormal=False)
DIGESTS = np.array([3, 2**64 - 1, 9], dtype=np.uint64)
# Few values and few columns: most rows occur more than once and most distances are ties.
LIKERT = hnp.arrays(
    np.float64,
    st.tuples(st.integers(4, 60), st.integers(1, 3)),
    elements=st.integers(1, 5).map(float),
)


def blobs(*, n_rows: int = 300, n_columns: int = 4, n_blobs: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-8, 8, size=(n_blobs, n_columns))
    return centers[rng.integers(n_blobs, size=n_rows)] + rng.normal(size=(n_rows, n_columns))


def kmeans_model() -> KMeansModel:
    return KMeansModel(np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]))


def dbscan_model() -> DBSCANModel:
    return DBSCANModel(np.array([[0.0, 0.0], [0.5, 0.0], [9.0, 9.0]]), np.array([0, 0, 1]), 1.0)


def same_partition(one, other) -> bool:
    """Equal up to the names of the clusters, noise included."""
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    noise_agrees = np.array_equal(one == NOISE, other == NOISE)
    return noise_agrees and len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


def test_kmeans_finds_the_nearest_centre_and_its_distance():
    model = kmeans_model()

    prediction = model.predict(np.array([[1.0, 0.0], [4.0, 3.0], [-3.0, 8.0]]))

    assert prediction.labels.tolist() == [0, 1, 2]
    assert prediction.distances.tolist() == [1.0, 3.0, 5.0]
    assert prediction.core is None
    assert prediction.status is None


def test_kmeans_gives_a_row_between_two_centres_to_the_lower_label():
    prediction = kmeans_model().predict(np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 2.0]]))

    assert prediction.labels.tolist() == [0, 0, 0]


def test_dbscan_tells_core_border_and_noise_apart():
    model = dbscan_model()

    prediction = model.predict(np.array([[0.5, 0.0], [0.0, 1.0], [9.0, 8.5], [0.0, 1.5]]))

    assert prediction.labels.tolist() == [0, 0, 1, NOISE]
    assert prediction.status == ["core", "border", "border", "noise"]
    assert prediction.distances.tolist() == [0.0, 1.0, 0.5, 1.5]


def test_dbscan_without_core_samples_calls_everything_noise():
    model = DBSCANModel(np.empty((0, 2)), np.empty(0, dtype=np.int64), 1.0)

    prediction = model.predict(np.zeros((2, 2)))

    assert model.n_clusters == 0
    assert prediction.labels.tolist() == [NOISE, NOISE]
    assert prediction.status == ["noise", "noise"]


@pytest.mark.parametrize("model", [kmeans_model(), dbscan_model()], ids=["kmeans", "dbscan"])
def test_no_rows_get_no_answers(model: ClusterModel):
    prediction = model.predict(np.empty((0, 2)))

    assert prediction.labels.shape == prediction.distances.shape == (0,)
    assert prediction.labels.dtype == np.int64
    assert not prediction.status


@settings(max_examples=60, deadline=None)
@given(
    rows=hnp.arrays(np.float64, st.tuples(st.integers(1, 40), st.just(5)), elements=PLAIN),
    centers=hnp.arrays(np.float64, st.tuples(st.integers(1, 9), st.just(5)), elements=PLAIN),
)
def test_a_row_alone_gets_the_answer_it_gets_in_a_batch(rows, centers):
    labels = np.arange(len(centers), dtype=np.int64)
    for model in (KMeansModel(centers), DBSCANModel(centers, labels, 20.0)):
        batch = model.predict(rows)

        alone = [model.predict(rows[i : i + 1]) for i in range(len(rows))]

        assert np.concatenate([one.labels for one in alone]).tolist() == batch.labels.tolist()
        distances = np.concatenate([one.distances for one in alone])
        assert distances.tobytes() == batch.distances.tobytes()


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda X: np.repeat(X, 2, axis=1)[:, ::2]])
def test_the_layout_of_the_rows_in_memory_changes_no_bit(layout):
    rng = np.random.default_rng(3)
    rows, model = rng.normal(size=(500, 15)), KMeansModel(rng.normal(size=(6, 15)))

    plain, laid_out = model.predict(rows), model.predict(layout(rows))

    assert plain.distances.tobytes() == laid_out.distances.tobytes()


def test_chunks_change_no_bit(monkeypatch):
    rng = np.random.default_rng(4)
    rows, model = rng.normal(size=(1_000, 7)), KMeansModel(rng.normal(size=(5, 7)))
    whole = model.predict(rows)
    monkeypatch.setattr(clusterers, "CHUNK_CELLS", 37)

    chunked = model.predict(rows)

    assert whole.labels.tobytes() == chunked.labels.tobytes()
    assert whole.distances.tobytes() == chunked.distances.tobytes()


@pytest.mark.parametrize("n_clusters", [2, 3, 6])
def test_kmeans_is_as_good_as_scikit_learns(n_clusters):
    X = blobs(n_blobs=n_clusters, seed=n_clusters)
    theirs = KMeans(n_clusters=n_clusters, n_init=10, random_state=1).fit(X)

    model, labels = fit_kmeans(X, n_clusters=n_clusters, random_state=1)

    inertia = float(np.sum(model.predict(X).distances ** 2))
    assert inertia == pytest.approx(theirs.inertia_, rel=0.01)
    assert adjusted_rand_score(theirs.labels_, labels) > 0.98


def test_kmeans_predicts_like_scikit_learn_from_the_same_centres():
    X = blobs(n_blobs=5, n_columns=6)
    theirs = KMeans(n_clusters=5, n_init=2, random_state=0).fit(X)
    new = np.random.default_rng(9).normal(scale=6, size=(2_000, 6))

    prediction = KMeansModel(theirs.cluster_centers_).predict(new)

    assert prediction.labels.tolist() == theirs.predict(new).tolist()
    nearest = theirs.transform(new).min(axis=1)
    np.testing.assert_allclose(prediction.distances, nearest, rtol=1e-9)


def test_kmeans_returns_the_labels_that_predict_gives():
    X = blobs(n_rows=500, n_blobs=2)

    model, labels = fit_kmeans(X, n_clusters=7, random_state=0)

    assert labels.tolist() == model.predict(X).labels.tolist()


def test_the_biggest_cluster_comes_first():
    X = np.array([[0.0]] * 2 + [[50.0]] * 5 + [[-50.0]] * 3)

    _, kmeans_labels = fit_kmeans(X, n_clusters=3, random_state=0)
    _, dbscan_labels = fit_dbscan(X, eps=1.0, min_samples=2)

    expected = [2] * 2 + [0] * 5 + [1] * 3
    assert kmeans_labels.tolist() == dbscan_labels.tolist() == expected


def test_clusters_of_one_size_are_ordered_by_their_centres():
    sizes = np.array([3, 5, 3, 3])
    centers = np.array([[1.0, 9.0], [7.0, 0.0], [1.0, 2.0], [0.0, 5.0]])

    order = canonical_order(sizes, centers)

    assert order.tolist() == [1, 3, 2, 0]


@settings(max_examples=20, deadline=None)
@given(LIKERT, st.randoms(use_true_random=False))
def test_permuting_rows_permutes_labels(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    n_clusters = min(2, len(np.unique(rows, axis=0)))

    kmeans, labels = fit_kmeans(rows, n_clusters=n_clusters, n_init=2, random_state=0)
    again, permuted = fit_kmeans(rows[order], n_clusters=n_clusters, n_init=2, random_state=0)
    _, dense = fit_dbscan(rows, eps=1.0, min_samples=3)
    _, dense_permuted = fit_dbscan(rows[order], eps=1.0, min_samples=3)

    assert permuted.tolist() == labels[order].tolist()
    assert kmeans.centers.tobytes() == again.centers.tobytes()
    assert dense_permuted.tolist() == dense[order].tolist()


def test_every_order_of_a_few_rows_gives_the_same_clusters():
    X = np.array([[0.0], [-0.0], [1.0], [5.0], [6.0], [9.0]])

    fits = [
        fit_kmeans(X[list(order)], n_clusters=3, n_init=1, random_state=0)[0].centers.tobytes()
        for order in list(permutations(range(6)))[::24]
    ]

    assert len(set(fits)) == 1


def test_the_number_of_threads_changes_nothing():
    program = (
        "import hashlib, numpy as np; from ml.cluster_fits import fit_kmeans\n"
        "X = np.random.default_rng(0).normal(size=(5000, 6))\n"
        "model, _ = fit_kmeans(X, n_clusters=8, n_init=1, random_state=0)\n"
        "print(hashlib.sha256(model.centers.tobytes()).hexdigest())"
    )

    digests = {run_python(program, OMP_NUM_THREADS=n, OPENBLAS_NUM_THREADS=n) for n in "12"}

    assert len(digests) == 1


def test_serving_loads_neither_scikit_learn_nor_pandas_nor_django():
    program = (
        "import sys, numpy as np; from ml.clusterers import DBSCANModel, KMeansModel\n"
        "KMeansModel(np.ones((2, 2))).predict(np.ones((1, 2)))\n"
        "DBSCANModel(np.ones((1, 2)), np.array([0]), 1.0).predict(np.ones((1, 2)))\n"
        "print(sorted({'sklearn', 'pandas', 'django', 'joblib'} & set(sys.modules)))"
    )

    assert run_python(program) == "[]"


def run_python(program: str, **environment: str) -> str:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()


def test_kmeans_refuses_more_clusters_than_distinct_rows():
    X = np.array([[1.0], [1.0], [2.0]])

    with pytest.raises(ValueError, match="n_clusters=3, but X has only 2 distinct rows"):
        fit_kmeans(X, n_clusters=3, random_state=0)


def test_kmeans_drops_centres_that_own_no_row():
    # So close that their squared distance is zero: two distinct rows, one place.
    X = np.array([[1e-200], [2e-200], [1.0]])

    model, labels = fit_kmeans(X, n_clusters=3, random_state=0)

    assert model.n_clusters == 2
    assert labels.tolist() == [0, 0, 1]


def inertia_of(model: KMeansModel, X) -> float:
    return float(np.sum(model.predict(X).distances ** 2))


def test_continued_kmeans_stays_at_an_optimum_that_is_as_good():
    # Halves of a ring are as good in any direction; a fresh start takes one of its own.
    angles = np.linspace(0.0, 2 * np.pi, 300, endpoint=False)
    X = np.column_stack([np.cos(angles), np.sin(angles)])
    fresh, fresh_labels = fit_kmeans(X, n_clusters=2, random_state=0)
    turned = np.column_stack([-fresh.centers[:, 1], fresh.centers[:, 0]])

    model, labels, warm_started = continue_kmeans(X, initial_centers=turned, random_state=0)

    assert warm_started
    fitted = KMeans(2, init=turned, n_init=1).fit(X)
    assert adjusted_rand_score(fitted.labels_, labels) == 1.0
    assert adjusted_rand_score(fresh_labels, labels) < 0.1
    assert inertia_of(model, X) == pytest.approx(fitted.inertia_, rel=1e-9)
    assert inertia_of(fresh, X) >= (1 - WARM_START_TOLERANCE) * inertia_of(model, X)
    assert labels.tolist() == model.predict(X).labels.tolist()


def test_continued_kmeans_gives_up_a_start_that_a_fresh_one_beats():
    X = np.repeat([[0.0], [10.0], [100.0]], 50, axis=0)
    X += np.random.default_rng(0).normal(size=X.shape)
    # Two centres share the far crowd and the third one holds the other two.
    trapped = np.array([[5.0], [99.0], [101.0]])

    model, labels, warm_started = continue_kmeans(X, initial_centers=trapped, random_state=0)

    fresh, fresh_labels = fit_kmeans(X, n_clusters=3, random_state=0)
    assert not warm_started
    assert model.centers.tobytes() == fresh.centers.tobytes()
    assert labels.tolist() == fresh_labels.tolist()


@pytest.mark.parametrize("tolerance, warm", [(0.049, False), (0.051, True)])
def test_a_fresh_start_must_be_better_by_more_than_the_tolerance(monkeypatch, tolerance, warm):
    # A rectangle: halved crosswise the inertia is .95 of that of the halves lengthwise.
    monkeypatch.setattr(cluster_fits, "WARM_START_TOLERANCE", tolerance)
    width = 1.0 / np.sqrt(0.95)
    X = np.array([[0.0, 0.0], [width, 0.0], [0.0, 1.0], [width, 1.0]])
    lengthwise = np.array([[width / 2, 0.0], [width / 2, 1.0]])

    _, _, warm_started = continue_kmeans(X, initial_centers=lengthwise, random_state=0)

    assert warm_started is warm


@settings(max_examples=20, deadline=None)
@given(LIKERT, st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_change_a_continued_fit(rows, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    start = np.unique(rows, axis=0)[:2] + 0.25
    continued = {"n_init": 2, "random_state": 0}

    model, labels, warm = continue_kmeans(rows, initial_centers=start, **continued)
    again, permuted, _ = continue_kmeans(rows[order], initial_centers=start, **continued)

    assert permuted.tolist() == labels[order].tolist()
    assert again.centers.tobytes() == model.centers.tobytes()
    sizes = np.bincount(labels)
    assert sizes.tolist() == sorted(sizes, reverse=True)


def test_continuing_from_the_own_centres_changes_no_label():
    X = blobs(n_blobs=5, n_rows=600)
    model, labels = fit_kmeans(X, n_clusters=5, random_state=0)

    for order in ([0, 1, 2, 3, 4], [3, 1, 4, 0, 2]):
        start = model.centers[order]
        _, continued, _ = continue_kmeans(X, initial_centers=start, random_state=7)

        assert continued.tolist() == labels.tolist()


@pytest.mark.parametrize(
    "centers, message",
    [
        (np.zeros((2, 3)), "initial_centers: expected 2 columns, found 3"),
        (np.full((2, 2), np.nan), "initial_centers: row 0, column 0"),
        (np.zeros((0, 2)), "at least 1"),
        (np.zeros((21, 2)), "n_clusters=21, but X has only 20 distinct rows"),
    ],
)
def test_bad_initial_centres_are_refused(centers, message):
    X = blobs(n_rows=20, n_columns=2)

    with pytest.raises(ValueError, match=message):
        continue_kmeans(X, initial_centers=centers, random_state=0)


@pytest.mark.parametrize("eps, expected", [(1.0, [0, 0, 0, 1, 1]), (0.99, [NOISE] * 5)])
def test_a_distance_equal_to_eps_is_within(eps, expected):
    X = np.array([[0.0], [1.0], [2.0], [5.0], [6.0]])

    _, labels = fit_dbscan(X, eps=eps, min_samples=2)

    assert labels.tolist() == expected


@pytest.fixture(params=["scikit-learn", "walk"])
def either_way(request, monkeypatch):
    """Label by scikit-learn and by the walk that needs no stored neighbourhoods."""
    if request.param == "walk":
        monkeypatch.setattr(cluster_fits, "MAX_STORED_NEIGHBOURS", 0)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("eps", [0.3, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("min_samples", [1, 4, 12])
def test_dbscan_labels_are_scikit_learns(eps, min_samples):
    X = blobs(n_rows=600, n_columns=3, n_blobs=5)
    ordered = X[np.lexsort(X.T[::-1])]
    theirs = DBSCAN(eps=eps, min_samples=min_samples).fit(ordered)

    model, labels = fit_dbscan(ordered, eps=eps, min_samples=min_samples)

    assert same_partition(labels, theirs.labels_.astype(np.int64))
    np.testing.assert_array_equal(model.core_samples, ordered[theirs.core_sample_indices_])


@settings(max_examples=60, deadline=None)
@given(LIKERT, st.sampled_from([1.0, 2**0.5, 3**0.5, 2.0]), st.integers(1, 8), st.booleans())
def test_ties_at_eps_are_labelled_alike_by_fit_predict_and_scikit_learn(
    rows, eps, min_samples, walk
):
    # A scale that no binary fraction holds: distances miss eps by a rounding either way.
    ordered = rows[np.lexsort(rows.T[::-1])] / 3.7
    eps = eps / 3.7
    theirs = DBSCAN(
        eps=eps * (1 + EPS_TOLERANCE),
        min_samples=min_samples,
        algorithm="brute",
        metric="euclidean",
    ).fit(ordered)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_fits, "MAX_STORED_NEIGHBOURS", 0 if walk else 1e9)
        model, labels = fit_dbscan(ordered, eps=eps, min_samples=min_samples)

    assert same_partition(labels, theirs.labels_.astype(np.int64))
    assert_core_and_noise_agree(model, ordered, labels)


@pytest.mark.parametrize("eps, verdict, expected", [(1.0, NOISE, 0), (0.9, 0, NOISE)])
def test_predict_decides_who_is_within_reach(monkeypatch, eps, verdict, expected):
    # A routine that rounds the distance of the last row to the other side of eps.
    X = np.array([[0.0], [0.1], [0.2], [1.2]])

    def rounds_the_other_way(rows, counts, radius, min_samples):
        return np.array([True, True, True, False]), np.array([0, 0, 0, verdict])

    monkeypatch.setattr(cluster_fits, "_sklearn_dbscan", rounds_the_other_way)

    model, labels = fit_dbscan(X, eps=eps, min_samples=3)

    assert labels.tolist() == [0, 0, 0, expected]
    assert_core_and_noise_agree(model, X, labels)


def assert_core_and_noise_agree(model, X, labels) -> None:
    prediction = model.predict(X)
    np.testing.assert_array_equal(prediction.labels == NOISE, labels == NOISE)
    np.testing.assert_array_equal(prediction.labels[prediction.core], labels[prediction.core])


@pytest.mark.usefixtures("either_way")
def test_long_chains_are_one_cluster():
    # Neighbours in a row link only to neighbours, the hardest case for joining components.
    angles = np.linspace(0, 40, 4_000)
    X = np.column_stack([angles * np.cos(angles), angles * np.sin(angles)])
    X = np.vstack([X, X + 200.0])

    _, labels = fit_dbscan(X, eps=0.6, min_samples=2)

    assert np.bincount(labels).tolist() == [4_000, 4_000]


def test_walk_joins_components_that_near_neighbours_leave_apart(monkeypatch):
    # Two crowds: each customer's near neighbours are in the own crowd, yet the crowds touch.
    monkeypatch.setattr(cluster_fits, "MAX_STORED_NEIGHBOURS", 0)
    crowd = np.random.default_rng(0).uniform(0, 0.1, size=(100, 2))
    X = np.vstack([crowd, crowd + [1.0, 0.0], crowd + [2.0, 0.0], crowd + [9.0, 0.0]])

    _, labels = fit_dbscan(X, eps=0.95, min_samples=5)

    assert labels.tolist() == [0] * 300 + [1] * 100


def test_all_noise_is_a_model_too():
    X = np.arange(10.0)[:, None] * 10

    model, labels = fit_dbscan(X, eps=1.0, min_samples=3)

    assert model.n_clusters == 0
    assert labels.tolist() == [NOISE] * 10
    assert model.predict(X).labels.tolist() == [NOISE] * 10


N_FIRST_ROWS = None if os.environ.get("SYSTEM_TABLES") == "all" else 600
"""Of each benchmark set; SYSTEM_TABLES=all takes them whole."""


def test_training_customers_keep_their_core_and_noise_labels_on_every_benchmark_set(shared_data):
    disagreeing, border_shares = [], []
    sets = sorted((shared_data / "battery").glob("*.csv.gz"))
    for path in sets:
        rows = pd.read_csv(path, nrows=N_FIRST_ROWS)
        table = rows.filter(regex=r"^x\d+$").to_numpy(np.float64)
        table = table[:, table.std(axis=0) > 0]
        X = np.ascontiguousarray((table - table.mean(axis=0)) / table.std(axis=0))
        chosen = choose_eps(X, random_state=0).chosen
        model, labels = fit_dbscan(X, eps=chosen["eps"], min_samples=int(chosen["min_samples"]))

        prediction = model.predict(X)

        settled = prediction.core | (labels == NOISE) | (prediction.labels == NOISE)
        if not np.array_equal(prediction.labels[settled], labels[settled]):
            disagreeing.append(path.name)
        if not settled.all():
            border_shares.append(np.mean((prediction.labels == labels)[~settled]))
    assert len(sets) > 30
    assert not disagreeing
    assert np.mean(border_shares) > 0.97


@pytest.mark.parametrize("has_owners", [False, True])
@pytest.mark.parametrize("model", [kmeans_model(), dbscan_model()], ids=["kmeans", "dbscan"])
def test_a_model_survives_its_arrays(model: ClusterModel, has_owners: bool):
    if has_owners:
        arrays = Owners(DIGESTS, np.array([0, 0, 1])).arrays()
        model = MODEL_CLASSES[model.model_type].from_arrays(model.arrays() | arrays)
    X = np.random.default_rng(0).normal(scale=5, size=(200, 2))

    rebuilt = MODEL_CLASSES[model.model_type].from_arrays(model.arrays())

    assert rebuilt.predict(X).distances.tobytes() == model.predict(X).distances.tobytes()
    assert rebuilt.predict(X).labels.tolist() == model.predict(X).labels.tolist()
    assert rebuilt.n_clusters == model.n_clusters
    assert {name: array.tobytes() for name, array in rebuilt.arrays().items()} == {
        name: array.tobytes() for name, array in model.arrays().items()
    }
    assert (rebuilt.owners is not None) is has_owners


def test_a_model_cannot_be_changed_through_its_arrays():
    centers = np.zeros((2, 2))
    model = KMeansModel(centers)

    centers[0] = 7.0

    assert model.centers[0].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="read-only"):
        model.arrays()["centers"][0] = 1.0


@pytest.mark.parametrize(
    "centers, message",
    [
        (np.zeros(3), "centers: expected a two-dimensional float64 array"),
        (np.zeros((2, 2), dtype=np.float32), "float32"),
        ([[0.0]], "list"),
        (np.zeros((0, 2)), "at least one centre"),
        (np.zeros((2, 0)), "at least one column"),
        (np.array([[0.0, 1.0], [np.nan, 1.0]]), "centers: row 1, column 0 is not a finite number"),
        (np.array([[np.inf]]), "not a finite number"),
    ],
)
def test_bad_centres_are_refused(centers, message):
    with pytest.raises(ValueError, match=message):
        KMeansModel.from_arrays({"centers": centers})


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"core_samples": np.zeros((3, 2), dtype=np.int64)}, "core_samples: expected"),
        ({"core_samples": np.full((3, 2), np.nan)}, "core_samples: row 0, column 0"),
        ({"core_labels": np.zeros(3)}, "core_labels: expected an int64 array"),
        ({"core_labels": np.zeros(2, dtype=np.int64)}, r"core_labels: expected shape \(3,\)"),
        ({"core_labels": np.array([0, 2, 2])}, "without gaps"),
        ({"core_labels": np.array([-1, 0, 1])}, "without gaps"),
        ({"eps": np.array([0.0])}, "eps: expected a finite number above 0"),
        ({"eps": np.array([np.nan])}, "eps: expected a finite number above 0"),
        ({"eps": np.array([1, 2])}, "eps: expected a float64 array"),
        ({"surplus": np.array([1.0])}, "expected the arrays core_samples, core_labels, eps"),
        ({"owner_digests": DIGESTS}, "expected the arrays core_samples, core_labels, eps"),
        ({"owner_digests": DIGESTS, "owner_places": np.array([0, 0, 3])}, "places below 3"),
        ({"owner_digests": DIGESTS, "owner_places": np.array([-1, 0, 2])}, "places below 3"),
        ({"owner_digests": DIGESTS, "owner_places": np.array([0, 2, 1])}, "rising pairs"),
        ({"owner_digests": DIGESTS, "owner_places": np.array([0, 1])}, "as many of both"),
        ({"owner_digests": DIGESTS, "owner_places": np.zeros(3)}, "owner_places: expected a int64"),
        (
            {"owner_digests": DIGESTS[[0, 0]], "owner_places": np.array([1, 1])},
            "rising pairs",
        ),
        (
            {"owner_digests": np.arange(3), "owner_places": np.arange(3)},
            "owner_digests: expected a uint64",
        ),
    ],
)
def test_bad_core_samples_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        DBSCANModel.from_arrays(dbscan_model().arrays() | changed)


def test_missing_arrays_are_named():
    with pytest.raises(ValueError, match="expected the arrays centers; found none"):
        KMeansModel.from_arrays({})


@pytest.mark.parametrize("model", [kmeans_model(), dbscan_model()], ids=["kmeans", "dbscan"])
@pytest.mark.parametrize(
    "X, message",
    [
        (np.zeros((1, 3)), "X: expected 2 columns, found 3"),
        (np.zeros(2), "two-dimensional"),
        (np.zeros((1, 2), dtype=object), "object"),
        (np.array([[0.0, 0.0], [0.0, np.nan]]), "X: row 1, column 1 is not a finite number"),
        (np.array([[-np.inf, 0.0]]), "X: row 0, column 0"),
        (np.array([[1e200, 0.0]]), "X: row 0, column 0"),
    ],
)
def test_bad_rows_are_refused(model: ClusterModel, X, message):
    with pytest.raises(ValueError, match=message):
        model.predict(X)


@pytest.mark.parametrize(
    "fit, parameters",
    [
        (fit_kmeans, {"n_clusters": 0, "random_state": 0}),
        (fit_kmeans, {"n_clusters": 2, "n_init": 0, "random_state": 0}),
        (fit_dbscan, {"eps": 0.0, "min_samples": 2}),
        (fit_dbscan, {"eps": float("nan"), "min_samples": 2}),
        (fit_dbscan, {"eps": 1.0, "min_samples": 0}),
    ],
)
def test_bad_parameters_are_refused(fit, parameters):
    with pytest.raises(ValueError):
        fit(blobs(n_rows=20), **parameters)


@pytest.mark.parametrize(
    "fit, parameters",
    [
        (fit_kmeans, {"n_clusters": 2, "random_state": 0}),
        (fit_dbscan, {"eps": 1.0, "min_samples": 2}),
    ],
)
@pytest.mark.parametrize("X", [np.empty((0, 2)), np.full((5, 2), np.nan)])
def test_fits_refuse_what_is_no_table(fit, parameters, X):
    with pytest.raises(ValueError, match="X: "):
        fit(X, **parameters)


@settings(max_examples=40, deadline=None)
@given(LIKERT)
def test_distinct_rows_fold_and_unfold(rows):
    distinct, counts, inverse = distinct_rows(rows)

    np.testing.assert_array_equal(distinct, np.unique(rows, axis=0))
    np.testing.assert_array_equal(distinct[inverse], rows)
    assert counts.sum() == len(rows)


def test_the_global_generator_stays_untouched():
    before = np.random.get_state()[1].copy()

    fit_kmeans(blobs(), n_clusters=3, random_state=0)

    assert np.array_equal(before, np.random.get_state()[1])
