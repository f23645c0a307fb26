"""Customers as a version sees them: the cluster of each, and how far it lies from what it is like.
Where a whole table would take long, a seeded sample of its customers stands for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ml.clusterers import NOISE, ClusterModel, DBSCANModel, FloatArray, widened
from ml.encoder import FeatureEncoder
from ml.features import RawColumns
from ml.row_samples import sample_rows

# Customers scored at the most; the standard error of a share is then at most .0011 and .0035,
# far below the effects that count. A tree of core samples answers slowly in many columns.
MAX_SCORED = 200_000
MAX_SCORED_DBSCAN = 20_000


@dataclass(frozen=True)
class Scored:
    """Clusters and distances of some customers.

    Attributes
    ----------
    labels : int64 (m,), NOISE = -1
    distances : float64 (m,), encoded space: to the own centre or the nearest core sample; None
        where they are not known
    rows : int64 (m,), places of these customers among all, rising; None for all of them
    ignores_own_place : whether distances take a core sample at a customer's very place for that
        customer itself (DBSCAN)
    """

    labels: NDArray[np.int64]
    distances: NDArray[np.float64] | None = None
    rows: NDArray[np.int64] | None = None
    ignores_own_place: bool = False

    def __post_init__(self) -> None:
        if self.distances is not None and self.distances.shape != self.labels.shape:
            raise ValueError("scored: needs one distance a label")
        if self.rows is not None and self.rows.shape != self.labels.shape:
            raise ValueError("scored: needs one row a label")

    def n_customers(self, raw: RawColumns) -> int:
        """Return how many customers there are, scored or not.

        Raises
        ------
        ValueError where the scored customers are not among those of the raw columns
        """
        n_customers = len(next(iter(raw.values()))) if raw else len(self.labels)
        if self.rows is None and n_customers != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels for {n_customers} customers")
        if self.rows is not None and len(self.rows) and not self.rows.max() < n_customers:
            raise ValueError("scored: a row lies beyond the customers")
        return n_customers

    def columns(self, raw: RawColumns, names: list[str]) -> list[NDArray[np.float64]]:
        """Return the named raw columns of the scored customers."""
        return [raw[name] if self.rows is None else raw[name][self.rows] for name in names]


def max_scored(clusters: ClusterModel) -> int:
    """Return how many customers are scored at the most."""
    return MAX_SCORED_DBSCAN if isinstance(clusters, DBSCANModel) else MAX_SCORED


def score(
    encoder: FeatureEncoder,
    clusters: ClusterModel,
    raw: RawColumns,
    *,
    random_state: int,
    ignores_own_place: bool = False,
) -> Scored:
    """Predict the customers in raw columns, or a seeded sample where there are very many.

    Parameters
    ----------
    raw : one float64 (n,) a feature, in raw units; NaN = missing
    random_state : seed of the sample
    ignores_own_place : as the reference was scored; DBSCAN only

    Raises
    ------
    ValueError for raw columns that are absent or differ in length
    """
    n_customers = len(next(iter(raw.values())))
    rows = sample_rows(n_customers, max_scored(clusters), random_state=random_state)
    seen = raw if rows is None else {name: values[rows] for name, values in raw.items()}
    X = encoder.encode(seen)
    prediction = clusters.predict(X)
    distances = prediction.distances
    if ignores_own_place and isinstance(clusters, DBSCANModel):
        everyone = np.ones(len(X), dtype=bool)
        distances = NearestOther.of(X, everyone, clusters.core_samples).distances
    return Scored(prediction.labels, distances, rows, ignores_own_place)


@dataclass(frozen=True)
class NearestOther:
    """The nearest core sample of each row that is not the row itself.

    `distances` float64 (n,), infinite where none is left; `places` intp (n,), then the number of
    core samples.
    """

    distances: NDArray[np.float64]
    places: NDArray[np.intp]

    @classmethod
    def of(cls, X: FloatArray, alone: NDArray[np.bool_], cores: FloatArray) -> Self:
        """Find it. A core sample at distance 0 is the row itself where the row is `alone`."""
        distances, places = cKDTree(cores).query(X, k=2)
        itself = alone & (distances[:, 0] == 0)
        return cls(
            np.where(itself, distances[:, 1], distances[:, 0]),
            np.where(itself, places[:, 1], places[:, 0]),
        )

    def labels(self, core_labels: NDArray[np.int64], eps: float) -> NDArray[np.int64]:
        """Return the cluster of each row by it, NOISE where it lies beyond eps."""
        labels = np.append(core_labels, np.int64(NOISE))[self.places]
        labels[self.distances > widened(eps)] = NOISE
        return labels
