"""The two fits that make cluster models: the same data and parameters give the same labels.

Rows are put in canonical order and fitted on one thread, so that neither row order nor the number
of threads changes an answer. Jobs and commands only: a web process never fits.
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ml.clusterers import (
    NOISE,
    BoolArray,
    DBSCANModel,
    FloatArray,
    IntArray,
    KMeansModel,
    Prediction,
    check_encoded,
    checked_eps,
    widened,
)

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

# How much lower the inertia of a fresh fit must be, relatively, to give up the one that continues
# the active centres. Source: 20 retrains of nine real tables; at this limit 94 % of customers and
# more kept their segment, for .2 % more inertia on average and 3.8 % at worst.
WARM_START_TOLERANCE = 0.02
# Rows up to which every random start of k-means is fitted on all of them. Beyond it the starts
# compete on a seeded sample of so many, and the best one goes on with all rows. Source: on 300,000
# customers of the demo shop that halves the work for 8 or 12 clusters and moves the inertia by
# less than .02 %.
MAX_START_ROWS = 100_000
# Rows up to which DBSCAN is fitted on all of them; beyond it, on a seeded sample of so many. The
# work grows with their square (about half a minute here), that of every later prediction with the
# core samples among them: 40 µs a customer after a fit of this size, 200 after one of 100,000.
MAX_DENSITY_ROWS = 30_000
# Neighbour pairs that scikit-learn's DBSCAN may hold in memory (8 bytes each plus copies, so
# about half a gigabyte); beyond it the neighbourhoods are walked without being stored.
MAX_STORED_NEIGHBOURS = 20_000_000
# Rows whose neighbours are counted to foresee that number.
N_PROBED_ROWS = 500
# Neighbours per core sample that are linked before components are compared with each other.
N_LINKED_NEIGHBOURS = 8


def fit_kmeans(
    X: FloatArray,
    *,
    n_clusters: int,
    n_init: int = 10,
    random_state: int,
) -> tuple[KMeansModel, IntArray]:
    """Fit scikit-learn's k-means so that row order and thread count change nothing.

    Parameters
    ----------
    X : float64 array (n, n_columns)
        Encoded rows.
    n_clusters : int
        At least 1, at most the number of distinct rows.
    n_init : int
        Random starts; the one with the lowest inertia wins. Beyond `MAX_START_ROWS` rows it is
        the lowest on a sample of so many, and only that start is fitted to all rows.
    random_state : int
        Seed of the starts and of that sample.

    Returns
    -------
    model : KMeansModel
        Clusters in canonical order. Centres that own no row are dropped, so there may be fewer
        than asked for.
    labels : int64 array (n,)
        ``model.predict(X).labels``.

    Raises
    ------
    ValueError
        Wrong shape, dtype or values, or fewer distinct rows than clusters.
    """
    rows, counts, inverse = _kmeans_rows(X, n_clusters, n_init)
    centers = _fresh_centers(_repeated(rows, counts), n_clusters, n_init, random_state)
    model, prediction = _canonical_kmeans(rows, counts, centers)
    return model, prediction.labels[inverse]


def continue_kmeans(
    X: FloatArray,
    *,
    initial_centers: FloatArray,
    n_init: int = 10,
    random_state: int,
) -> tuple[KMeansModel, IntArray, bool]:
    """Fit k-means from given centres and afresh; prefer the former, so that segments stay.

    Parameters
    ----------
    X : float64 array (n, n_columns)
        Encoded rows.
    initial_centers : float64 array (n_clusters, n_columns)
        Where the active version has its centres in this space; their order changes nothing but
        ties.
    n_init : int
        Random starts of the fresh fit.
    random_state : int
        Seed of the fresh starts.

    Returns
    -------
    model : KMeansModel
        Clusters in canonical order, whatever the order of the initial centres.
    labels : int64 array (n,)
        ``model.predict(X).labels``.
    warm_started : bool
        Whether the fit from `initial_centers` was kept: always, unless the inertia of the fresh
        one is lower by more than `WARM_START_TOLERANCE`.

    Raises
    ------
    ValueError
        As `fit_kmeans`, or centres of a wrong shape, dtype or value.
    """
    n_clusters = len(initial_centers)
    rows, counts, inverse = _kmeans_rows(X, n_clusters, n_init)
    check_encoded(initial_centers, "initial_centers", n_columns=X.shape[1])
    table = _repeated(rows, counts)
    fresh = _fresh_centers(table, n_clusters, n_init, random_state)
    warm = _sklearn_centers(table, n_clusters, 1, random_state, init=initial_centers)
    del table
    (fresh_model, fresh_rows), (warm_model, warm_rows) = (
        _canonical_kmeans(rows, counts, centers) for centers in (fresh, warm)
    )
    limit = (1.0 - WARM_START_TOLERANCE) * _inertia(warm_rows, counts)
    if _inertia(fresh_rows, counts) < limit:
        return fresh_model, fresh_rows.labels[inverse], False
    return warm_model, warm_rows.labels[inverse], True


def fit_dbscan(
    X: FloatArray,
    *,
    eps: float,
    min_samples: int,
    random_state: int = 0,
) -> tuple[DBSCANModel, IntArray]:
    """Fit DBSCAN so that row order changes nothing and time and memory stay bounded.

    Up to `MAX_DENSITY_ROWS` rows the fit is exact: scikit-learn does the work while its stored
    neighbourhoods fit (`MAX_STORED_NEIGHBOURS`), an equal walk over the KD-tree beyond that. Of a
    larger table a sample is fitted, with `min_samples` scaled down to it (`samples_in_fit`), so
    that the same places count as dense; the other rows are predicted like new customers.

    Parameters
    ----------
    X : float64 array (n, n_columns)
        Encoded rows.
    eps : float
        Radius in encoded space, above 0; a distance equal to eps counts as within.
    min_samples : int
        Rows of X within eps, the row itself among them, that make it a core sample.
    random_state : int
        Seed of the sample of a large table.

    Returns
    -------
    model : DBSCANModel
        Distinct core samples, clusters in canonical order.
    labels : int64 array (n,)
        scikit-learn's labels in canonical order. Equal to ``model.predict(X).labels`` for every
        core and noise row; of a sampled fit, for every row.

    Raises
    ------
    ValueError
        Wrong shape, dtype or values.

    Notes
    -----
    What a sampled fit gives up: neighbours are counted in the sample, so a cluster with hardly
    more than `min_samples` customers is found or not by chance, and one with fewer than two in
    the sample never is. Two clusters joined by a thin bridge may come apart. Only sampled rows can
    be core samples: another row in a dense place is within eps of one and counts as border.

    Source: Ester, Kriegel, Sander, Xu (1996), A density-based algorithm for discovering
    clusters.
    """
    _check_training_rows(X)
    checked_eps(eps)
    if min_samples < 1:
        raise ValueError("min_samples must be at least 1")
    if len(X) <= MAX_DENSITY_ROWS:
        return _exact_dbscan(X, eps, min_samples)
    # Sorted before the draw, so that the order the rows came in changes nothing.
    places = np.lexsort(X.T[::-1])[_drawn(len(X), MAX_DENSITY_ROWS, random_state)]
    model, _ = _exact_dbscan(X[places], eps, samples_in_fit(min_samples, len(X)))
    return model, model.predict(X).labels


def n_density_rows(n_rows: int) -> int:
    """Return how many of `n_rows` rows DBSCAN is fitted on."""
    return min(n_rows, MAX_DENSITY_ROWS)


def samples_in_fit(min_samples: int, n_rows: int) -> int:
    """Scale DBSCAN's min_samples from `n_rows` rows down to those it is fitted on.

    Two at least, where more than one is asked for: with one, every sampled row were a core sample.
    """
    scaled = round(min_samples * n_density_rows(n_rows) / n_rows)
    return max(scaled, min(min_samples, 2))


def _exact_dbscan(X: FloatArray, eps: float, min_samples: int) -> tuple[DBSCANModel, IntArray]:
    radius = widened(eps)
    rows, counts, inverse = distinct_rows(X)
    neighbourhoods_fit = _expected_neighbours(rows, radius) <= MAX_STORED_NEIGHBOURS
    label_rows = _sklearn_dbscan if neighbourhoods_fit else _walked_dbscan
    is_core, raw = label_rows(rows, counts, radius, min_samples)
    raw = _in_canonical_order(rows, counts, is_core, raw)
    model = DBSCANModel(rows[is_core], raw[is_core], eps)
    predicted = model.predict(rows).labels
    # Whether a row lies within reach is decided by one routine, predict's, also for ties.
    agreed = (raw != NOISE) & (predicted != NOISE)
    return model, np.where(agreed, raw, predicted)[inverse]


def canonical_order(sizes: IntArray, centers: FloatArray) -> NDArray[np.intp]:
    """Order clusters by size, biggest first, ties by their centres read as words.

    Parameters
    ----------
    sizes : int64 array (n_clusters,)
        Rows in each cluster.
    centers : float64 array (n_clusters, n_columns)

    Returns
    -------
    intp array (n_clusters,)
        Position ``i`` names the cluster that gets label ``i``.
    """
    return np.lexsort((*centers.T[::-1], -sizes))


def distinct_rows(X: FloatArray) -> tuple[FloatArray, IntArray, NDArray[np.intp]]:
    """Sort rows lexicographically and fold equal ones.

    Parameters
    ----------
    X : float64 array (n, n_columns)

    Returns
    -------
    rows : float64 array (m, n_columns)
        Each distinct row once; -0.0 becomes 0.0.
    counts : int64 array (m,)
        How often it occurs.
    inverse : intp array (n,)
        ``rows[inverse]`` equals X.
    """
    order = np.lexsort(X.T[::-1])
    ordered = X[order]
    ordered += 0.0
    is_first = np.ones(len(X), dtype=bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    inverse = np.empty(len(X), dtype=np.intp)
    inverse[order] = np.cumsum(is_first) - 1
    rows = np.ascontiguousarray(ordered if is_first.all() else ordered[is_first])
    return rows, np.bincount(inverse, minlength=len(rows)).astype(np.int64), inverse


@functools.cache
def single_threaded() -> ThreadpoolController:
    """Return the control whose ``.limit(limits=1)`` makes a block run on one thread.

    Sums are rounded by the order of their terms, and that order follows the number of threads.
    """
    # Only training needs these; the libraries must be loaded before the control looks for them.
    import sklearn.cluster  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _kmeans_rows(
    X: FloatArray, n_clusters: int, n_init: int
) -> tuple[FloatArray, IntArray, NDArray[np.intp]]:
    """Fold equal rows, as `distinct_rows`, once rows and parameters are fit for k-means."""
    _check_training_rows(X)
    if n_clusters < 1 or n_init < 1:
        raise ValueError("n_clusters and n_init must be at least 1")
    rows, counts, inverse = distinct_rows(X)
    if len(rows) < n_clusters:
        raise ValueError(f"n_clusters={n_clusters}, but X has only {len(rows)} distinct rows")
    return rows, counts, inverse


def _repeated(rows: FloatArray, counts: IntArray) -> FloatArray:
    """Repeat rows as often as they occur: the training table in an order of its own."""
    return rows if len(rows) == counts.sum() else np.repeat(rows, counts, axis=0)


def _canonical_kmeans(
    rows: FloatArray, counts: IntArray, centers: FloatArray
) -> tuple[KMeansModel, Prediction]:
    """Put clusters in canonical order, without those that own no row, and label the rows."""
    labels = KMeansModel(centers).predict(rows).labels
    sizes = np.bincount(labels, weights=counts, minlength=len(centers)).astype(np.int64)
    order = canonical_order(sizes, centers)
    model = KMeansModel(centers[order[sizes[order] > 0]])
    return model, model.predict(rows)


def _inertia(prediction: Prediction, counts: IntArray) -> float:
    """Sum of squared distances to the own centre over all customers."""
    return float(counts @ prediction.distances**2)


def _fresh_centers(
    table: FloatArray, n_clusters: int, n_init: int, random_state: int
) -> FloatArray:
    """Fit from random starts; in a large table only the best one goes on with all rows."""
    if len(table) <= MAX_START_ROWS:
        return _sklearn_centers(table, n_clusters, n_init, random_state)
    sample = table[_drawn(len(table), MAX_START_ROWS, random_state)]
    start = _sklearn_centers(sample, n_clusters, n_init, random_state)
    return _sklearn_centers(table, n_clusters, 1, random_state, init=start)


def _sklearn_centers(
    X: FloatArray,
    n_clusters: int,
    n_init: int,
    random_state: int,
    *,
    init: FloatArray | str = "k-means++",
) -> FloatArray:
    # Only training needs scikit-learn: the web process never loads it.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    kmeans = KMeans(n_clusters, init=init, n_init=n_init, random_state=random_state)
    with single_threaded().limit(limits=1), warnings.catch_warnings():
        # "Fewer distinct clusters than asked for": the caller drops the empty ones and says so.
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans.fit(X)
    return np.ascontiguousarray(kmeans.cluster_centers_, dtype=np.float64) + 0.0


def _sklearn_dbscan(
    rows: FloatArray, counts: IntArray, radius: float, min_samples: int
) -> tuple[BoolArray, IntArray]:
    # Only training needs scikit-learn: the web process never loads it.
    from sklearn.cluster import DBSCAN

    # The tree measures each distance directly; the brute-force way rounds it by a matrix product.
    dbscan = DBSCAN(eps=radius, min_samples=min_samples, algorithm="kd_tree")
    dbscan.fit(rows, sample_weight=counts)
    is_core = np.zeros(len(rows), dtype=bool)
    is_core[dbscan.core_sample_indices_] = True
    return is_core, dbscan.labels_.astype(np.int64)


def _walked_dbscan(
    rows: FloatArray, counts: IntArray, radius: float, min_samples: int
) -> tuple[BoolArray, IntArray]:
    """Label like scikit-learn's DBSCAN without storing the neighbourhoods."""
    everyone = cKDTree(np.repeat(rows, counts, axis=0))
    is_core = everyone.query_ball_point(rows, radius, return_length=True) >= min_samples
    labels = np.full(len(rows), NOISE, dtype=np.int64)
    if is_core.any():
        labels[is_core] = _linked_components(rows[is_core], radius)
        labels[~is_core] = _lowest_label_within(
            rows[~is_core], rows[is_core], labels[is_core], radius
        )
    return is_core, labels


def _linked_components(points: FloatArray, radius: float) -> IntArray:
    """Number the connected components of points within `radius`, in order of first appearance.

    Near neighbours are linked first. Then, as in Borůvka's spanning tree, every component looks
    for its nearest point outside: two components differ in some bit of their numbers, so one
    search per bit between the points with and without it meets every pair of components. Once a
    full round links nothing, nothing is left to link. Memory is that of the trees.

    Source: Nešetřil, Milková, Nešetřilová (2001), Otakar Borůvka on minimum spanning tree.
    """
    n_neighbours = min(N_LINKED_NEIGHBOURS, len(points))
    distances, near = cKDTree(points).query(points, k=np.arange(1, n_neighbours + 1))
    within = distances <= radius
    labels = _merged(np.arange(len(points)), np.nonzero(within)[0], near[within])
    while True:
        n_components = int(labels.max()) + 1
        links = [
            _links_across(points, (labels >> bit) & 1 == 1, radius)
            for bit in range((n_components - 1).bit_length())
        ]
        if not any(len(here) for here, _ in links):
            return labels
        here, there = (np.concatenate(ends) for ends in zip(*links, strict=True))
        labels = _merged(labels, here, there)


def _links_across(
    points: FloatArray, side: BoolArray, radius: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pair each point with its nearest one on the other side, where that is within `radius`."""
    halves = np.nonzero(side)[0], np.nonzero(~side)[0]
    here, there = [], []
    for mine, others in (halves, halves[::-1]):
        distances, nearest = _nearest_within(points[mine], points[others], radius)
        found = distances <= radius
        here.append(mine[found])
        there.append(others[nearest[found]])
    return np.concatenate(here), np.concatenate(there)


def _nearest_within(
    rows: FloatArray, others: FloatArray, radius: float
) -> tuple[FloatArray, NDArray[np.intp]]:
    """Distance to and place of the nearest of `others`; infinite where none lies within."""
    # The tree's bound is exclusive, so it lies one step beyond the radius.
    bound = np.nextafter(radius, np.inf)
    distances, nearest = cKDTree(others).query(rows, distance_upper_bound=bound)
    return distances, nearest


def _merged(labels: IntArray, here: NDArray[np.intp], there: NDArray[np.intp]) -> IntArray:
    """Join the components that links connect; number them in order of first appearance."""
    # Only the walk needs these: the web process never loads them.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_components = int(labels.max()) + 1
    graph = coo_array(
        (np.ones(len(here), dtype=np.int8), (labels[here], labels[there])),
        shape=(n_components, n_components),
    )
    joined = connected_components(graph, directed=False)[1][labels]
    _, first, inverse = np.unique(joined, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def _lowest_label_within(
    rows: FloatArray, cores: FloatArray, core_labels: IntArray, radius: float
) -> IntArray:
    """Give each border row the first cluster that reaches it, as scikit-learn does."""
    labels = np.full(len(rows), NOISE, dtype=np.int64)
    for cluster in range(int(core_labels.max()), NOISE, -1):
        distances, _ = _nearest_within(rows, cores[core_labels == cluster], radius)
        labels[distances <= radius] = cluster
    return labels


def _in_canonical_order(
    rows: FloatArray, counts: IntArray, is_core: BoolArray, raw: IntArray
) -> IntArray:
    """Renumber clusters: biggest first, ties by the mean of their core samples."""
    n_clusters = int(raw.max(initial=NOISE)) + 1
    member = raw != NOISE
    sizes = np.bincount(raw[member], weights=counts[member], minlength=n_clusters)
    cores, weights = raw[is_core], counts[is_core]
    n_core = np.bincount(cores, weights=weights, minlength=n_clusters)
    sums = [np.bincount(cores, weights * values, n_clusters) for values in rows[is_core].T]
    centers = np.column_stack(sums) / n_core[:, None]
    order = canonical_order(sizes.astype(np.int64), centers)
    # One place more, so that NOISE (the last place) stays what it is.
    renumbered = np.full(n_clusters + 1, NOISE, dtype=np.int64)
    renumbered[order] = np.arange(n_clusters)
    return renumbered[raw]


def _expected_neighbours(rows: FloatArray, radius: float) -> float:
    """Estimate how many neighbour pairs lie within `radius`, from evenly spread rows."""
    probed = rows[:: max(1, len(rows) // N_PROBED_ROWS)]
    lengths = cKDTree(rows).query_ball_point(probed, radius, return_length=True)
    return float(np.mean(lengths)) * len(rows)


def _drawn(n_rows: int, n_drawn: int, random_state: int) -> NDArray[np.intp]:
    """Draw places without repeats, ascending."""
    return np.sort(np.random.default_rng(random_state).choice(n_rows, n_drawn, replace=False))


def _check_training_rows(X: FloatArray) -> None:
    check_encoded(X, "X")
    if not len(X):
        raise ValueError("X: no rows to train on")
