"""Trained cluster models as plain arrays, and the two fits that make them.

A *cluster* is a raw label inside one version (``NOISE`` = -1); a *core sample* is a customer that
DBSCAN found in a dense place. Serving needs numpy and scipy's KD-tree only.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

NOISE = -1

# Encoded values beyond this have squares that leave float64 (largest 1.8e308); standardised
# features lie within some tens.
MAX_ENCODED_VALUE = 1e150
# Distances held at once by one step of predict, in cells of 8 bytes: half a megabyte stays in the
# second-level cache and bounds the memory for any number of rows.
CHUNK_CELLS = 65_536
# Relative widening of eps, in fit and predict alike. Whole-number answers put many distances
# exactly at eps, and two correct routines may round such a tie to either side (about 1e-16).
EPS_TOLERANCE = 1e-9
# Neighbour pairs that scikit-learn's DBSCAN may hold in memory (8 bytes each plus copies, so
# about half a gigabyte); beyond it the neighbourhoods are walked without being stored.
MAX_STORED_NEIGHBOURS = 20_000_000
# Rows whose neighbours are counted to foresee that number.
N_PROBED_ROWS = 500
# Neighbours per core sample that are linked before components are compared with each other.
N_LINKED_NEIGHBOURS = 8

_STATUSES = np.array(["noise", "border", "core"], dtype=object)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Clusters of some rows under one model.

    Attributes
    ----------
    labels : int64 array (n,)
        Cluster of each row, ``NOISE`` for none.
    distances : float64 array (n,)
        Euclidean distance in encoded space: to the own centre (k-means) or to the nearest core
        sample (DBSCAN; infinite when the model has no core sample at all).
    core : bool array (n,) or None
        DBSCAN: whether the row coincides with a core sample. None for k-means.
    """

    labels: IntArray
    distances: FloatArray
    core: BoolArray | None = None

    @property
    def status(self) -> list[str] | None:
        """``core``, ``border`` or ``noise`` for each row; None for k-means."""
        if self.core is None:
            return None
        codes = (self.labels != NOISE).astype(np.intp) + self.core
        statuses: list[str] = _STATUSES[codes].tolist()
        return statuses


class KMeansModel:
    """Centres, and the nearest one for each row.

    Parameters
    ----------
    centers : float64 array (n_clusters, n_columns)
        In encoded space; row ``i`` is the centre of cluster ``i``.

    Raises
    ------
    ValueError
        Wrong type, shape or dtype, no centre, values that are not finite.
    """

    model_type: ClassVar[str] = "kmeans"

    def __init__(self, centers: FloatArray) -> None:
        check_encoded(centers, "centers")
        if not len(centers):
            raise ValueError("centers: at least one centre is needed, found none")
        self.centers = _frozen_copy(centers)
        self._columns = [np.ascontiguousarray(column)[:, None] for column in self.centers.T]

    @property
    def n_clusters(self) -> int:
        return len(self.centers)

    @property
    def n_columns(self) -> int:
        return self.centers.shape[1]

    def predict(self, X: FloatArray) -> Prediction:
        """Find the nearest centre of each row; of equally near ones the lowest label.

        A row gets the same answer to the last bit alone and in any batch: distances are summed
        column by column in a fixed order, never by a matrix product, whose rounding depends on
        the shape.

        Parameters
        ----------
        X : float64 array (n, n_columns)
            Encoded rows; n may be 0.

        Returns
        -------
        Prediction

        Raises
        ------
        ValueError
            Wrong type, shape or dtype, or values that are not finite.
        """
        check_encoded(X, "X", n_columns=self.n_columns)
        labels = np.empty(len(X), dtype=np.int64)
        squares = np.empty(len(X), dtype=np.float64)
        step = max(1, CHUNK_CELLS // self.n_clusters)
        for start in range(0, len(X), step):
            rows = slice(start, start + step)
            table = self._squared_distances(X[rows])
            labels[rows] = table.argmin(axis=0)
            squares[rows] = table.min(axis=0)
        return Prediction(labels=labels, distances=np.sqrt(squares))

    def _squared_distances(self, X: FloatArray) -> FloatArray:
        total = np.zeros((self.n_clusters, len(X)))
        part = np.empty_like(total)
        for values, centers in zip(np.ascontiguousarray(X.T), self._columns, strict=True):
            np.subtract(values, centers, out=part)
            np.multiply(part, part, out=part)
            np.add(total, part, out=total)
        return total

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything the model is, as named arrays."""
        return {"centers": self.centers}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> KMeansModel:
        """Rebuild a model from `arrays`; ValueError names what does not fit."""
        _check_names(arrays, ("centers",))
        return cls(arrays["centers"])


class DBSCANModel:
    """Core samples with their clusters, and the nearest one within eps for each row.

    Parameters
    ----------
    core_samples : float64 array (m, n_columns)
        In encoded space; m is 0 when every training customer was noise.
    core_labels : int64 array (m,)
        Their clusters, each of 0 … n_clusters - 1 present.
    eps : float
        Radius in encoded space, above 0.

    Raises
    ------
    ValueError
        Wrong type, shape or dtype, values that are not finite, gaps in the labels.
    """

    model_type: ClassVar[str] = "dbscan"

    def __init__(self, core_samples: FloatArray, core_labels: IntArray, eps: float) -> None:
        check_encoded(core_samples, "core_samples")
        _check_core_labels(core_labels, len(core_samples))
        self.eps = _checked_eps(eps)
        self.core_samples = _frozen_copy(core_samples)
        self.core_labels = _frozen_copy(core_labels)
        self._radius = _widened(self.eps)
        self._tree = cKDTree(self.core_samples)
        # The tree answers "no core sample" with the index m; this is where that one points.
        self._labels_or_noise = np.append(self.core_labels, np.int64(NOISE))

    @property
    def n_clusters(self) -> int:
        return int(self.core_labels.max(initial=NOISE)) + 1

    @property
    def n_columns(self) -> int:
        return self.core_samples.shape[1]

    def predict(self, X: FloatArray) -> Prediction:
        """Find the cluster of the nearest core sample within eps, else ``NOISE``.

        Parameters
        ----------
        X : float64 array (n, n_columns)
            Encoded rows; n may be 0.

        Returns
        -------
        Prediction
            With ``core`` set. On the training rows it equals the fit for every core and noise
            row; a border row between two clusters may differ, as its label in any DBSCAN
            depends on the order of the rows.

        Raises
        ------
        ValueError
            Wrong type, shape or dtype, or values that are not finite.
        """
        check_encoded(X, "X", n_columns=self.n_columns)
        distances, nearest = self._tree.query(X)
        labels = self._labels_or_noise[nearest]
        labels[distances > self._radius] = NOISE
        return Prediction(labels=labels, distances=distances, core=distances == 0.0)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything the model is, as named arrays."""
        return {
            "core_samples": self.core_samples,
            "core_labels": self.core_labels,
            "eps": np.array([self.eps]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> DBSCANModel:
        """Rebuild a model from `arrays`; ValueError names what does not fit."""
        _check_names(arrays, ("core_samples", "core_labels", "eps"))
        eps = arrays["eps"]
        if not isinstance(eps, np.ndarray) or eps.shape != (1,) or eps.dtype != np.float64:
            raise ValueError("eps: expected a float64 array of shape (1,)")
        return cls(arrays["core_samples"], arrays["core_labels"], float(eps[0]))


ClusterModel: TypeAlias = KMeansModel | DBSCANModel

MODEL_CLASSES: dict[str, type[KMeansModel] | type[DBSCANModel]] = {
    KMeansModel.model_type: KMeansModel,
    DBSCANModel.model_type: DBSCANModel,
}


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
        Random starts; the one with the lowest inertia wins.
    random_state : int
        Seed of the starts.

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
    _check_training_rows(X)
    if n_clusters < 1 or n_init < 1:
        raise ValueError("n_clusters and n_init must be at least 1")
    rows, counts, inverse = distinct_rows(X)
    if len(rows) < n_clusters:
        raise ValueError(f"n_clusters={n_clusters}, but X has only {len(rows)} distinct rows")
    # Sorted rows, repeated as often as they occur: the same table in an order of its own.
    centers = _sklearn_centers(np.repeat(rows, counts, axis=0), n_clusters, n_init, random_state)
    labels = KMeansModel(centers).predict(rows).labels
    sizes = np.bincount(labels, weights=counts, minlength=len(centers)).astype(np.int64)
    order = canonical_order(sizes, centers)
    model = KMeansModel(centers[order[sizes[order] > 0]])
    return model, model.predict(rows).labels[inverse]


def fit_dbscan(
    X: FloatArray,
    *,
    eps: float,
    min_samples: int,
) -> tuple[DBSCANModel, IntArray]:
    """Fit DBSCAN so that row order changes nothing and memory stays bounded.

    scikit-learn does the work while its stored neighbourhoods fit (`MAX_STORED_NEIGHBOURS`);
    beyond that an equal walk over the KD-tree does.

    Parameters
    ----------
    X : float64 array (n, n_columns)
        Encoded rows.
    eps : float
        Radius in encoded space, above 0; a distance equal to eps counts as within.
    min_samples : int
        Rows within eps, the row itself among them, that make it a core sample.

    Returns
    -------
    model : DBSCANModel
        Distinct core samples, clusters in canonical order.
    labels : int64 array (n,)
        scikit-learn's labels in canonical order. Equal to ``model.predict(X).labels`` for every
        core and noise row.

    Raises
    ------
    ValueError
        Wrong shape, dtype or values.

    Notes
    -----
    Source: Ester, Kriegel, Sander, Xu (1996), A density-based algorithm for discovering
    clusters.
    """
    _check_training_rows(X)
    radius = _widened(_checked_eps(eps))
    if min_samples < 1:
        raise ValueError("min_samples must be at least 1")
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
    ordered = X[order] + 0.0
    is_first = np.ones(len(X), dtype=bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    inverse = np.empty(len(X), dtype=np.intp)
    inverse[order] = np.cumsum(is_first) - 1
    rows = np.ascontiguousarray(ordered[is_first])
    return rows, np.bincount(inverse, minlength=len(rows)).astype(np.int64), inverse


def check_encoded(X: FloatArray, name: str, *, n_columns: int | None = None) -> None:
    """Refuse what is not a table of encoded rows.

    Parameters
    ----------
    X : float64 array (n, n_columns)
        n may be 0; values are finite and within `MAX_ENCODED_VALUE`.
    name : str
        What the error calls it.
    n_columns : int, optional
        How many columns are expected; any number from 1 otherwise.

    Raises
    ------
    ValueError
        Naming what is wrong and where.
    """
    if not isinstance(X, np.ndarray) or X.ndim != 2 or X.dtype != np.float64:
        found = f"{X.dtype} {X.shape}" if isinstance(X, np.ndarray) else type(X).__name__
        raise ValueError(f"{name}: expected a two-dimensional float64 array, found {found}")
    if X.shape[1] < 1:
        raise ValueError(f"{name}: at least one column is needed, found none")
    if n_columns is not None and X.shape[1] != n_columns:
        raise ValueError(f"{name}: expected {n_columns} columns, found {X.shape[1]}")
    # One pass for all three: a comparison with NaN is false, infinity is beyond the limit.
    fine = np.abs(X) <= MAX_ENCODED_VALUE
    if not fine.all():
        row, column = np.argwhere(~fine)[0]
        raise ValueError(f"{name}: row {row}, column {column} is not a finite number in range")


@functools.cache
def single_threaded() -> ThreadpoolController:
    """Return the control whose ``.limit(limits=1)`` makes a block run on one thread.

    Sums are rounded by the order of their terms, and that order follows the number of threads.
    """
    # Only training needs these; the libraries must be loaded before the control looks for them.
    import sklearn.cluster  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _sklearn_centers(X: FloatArray, n_clusters: int, n_init: int, random_state: int) -> FloatArray:
    # Only training needs scikit-learn: the web process never loads it.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    kmeans = KMeans(n_clusters=n_clusters, n_init=n_init, random_state=random_state)
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


def _widened(eps: float) -> float:
    return eps * (1.0 + EPS_TOLERANCE)


def _checked_eps(eps: float) -> float:
    if not (math.isfinite(eps) and 0.0 < eps <= MAX_ENCODED_VALUE):
        raise ValueError(f"eps: expected a finite number above 0, found {eps}")
    return float(eps)


def _check_training_rows(X: FloatArray) -> None:
    check_encoded(X, "X")
    if not len(X):
        raise ValueError("X: no rows to train on")


def _check_core_labels(core_labels: IntArray, n_core: int) -> None:
    if not isinstance(core_labels, np.ndarray) or core_labels.dtype != np.int64:
        raise ValueError("core_labels: expected an int64 array")
    if core_labels.shape != (n_core,):
        raise ValueError(f"core_labels: expected shape ({n_core},), found {core_labels.shape}")
    present = np.unique(core_labels)
    if not np.array_equal(present, np.arange(len(present))):
        raise ValueError("core_labels: expected the clusters 0, 1, 2, … without gaps")


def _check_names(arrays: Mapping[str, NDArray[Any]], expected: tuple[str, ...]) -> None:
    if set(arrays) != set(expected):
        found = ", ".join(sorted(arrays)) or "none"
        raise ValueError(f"expected the arrays {', '.join(expected)}; found {found}")


def _frozen_copy(array: NDArray[Any]) -> NDArray[Any]:
    copy = np.array(array, order="C", copy=True)
    copy.setflags(write=False)
    return copy
