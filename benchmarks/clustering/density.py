"""DBSCAN: choosing eps by itself, flagging what segments nobody, predicting the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from sklearn.cluster import DBSCAN, HDBSCAN
from threadpoolctl import threadpool_limits

from benchmarks.clustering.report import Figure, beside, means, print_rows, share
from benchmarks.clustering.tables import SEED, Truth, encoded, raw_values
from ml.clusterers import NOISE, DBSCANModel, FloatArray, IntArray, widened
from ml.eps_selection import default_min_samples
from ml.evaluation import MAX_NOISE_SHARE
from ml.fitting import fit_clusters


@dataclass(frozen=True, slots=True)
class Agreement:
    """Shares of training rows that predict labels as scikit-learn's fit does, and how many lie
    on a border: reached by a core row without being one."""

    core: float
    noise: float
    border: float
    all_rows: float
    border_rows: float


@dataclass(frozen=True, slots=True)
class Density:
    """One table: agreement of each way with the truth, flags, predict beside fit."""

    name: str
    agreement: dict[str, float]
    degenerate: bool
    flagged: bool
    predict: Agreement


def choose_density(truth: Truth) -> Density:
    with threadpool_limits(1):
        X = encoded(truth.frame)
        fit = fit_clusters("dbscan", X, parameters={}, random_state=SEED)
        labelings = {
            "ours": fit.labels,
            "as is": DBSCAN().fit(raw_values(truth.frame)).labels_.astype(np.int64),
            "k-distance knee": knee(X),
            "HDBSCAN": HDBSCAN(copy=True).fit(X).labels_.astype(np.int64),
        }
        assert isinstance(fit.model, DBSCANModel)
        predict = compare_with_fit(X, fit.model, int(fit.parameters["min_samples"]))
    noise_share = float(np.mean(fit.labels == NOISE))
    return Density(
        name=truth.name,
        agreement={way: truth.agreement(labels) for way, labels in labelings.items()},
        degenerate=fit.model.n_clusters < 2 or noise_share > MAX_NOISE_SHARE,
        flagged=fit.degenerate_reason is not None,
        predict=predict,
    )


def knee(X: FloatArray) -> IntArray:
    """Take the eps where the sorted distances to the last needed neighbour bend most."""
    min_samples = default_min_samples(X.shape[1])
    reach = np.sort(cKDTree(X).query(X, k=[min_samples])[0][:, 0])
    line = np.linspace(reach[0], reach[-1], len(reach))
    eps = float(reach[np.argmax(line - reach)]) or np.finfo(np.float64).tiny
    return DBSCAN(eps=eps, min_samples=min_samples).fit(X).labels_.astype(np.int64)


def compare_with_fit(X: FloatArray, model: DBSCANModel, min_samples: int) -> Agreement:
    """Predict the training rows and compare with scikit-learn's fit of them."""
    theirs = DBSCAN(eps=widened(model.eps), min_samples=min_samples, algorithm="kd_tree").fit(X)
    ours = model.predict(X).labels
    is_core = np.zeros(len(X), dtype=bool)
    is_core[theirs.core_sample_indices_] = True
    # The names of clusters differ, so each of theirs gets the name of ours that suits it best.
    n_names = max(int(theirs.labels_.max()) + 1, model.n_clusters)
    table = np.zeros((n_names, n_names))
    named = is_core & (ours != NOISE)
    np.add.at(table, (theirs.labels_[named], ours[named]), 1)
    # One place more, so that NOISE (the last place) stays what it is.
    renamed = np.append(linear_sum_assignment(-table)[1], NOISE)[theirs.labels_]
    same, is_noise = renamed == ours, theirs.labels_ == NOISE
    is_border = ~is_core & ~is_noise
    return Agreement(
        core=share(same[is_core]),
        noise=share(same[is_noise]),
        border=share(same[is_border]),
        all_rows=share(same),
        border_rows=float(np.mean(is_border)),
    )


def density_figures(results: Sequence[Density]) -> list[Figure]:
    mean = means([result.agreement for result in results])
    degenerate = [result for result in results if result.degenerate]
    flagged = [result for result in results if result.flagged]
    n_wrong = sum(result.flagged != result.degenerate for result in results)
    parts = ("core", "noise", "border", "all_rows", "border_rows")
    values = {part: [getattr(result.predict, part) for result in results] for part in parts}
    print_rows(
        f"DBSCAN predict on its training rows, battery ({len(results)})",
        ("rows", "mean", "worst"),
        (
            (part.replace("_", " "), f"{np.mean(values[part]):.2%}", f"{min(values[part]):.2%}")
            for part in parts[:-1]
        ),
    )
    print(
        f"\nBorder rows: {np.mean(values['border_rows']):.1%} on average, at most "
        f"{max(values['border_rows']):.1%}. Degenerate: {len(degenerate)}, flagged: {len(flagged)}."
    )
    return [
        Figure("eps by itself, mean ARI, battery", 0.60, mean["ours"], beside(mean)),
        Figure("degenerate sets with a wrong flag", 0, n_wrong, "", ".0f", True),
        Figure("predict on training rows, core, worst set", 1.0, min(values["core"]), "", ".2%"),
        Figure("… noise, worst set", 1.0, min(values["noise"]), "", ".2%"),
        Figure("… all, mean", 0.995, float(np.mean(values["all_rows"])), "", ".2%"),
    ]
