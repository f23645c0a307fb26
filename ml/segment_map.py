"""Two axes on which the clusters of a version lie as far apart as they can: a map of customers.

Points are encoded rows; the map keeps straight lines straight, and leaves out all other directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.clusterers import ClusterModel, FloatArray, KMeansModel
from ml.features import FeatureSchema, Kind

N_AXES = 2
# Scatter below this share of the largest is rounding: it gives no direction.
NO_SCATTER = 1e-12


@dataclass(frozen=True, slots=True)
class Plane:
    """Where the map lies among the encoded columns.

    Attributes
    ----------
    origin : float64 array (n_columns,)
        The middle of the map.
    axes : float64 array (2, n_columns)
        Orthonormal rows; a row of zeros where the customers have no further direction.
    between_shares : float64 array (2,)
        Of the scatter between the centres that each axis shows, 0-1; all 0 without any scatter.
    total_shares : float64 array (2,)
        Of the variance of all customers that each axis shows, 0-1.
    """

    origin: FloatArray
    axes: FloatArray
    between_shares: FloatArray
    total_shares: FloatArray

    def place(self, X: FloatArray) -> FloatArray:
        """The places of encoded rows on the map, float64 (n, 2)."""
        return (X - self.origin) @ self.axes.T


@dataclass(frozen=True, slots=True)
class AxisPart:
    """One feature's part in an axis.

    `share` (0-1) is that of its columns in the axis; `column` is the column that counts most, and
    `is_more` says whether customers further along have more of it, of a date whether it is later.
    """

    feature: str
    column: str
    kind: Kind
    share: float
    is_more: bool


def cluster_centres(model: ClusterModel) -> FloatArray:
    """The centre of each cluster, float64 (n_clusters, n_columns), in the order of the labels.

    That of k-means is the model's own; of DBSCAN it is the mean of the core samples.
    """
    if isinstance(model, KMeansModel):
        return model.centers
    centres = np.zeros((model.n_clusters, model.n_columns))
    for cluster in range(model.n_clusters):
        centres[cluster] = model.core_samples[model.core_labels == cluster].mean(axis=0)
    return centres


def fit_plane(centres: FloatArray, n_customers: FloatArray, X: FloatArray) -> Plane:
    """Find the plane that shows most of the scatter between the centres.

    Its axes are the two leading eigenvectors of the between-cluster scatter matrix, the sum over
    the clusters of n (c - m)(c - m)' with their centres c and the common mean m. Two clusters
    differ in one direction only, and one in none: the axes that are then left are the leading
    principal components of the customers in the directions not yet taken.

    Parameters
    ----------
    centres : float64 array (n_clusters, n_columns)
    n_customers : float64 array (n_clusters,), by which the centres count
    X : float64 array (n, n_columns), some encoded customers; n may be 0

    Returns
    -------
    Plane, the same for the same numbers: of each axis the largest part is positive.

    Source
    ------
    Dhillon, Modha and Spangler (2002), Class visualization of high-dimensional data with
    applications: class-preserving projections.
    """
    if len(centres):
        weights = n_customers / max(float(n_customers.sum()), 1.0)
        origin = weights @ centres if weights.any() else centres.mean(axis=0)
        scatter = np.sqrt(weights)[:, None] * (centres - origin)
    else:
        origin = X.mean(axis=0) if len(X) else np.zeros(X.shape[1])
        scatter = np.zeros((0, X.shape[1]))
    axes, between = _leading(scatter, N_AXES)
    if len(axes) < N_AXES and len(X):
        left = X - X.mean(axis=0)
        left = left - (left @ axes.T) @ axes
        more, _ = _leading(left, N_AXES - len(axes))
        axes = np.vstack([axes, more])
    shown = np.zeros((N_AXES, X.shape[1]))
    shown[: len(axes)] = axes
    return Plane(origin, shown, _padded(between), _total_shares(X, shown))


def _leading(rows: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """The first `n` right singular vectors, fewer where there are no more, and their shares."""
    if not len(rows):
        return np.zeros((0, rows.shape[1])), np.zeros(0)
    _, sizes, vectors = np.linalg.svd(rows, full_matrices=False)
    squares = sizes**2
    largest = float(np.abs(rows).max())
    found = int((sizes > NO_SCATTER * max(largest, 1.0)).sum())
    axes = vectors[: min(n, found)]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    total = float(squares.sum()) or 1.0
    return axes * signs[:, None], squares[: len(axes)] / total


def _padded(shares: FloatArray) -> FloatArray:
    padded = np.zeros(N_AXES)
    padded[: len(shares)] = shares
    return padded


def _total_shares(X: FloatArray, axes: FloatArray) -> FloatArray:
    total = float(X.var(axis=0).sum()) if len(X) else 0.0
    if not total:
        return np.zeros(N_AXES)
    shares: FloatArray = (X @ axes.T).var(axis=0) / total
    return shares


def axis_parts(schema: FeatureSchema, axis: FloatArray) -> list[AxisPart]:
    """What an axis of a plane is made of, the largest part first; nothing of an axis of zeros."""
    parts = []
    start = 0
    for feature in schema.features:
        own = axis[start : start + feature.n_columns]
        start += feature.n_columns
        largest = int(np.abs(own).argmax())
        # A date is encoded as days before the training: more is earlier.
        sign = -1.0 if feature.kind is Kind.DATE else 1.0
        if own.any():
            parts.append(
                AxisPart(
                    feature=feature.name,
                    column=feature.column_names[largest],
                    kind=feature.kind,
                    share=float((own**2).sum()),
                    is_more=bool(sign * own[largest] > 0),
                )
            )
    return sorted(parts, key=lambda part: -part.share)
