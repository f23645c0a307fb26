"""Trained cluster models as plain arrays, and the two fits that make them.

A *cluster* is a raw label inside one version (``NOISE`` = -1); a *core sample* is a customer that
DBSCAN found in a dense place. Serving needs numpy and scipy's KD-tree only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ml.owners import ARRAYS as OWNER_ARRAYS
from ml.owners import Owners

if TYPE_CHECKING:
    pass

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

    def of_rows(self, rows: NDArray[np.intp]) -> Prediction:
        """The predictions of some of the rows."""
        core = None if self.core is None else self.core[rows]
        return Prediction(self.labels[rows], self.distances[rows], core)


class KMeansModel:
    """Centres, and the nearest one for each row.

    Parameters
    ----------
    centers : float64 array (n_clusters, n_columns)
        In encoded space; row ``i`` is the centre of cluster ``i``.
    owners : Owners, optional
        The customers who are such a centre alone; None where nobody knows.

    Raises
    ------
    ValueError
        Wrong type, shape or dtype, no centre, values that are not finite.
    """

    model_type: ClassVar[str] = "kmeans"

    def __init__(self, centers: FloatArray, owners: Owners | None = None) -> None:
        check_encoded(centers, "centers")
        if not len(centers):
            raise ValueError("centers: at least one centre is needed, found none")
        if owners is not None:
            owners.check_places(len(centers))
        self.centers = _frozen_copy(centers)
        self.owners = owners
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
        return {"centers": self.centers, **_owner_arrays(self.owners)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> KMeansModel:
        """Rebuild a model from `arrays`; ValueError names what does not fit."""
        _check_names(arrays, ("centers",))
        return cls(arrays["centers"], _owners_in(arrays))


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
    owners : Owners, optional
        The customers whose rows the core samples are; None where nobody knows.

    Raises
    ------
    ValueError
        Wrong type, shape or dtype, values that are not finite, gaps in the labels.
    """

    model_type: ClassVar[str] = "dbscan"

    def __init__(
        self,
        core_samples: FloatArray,
        core_labels: IntArray,
        eps: float,
        owners: Owners | None = None,
    ) -> None:
        check_encoded(core_samples, "core_samples")
        _check_core_labels(core_labels, len(core_samples))
        if owners is not None:
            owners.check_places(len(core_samples))
        self.owners = owners
        self.eps = checked_eps(eps)
        self.core_samples = _frozen_copy(core_samples)
        self.core_labels = _frozen_copy(core_labels)
        self._radius = widened(self.eps)
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
            **_owner_arrays(self.owners),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> DBSCANModel:
        """Rebuild a model from `arrays`; ValueError names what does not fit."""
        _check_names(arrays, ("core_samples", "core_labels", "eps"))
        eps = arrays["eps"]
        if not isinstance(eps, np.ndarray) or eps.shape != (1,) or eps.dtype != np.float64:
            raise ValueError("eps: expected a float64 array of shape (1,)")
        return cls(arrays["core_samples"], arrays["core_labels"], float(eps[0]), _owners_in(arrays))


ClusterModel: TypeAlias = KMeansModel | DBSCANModel

MODEL_CLASSES: dict[str, type[KMeansModel] | type[DBSCANModel]] = {
    KMeansModel.model_type: KMeansModel,
    DBSCANModel.model_type: DBSCANModel,
}


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


def widened(eps: float) -> float:
    return eps * (1.0 + EPS_TOLERANCE)


def checked_eps(eps: float) -> float:
    if not (math.isfinite(eps) and 0.0 < eps <= MAX_ENCODED_VALUE):
        raise ValueError(f"eps: expected a finite number above 0, found {eps}")
    return float(eps)


def _check_core_labels(core_labels: IntArray, n_core: int) -> None:
    if not isinstance(core_labels, np.ndarray) or core_labels.dtype != np.int64:
        raise ValueError("core_labels: expected an int64 array")
    if core_labels.shape != (n_core,):
        raise ValueError(f"core_labels: expected shape ({n_core},), found {core_labels.shape}")
    present = np.unique(core_labels)
    if not np.array_equal(present, np.arange(len(present))):
        raise ValueError("core_labels: expected the clusters 0, 1, 2, … without gaps")


def _owner_arrays(owners: Owners | None) -> dict[str, NDArray[Any]]:
    return owners.arrays() if owners is not None else {}


def _owners_in(arrays: Mapping[str, NDArray[Any]]) -> Owners | None:
    return Owners.from_arrays(arrays) if OWNER_ARRAYS[0] in arrays else None


def _check_names(arrays: Mapping[str, NDArray[Any]], expected: tuple[str, ...]) -> None:
    """Refuse other arrays than the expected ones and, both or neither, those of owners."""
    if set(arrays) not in (set(expected), {*expected, *OWNER_ARRAYS}):
        found = ", ".join(sorted(arrays)) or "none"
        raise ValueError(f"expected the arrays {', '.join(expected)}; found {found}")


def _frozen_copy(array: NDArray[Any]) -> NDArray[Any]:
    copy = np.array(array, order="C", copy=True)
    copy.setflags(write=False)
    return copy
