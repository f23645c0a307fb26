"""How far clusters lie apart for how wide they are: two indices and the inertia, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from ml.clusterers import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Separation:
    """Figures of clustered rows; None where a figure is not defined.

    Attributes
    ----------
    davies_bouldin : float or None
        0 or more, lower is better.
    calinski_harabasz : float or None
        0 or more, higher is better; grows with the table, so never compare two sizes.
    inertia_per_customer : float or None
        Mean squared distance of the rows to the mean of their cluster.
    """

    davies_bouldin: float | None
    calinski_harabasz: float | None
    inertia_per_customer: float | None


def separation(rows: FloatArray, labels: IntArray) -> Separation:
    """Judge clusters by their means.

    Parameters
    ----------
    rows : float64 (n, n_columns); n may be 0
    labels : int64 (n,), 0 or more: noise has no cluster and is left out by the caller

    Notes
    -----
    The indices need two clusters, and more rows than clusters. Where means coincide the first is
    infinite in theory and None here; where no cluster has any width the second is.

    Source: Davies and Bouldin (1979), A cluster separation measure; Caliński and Harabasz (1974),
    A dendrite method for cluster analysis. Both as scikit-learn defines them.
    """
    if not len(rows):
        return Separation(None, None, None)
    present, own, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.column_stack([np.bincount(own, values) / sizes for values in rows.T])
    squares = np.zeros(len(rows))
    for values, centres in zip(rows.T, means.T, strict=True):
        squares += (values - centres[own]) ** 2
    inertia = float(squares.mean())
    n_clusters = len(present)
    if not 2 <= n_clusters < len(rows):
        return Separation(None, None, inertia)
    widths = np.bincount(own, np.sqrt(squares)) / sizes
    between = float(sizes @ ((means - rows.mean(axis=0)) ** 2).sum(axis=1))
    within = inertia * len(rows)
    ratio = between * (len(rows) - n_clusters) / (within * (n_clusters - 1)) if within else None
    return Separation(_davies_bouldin(means, widths), ratio, inertia)


def _davies_bouldin(means: FloatArray, widths: FloatArray) -> float | None:
    apart = cdist(means, means)
    np.fill_diagonal(apart, np.inf)
    if not apart.all():
        return None
    return float(((widths[:, None] + widths) / apart).max(axis=1).mean())
