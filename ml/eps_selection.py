"""Choosing eps for DBSCAN when nobody states it, among the cuts of one tree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, squareform

from ml.clusterers import FloatArray
from ml.evaluation import MAX_NOISE_SHARE
from ml.selection import Selection, seeded_sample

# Source: on 85 labelled sets density validity over these candidates reached an adjusted Rand
# index of .60 (.51 held out), the knee of the k-distance curve .48 (.45).
N_EPS_CANDIDATES = 40
MAX_EPS_ROWS = 1_500
MIN_MIN_SAMPLES = 5
MAX_MIN_SAMPLES = 20
# Scaling up to a whole table stops here, so that each choice can be stated again as a parameter;
# reached above 750,000 customers, where it lets somewhat thinner places count as dense.
LARGEST_MIN_SAMPLES = 10_000


def default_min_samples(n_columns: int) -> int:
    """Return DBSCAN's min_samples for a table of `n_columns` encoded columns, 5 to 20."""
    return max(MIN_MIN_SAMPLES, min(2 * n_columns, MAX_MIN_SAMPLES))


def choose_eps(
    X: FloatArray,
    *,
    min_samples: int | None = None,
    max_rows: int = MAX_EPS_ROWS,
    random_state: int,
) -> Selection:
    """Choose eps by the density validity of the clusters it makes.

    Cutting the single-linkage tree of mutual-reachability distances at eps gives the core
    customers of DBSCAN at eps, so all candidates cost one tree.

    Parameters
    ----------
    X : float64 array (n, n_columns)
        Encoded rows.
    min_samples : int, optional
        For the whole table. Default: `default_min_samples` on the sample, scaled up to the whole
        table, which keeps the density level. A given value is scaled down to the sample.
    max_rows : int
        Rows of the seeded sample.
    random_state : int
        Seed of the sample. The row order changes nothing.

    Returns
    -------
    Selection
        ``chosen`` has ``eps`` and ``min_samples``; each point of the curve has ``eps``,
        ``n_clusters``, ``noise_share``, ``degenerate`` and ``score``. A candidate with two
        clusters and at most half noise goes before any other; if there is none, the reason
        says so.

    Raises
    ------
    ValueError
        Fewer than three rows, or a sample whose rows are all alike.

    Notes
    -----
    A cluster whose own gaps are rare and wide (beyond the .99 quantile of the tree edges) comes
    out in pieces; trying the largest edges too mends that and costs more elsewhere (.59 for .60
    on the benchmark sets).

    Source: Moulavi, Jaskowiak, Campello, Zimek, Sander (2014), Density-based clustering
    validation (DBCV), here with the full tree of each cluster; Campello, Moulavi, Sander (2013)
    for cutting the tree.
    """
    rng = np.random.default_rng(random_state)
    sample = seeded_sample(X, max_rows, rng)
    scale = len(X) / len(sample)
    if min_samples is None:
        in_sample = min(default_min_samples(X.shape[1]), len(sample))
        for_all = min(round(in_sample * scale), LARGEST_MIN_SAMPLES)
    else:
        in_sample = min(max(2, round(min_samples / scale)), len(sample))
        for_all = min_samples
    curve = _density_curve(sample, in_sample)
    best = max(curve, key=_eps_rank)
    return Selection(
        chosen={"eps": best["eps"], "min_samples": for_all},
        curve=curve,
        reason=_reason_for_eps(best, curve, n_sampled=len(sample)),
    )


def _density_curve(sample: FloatArray, min_samples: int) -> list[dict[str, Any]]:
    # Only training needs the hierarchy: the web process never loads it.
    from scipy.cluster.hierarchy import fcluster, linkage

    distances = cdist(sample, sample)
    core_distances = np.partition(distances, min_samples - 1, axis=1)[:, min_samples - 1]
    reachability = np.maximum(distances, np.maximum(core_distances[:, None], core_distances))
    np.fill_diagonal(reachability, 0.0)
    tree = linkage(squareform(reachability, checks=False), "single")
    first_leaf = _first_leaves(tree)
    curve = []
    for eps in _eps_candidates(core_distances, tree[:, 2]):
        is_core = core_distances <= eps
        within = tree[:, 2] <= eps
        labels = fcluster(tree, eps, "distance") - 1
        sparseness = np.zeros(len(sample))
        np.maximum.at(sparseness, labels[first_leaf[within]], tree[within, 2])
        score, n_clusters = _density_validity(
            reachability, np.nonzero(is_core)[0], labels, sparseness
        )
        reached = distances[:, is_core].min(axis=1, initial=np.inf) <= eps
        noise_share = 1.0 - float(reached.mean())
        curve.append(
            {
                "eps": float(eps),
                "n_clusters": n_clusters,
                "noise_share": noise_share,
                "degenerate": n_clusters < 2 or noise_share > MAX_NOISE_SHARE,
                "score": score,
            }
        )
    return curve


def _eps_candidates(core_distances: FloatArray, merges: FloatArray) -> FloatArray:
    """Spread candidates over the quantiles of core distances and of tree edges."""
    shares = np.linspace(0.05, 0.99, N_EPS_CANDIDATES // 2)
    pooled = [np.quantile(values, shares, method="lower") for values in (core_distances, merges)]
    # The largest merge is above zero, as not all rows are alike.
    found = np.unique(np.concatenate([*pooled, merges[-1:]]))
    return found[found > 0.0]


def _first_leaves(tree: FloatArray) -> NDArray[np.intp]:
    """Name one row below each merge of a linkage tree."""
    n_rows = len(tree) + 1
    leaves = np.arange(n_rows + len(tree))
    for i, left in enumerate(tree[:, 0].astype(np.intp).tolist(), start=n_rows):
        leaves[i] = leaves[left]
    return leaves[n_rows:]


def _density_validity(
    reachability: FloatArray,
    cores: NDArray[np.intp],
    labels: NDArray[np.int32],
    sparseness: FloatArray,
) -> tuple[float, int]:
    """Weigh (separation - sparseness) / max of both by cluster size; others count as zero."""
    ordered = cores[np.argsort(labels[cores], kind="stable")]
    clusters, starts, sizes = np.unique(labels[ordered], return_index=True, return_counts=True)
    if len(clusters) < 2:
        return 0.0, len(clusters)
    nearest = np.minimum.reduceat(reachability[np.ix_(ordered, ordered)], starts, axis=0)
    between = np.minimum.reduceat(nearest, starts, axis=1)
    np.fill_diagonal(between, np.inf)
    separation = between.min(axis=1)
    # Separation lies above the cut and sparseness below it, so the larger of both is clear.
    validity = (separation - sparseness[clusters]) / separation
    return float(validity @ sizes / len(labels)), len(clusters)


def _eps_rank(point: dict[str, Any]) -> tuple[bool, bool, float, float]:
    """Sound before degenerate, two clusters before one, then validity, then less noise."""
    several = point["n_clusters"] >= 2
    return not point["degenerate"], several, point["score"], -point["noise_share"]


def _reason_for_eps(best: dict[str, Any], curve: list[dict[str, Any]], *, n_sampled: int) -> str:
    gives = (
        f"eps = {best['eps']:.4g} gives {_clusters(best)} and "
        f"{best['noise_share']:.1%} noise on {n_sampled:,} sampled customers"
    )
    if best["degenerate"]:
        n_tried = len(curve)
        return f"All {n_tried} candidates are degenerate; the least bad, {gives}."
    # Candidates beside the best often give the same clusters, so the next that differs is named.
    others = [p for p in curve if p["n_clusters"] != best["n_clusters"] and not p["degenerate"]]
    before = ""
    if others:
        other = max(others, key=_eps_rank)
        before = f", before {_clusters(other)} at eps = {other['eps']:.4g} ({other['score']:.2f})"
    return (
        f"{gives}, the best density validity ({best['score']:.2f}) of {len(curve)} "
        f"candidates{before}."
    )


def _clusters(point: dict[str, Any]) -> str:
    return "1 cluster" if point["n_clusters"] == 1 else f"{point['n_clusters']} clusters"
