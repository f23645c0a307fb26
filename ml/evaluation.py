"""How good a clustering is, judged from the rows and their labels alone.

*Quality* is a handful of figures for one version; a clustering is *degenerate* when it has fewer
than two clusters or leaves more than half of the customers as noise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from ml.clusterers import NOISE, check_encoded

# Rows whose silhouettes are computed: the work grows with the square. 2,000 rows give a standard
# error of about 0.005 and take 0.1 s. Source: measured on customer tables.
MAX_SILHOUETTE_ROWS = 2_000
# A clustering that leaves more customers than this without a segment does not segment.
MAX_NOISE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class ClusteringQuality:
    """Figures of one clustering; None where a figure is not defined.

    Attributes
    ----------
    n_clusters : int
        Clusters with at least one row, noise not counted.
    sizes : tuple of int
        Rows in each cluster, by label; noise is not among them.
    noise_share : float
        Share of rows without a cluster, 0-1.
    silhouette : float or None
        Mean over a seeded sample of clustered rows, -1 to 1, higher is better.
    silhouette_sd : float or None
        Standard deviation of the single silhouettes, for comparing two means.
    n_silhouette : int
        Rows in that sample.
    davies_bouldin : float or None
        0 or more, lower is better.
    calinski_harabasz : float or None
        0 or more, higher is better; grows with the table, so never compare two sizes.
    inertia_per_customer : float or None
        Mean squared distance of the clustered rows to the mean of their cluster.
    """

    n_clusters: int
    sizes: tuple[int, ...]
    noise_share: float
    silhouette: float | None
    silhouette_sd: float | None
    n_silhouette: int
    davies_bouldin: float | None
    calinski_harabasz: float | None
    inertia_per_customer: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {**asdict(self), "sizes": list(self.sizes)}


def evaluate(
    X: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    random_state: int,
    max_rows: int = MAX_SILHOUETTE_ROWS,
) -> ClusteringQuality:
    """Judge a clustering; noise is counted and then left out.

    Parameters
    ----------
    X : float64 array (n, n_columns)
        Encoded rows, finite.
    labels : int64 array (n,)
        Cluster of each row from 0, ``NOISE`` for none.
    random_state : int
        Seed of the sample.
    max_rows : int
        Size of the sample for the silhouette.

    Returns
    -------
    ClusteringQuality

    Raises
    ------
    ValueError
        No rows, a label for each row missing, or labels below ``NOISE``.

    Notes
    -----
    Source: Davies and Bouldin (1979), A cluster separation measure; Caliński and Harabasz (1974),
    A dendrite method for cluster analysis. Both, and the silhouette, as scikit-learn defines them.
    """
    _check(X, labels)
    clustered = labels != NOISE
    rows, own = (X, labels) if clustered.all() else (X[clustered], labels[clustered])
    sizes = np.bincount(own)
    n_clusters = int(np.count_nonzero(sizes))
    silhouettes = _sampled_silhouettes(rows, own, random_state=random_state, max_rows=max_rows)
    davies_bouldin, calinski_harabasz = _separation(rows, own, n_clusters)
    return ClusteringQuality(
        n_clusters=n_clusters,
        sizes=tuple(sizes.tolist()),
        noise_share=(len(X) - len(rows)) / len(X),
        silhouette=float(silhouettes.mean()) if len(silhouettes) else None,
        silhouette_sd=float(silhouettes.std()) if len(silhouettes) else None,
        n_silhouette=len(silhouettes),
        davies_bouldin=davies_bouldin,
        calinski_harabasz=calinski_harabasz,
        inertia_per_customer=_inertia(rows, own) if len(rows) else None,
    )


def degenerate_reason(quality: ClusteringQuality) -> str | None:
    """Say in one sentence why a clustering does not segment, or None when it does."""
    if quality.n_clusters == 0:
        return "No cluster was found: every customer is noise."
    if quality.n_clusters == 1:
        return "Only one cluster was found, so there is nothing to tell apart."
    if quality.noise_share > MAX_NOISE_SHARE:
        return (
            f"{quality.noise_share:.1%} of the customers are noise, "
            f"more than {MAX_NOISE_SHARE:.0%}."
        )
    return None


def silhouette_values(
    distances: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute the silhouette of each row from all pairwise distances.

    Parameters
    ----------
    distances : float64 array (n, n)
        Symmetric, zero on the diagonal.
    labels : int64 array (n,)
        Cluster of each row, at least two different ones.

    Returns
    -------
    float64 array (n,)
        -1 to 1: (b - a) / max(a, b), where a is the mean distance to the others of the own
        cluster and b the smallest mean distance to another one; 0 for a row alone in its cluster.

    Raises
    ------
    ValueError
        Fewer than two clusters.

    Notes
    -----
    Source: Rousseeuw (1987), Silhouettes: a graphical aid to the interpretation and validation of
    cluster analysis.
    """
    _, own, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError("silhouettes need at least two clusters")
    rows = np.arange(len(labels))
    membership = np.zeros((len(labels), len(sizes)))
    membership[rows, own] = 1.0
    sums = distances @ membership
    within = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[rows, own] = np.inf
    nearest = means.min(axis=1)
    scale = np.maximum(within, nearest)
    # All distances zero: the row lies in both clusters alike.
    defined = (sizes[own] > 1) & (scale > 0)
    return np.divide(nearest - within, scale, out=np.zeros(len(labels)), where=defined)


def _sampled_silhouettes(
    rows: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    random_state: int,
    max_rows: int,
) -> NDArray[np.float64]:
    if len(rows) > max_rows:
        rng = np.random.default_rng(random_state)
        sample = np.sort(rng.choice(len(rows), size=max_rows, replace=False))
        rows, labels = rows[sample], labels[sample]
    if not 2 <= len(np.unique(labels)) < len(rows):
        return np.empty(0)
    return silhouette_values(cdist(rows, rows), labels)


def _separation(
    rows: NDArray[np.float64], labels: NDArray[np.int64], n_clusters: int
) -> tuple[float | None, float | None]:
    if not 2 <= n_clusters < len(rows):
        return None, None
    # Only training and monitoring jobs need scikit-learn: the web process never loads it.
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

    return (
        float(davies_bouldin_score(rows, labels)),
        float(calinski_harabasz_score(rows, labels)),
    )


def _inertia(rows: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    sizes = np.maximum(np.bincount(labels), 1)
    within = 0.0
    for values in rows.T:
        means = np.bincount(labels, values) / sizes
        within += float(np.sum((values - means[labels]) ** 2))
    return within / len(rows)


def _check(X: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    check_encoded(X, "X")
    if not len(X):
        raise ValueError("X: no rows to judge")
    if labels.shape != (len(X),):
        raise ValueError(f"labels: expected shape ({len(X)},), found {labels.shape}")
    if labels.min() < NOISE:
        raise ValueError(f"labels: expected {NOISE} or more, found {labels.min()}")
