"""Whether the clusters of a version are found again when the customers change a little.

All together by `stability`: the same figure at training and at each check, so that a series of it
begins where it should. Each by itself, for its description, by `cluster_stability`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ml.agreement import adjusted_rand_index
from ml.cluster_fits import fit_dbscan, fit_kmeans
from ml.clusterers import NOISE, BoolArray, ClusterModel, DBSCANModel, FloatArray, IntArray
from ml.row_samples import sample_rows

MAX_STABILITY_ROWS = 2_000
# Customers below which refits say more about who was drawn than about the clusters; a judgement,
# the same as for drift and silhouettes.
MIN_STABILITY_CUSTOMERS = 50
# Refits that the figure is the mean of: its standard error is then about .03 (12 generated tables),
# and a training takes at most a tenth longer.
N_REFITS = 6
# Starts of a refit: one alone often ends in a bad place, which is not the customers' doing.
N_INIT = 3
# Refits that a single cluster's is the mean of: the standard error of a mean of so many Jaccards is
# below .1.
N_BOOTSTRAPS = 20


def stability(
    X: FloatArray,
    labels: IntArray,
    model: ClusterModel,
    parameters: Mapping[str, float],
    *,
    n_rows: int,
) -> float | None:
    """Compute how far refits on bootstraps group customers as the fixed model does.

    Parameters
    ----------
    X : float64 (n, n_columns), encoded rows
    labels : int64 (n,), their clusters by the model, NOISE = -1
    parameters : of the version; ``random_state`` seeds sample and bootstraps
    n_rows : rows that the parameters are for, as `refit` takes them

    Returns
    -------
    Mean adjusted Rand index, at most 1; None for few customers, or all in one group.

    Source: Hennig (2007), Cluster-wise assessment of cluster stability; of the whole clustering as
    Fang and Wang (2012), Selection of the number of clusters via the bootstrap method.
    """
    if len(X) < MIN_STABILITY_CUSTOMERS:
        return None
    random_state = int(parameters["random_state"])
    rows = sample_rows(len(X), MAX_STABILITY_ROWS, random_state=random_state)
    sample, own = (X, labels) if rows is None else (X[rows], labels[rows])
    if (own == own[0]).all():
        return None
    rng = np.random.default_rng(random_state)
    agreements = []
    for _ in range(N_REFITS):
        drawn = sample[rng.integers(len(sample), size=len(sample))]
        again = refit(drawn, model, parameters, n_rows=n_rows)
        found = np.full(len(own), NOISE) if again is None else again.predict(sample).labels
        agreements.append(adjusted_rand_index(_contingency(own, found)))
    return float(np.mean(agreements))


def refit(
    rows: FloatArray, model: ClusterModel, parameters: Mapping[str, float], *, n_rows: int
) -> ClusterModel | None:
    """Fit again on some rows with the parameters of a version; None where that finds no cluster.

    Parameters
    ----------
    rows : float64 (m, n_columns)
    n_rows : rows that the parameters are for; DBSCAN's min_samples is scaled from them to m
    """
    random_state = int(parameters["random_state"])
    if isinstance(model, DBSCANModel):
        scaled = round(int(parameters["min_samples"]) * len(rows) / n_rows)
        min_samples = max(scaled, min(int(parameters["min_samples"]), 2))
        density, _ = fit_dbscan(rows, eps=model.eps, min_samples=min_samples)
        return density if len(density.core_samples) else None
    n_clusters = min(model.n_clusters, len(np.unique(rows, axis=0)))
    return fit_kmeans(rows, n_clusters=n_clusters, n_init=N_INIT, random_state=random_state)[0]


def _contingency(one: IntArray, other: IntArray) -> IntArray:
    n_groups = (int(one.max()) + 2, int(other.max()) + 2)
    counts = np.zeros(n_groups, dtype=np.int64)
    np.add.at(counts, (one - NOISE, other - NOISE), 1)
    return counts


def cluster_stability(
    fit_again: Callable[[FloatArray], ClusterModel],
    X: FloatArray,
    labels: IntArray,
    *,
    random_state: int,
    n_bootstraps: int = N_BOOTSTRAPS,
    max_rows: int = MAX_STABILITY_ROWS,
) -> dict[int, float]:
    """Ask of each cluster whether it is found again when the customers change a little.

    Parameters
    ----------
    fit_again : callable
        From bootstrapped rows, float64 (n, n_columns), to a model with the same parameters.
    X : float64 array (n, n_columns)
        Encoded rows.
    labels : int64 array (n,)
        Their clusters in the model judged; -1 is noise.
    max_rows : int
        Rows drawn at most. A density model must see all of them: eps suits one sample size.

    Returns
    -------
    By cluster the mean over the refits of the Jaccard similarity to the most similar cluster, 0-1:
    above .75 stable, below .6 not to be trusted.

    Source
    ------
    Hennig (2007), "Cluster-wise assessment of cluster stability", with every row predicted.
    """
    rng = np.random.default_rng(random_state)
    rows = np.sort(rng.permutation(len(X))[:max_rows])
    sample, own = np.ascontiguousarray(X[rows]), labels[rows]
    clusters = np.unique(own[own >= 0])
    totals = np.zeros(len(clusters))
    for _ in range(n_bootstraps):
        model = fit_again(sample[rng.integers(len(sample), size=len(sample))])
        found = model.predict(sample).labels
        totals += [_best_jaccard(own == cluster, found) for cluster in clusters]
    return dict(zip(clusters.tolist(), (totals / n_bootstraps).tolist(), strict=True))


def _best_jaccard(members: BoolArray, found: IntArray) -> float:
    n_clusters = int(found.max(initial=-1)) + 1
    sizes = np.bincount(found[found >= 0], minlength=n_clusters)
    shared = np.bincount(found[members & (found >= 0)], minlength=n_clusters)
    return float((shared / (sizes + members.sum() - shared)).max(initial=0.0))
