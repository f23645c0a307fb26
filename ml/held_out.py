"""How the customers of a training look to a model that did not see them.
A model lies closer to its own customers than to any others; only these distances compare."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ml.cluster_fits import distinct_rows, single_threaded
from ml.clusterers import (
    DBSCANModel,
    FloatArray,
    KMeansModel,
    widened,
)
from ml.fitting import Fit
from ml.row_samples import sample_rows
from ml.scored import NearestOther, Scored, max_scored

N_FOLDS = 10
# Customers beyond which nobody pulls a centre noticeably: an own distance is then too short by
# some n_clusters n_columns / n, a thousandth.
MAX_REFITTED = 100_000
MAX_ITERATIONS = 50
FEW_TWINS = 0.05  # share of customers who are not alone at their place; by judgement


def score_held_out(X: FloatArray, fit: Fit) -> Scored:
    """Score the training customers as if they were new.

    Parameters
    ----------
    X : float64 (n, n_columns), encoded training rows
    fit : what was fitted on them; its `random_state` seeds folds and samples

    Returns
    -------
    Scored

    Notes
    -----
    k-means: labels of the fit; distances to the nearest centre once the centres are refitted,
    from where they are, without that tenth of the customers (with distances in sample, one check in
    ten raised a false alarm at 300 customers). DBSCAN: what predict would say of a customer had it
    been left out, which takes its own density from its neighbours; where a sample of a large table
    was fitted nearly everybody was left out, and predict's answer is taken.
    """
    random_state = int(fit.parameters["random_state"])
    if isinstance(fit.model, DBSCANModel):
        rows = sample_rows(len(X), max_scored(fit.model), random_state=random_state)
        if fit.n_fitted is not None:
            prediction = fit.model.predict(X if rows is None else X[rows])
            return Scored(prediction.labels, prediction.distances, rows)
        return _without_itself(X, fit.model, int(fit.parameters["min_samples"]), rows)
    if len(X) > MAX_REFITTED or len(X) < N_FOLDS * fit.model.n_clusters:
        return Scored(fit.labels, fit.model.predict(X).distances)
    return Scored(fit.labels, _out_of_fold(X, fit.model, random_state))


def _out_of_fold(X: FloatArray, clusters: KMeansModel, random_state: int) -> FloatArray:
    """Return the distance of each row to the nearest centre refitted without its fold.

    The encoder's means and scales are the customers' own as well: each fold is put where they
    would have put it without that fold.
    """
    fold = np.random.default_rng(random_state).permutation(len(X)) % N_FOLDS
    mean, sd = X.mean(axis=0), X.std(axis=0)
    distances = np.empty(len(X))
    for held_out in range(N_FOLDS):
        inside = fold == held_out
        others = X[~inside]
        spread = others.std(axis=0)
        scale = np.divide(sd, spread, out=np.ones_like(sd), where=spread > 0)
        rescaled = (X - others.mean(axis=0)) * scale + mean
        centers = _refitted(rescaled[~inside], clusters.centers)
        distances[inside] = KMeansModel(centers).predict(rescaled[inside]).distances
    return distances


def _refitted(X: FloatArray, centers: FloatArray) -> FloatArray:
    # Only training needs scikit-learn: the web process never loads it.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    # A tolerance of 0: the first step from converged centres is short and would end the search.
    kmeans = KMeans(
        len(centers), init=centers, n_init=1, tol=0.0, max_iter=MAX_ITERATIONS, random_state=0
    )
    with single_threaded().limit(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans.fit(X)
    return np.ascontiguousarray(kmeans.cluster_centers_, dtype=np.float64)


def _without_itself(
    X: FloatArray, clusters: DBSCANModel, min_samples: int, sampled: NDArray[np.int64] | None
) -> Scored:
    """Score rows by the core samples that are left once the row is taken away.

    Taking a row away costs each core sample within eps one neighbour: those with just
    `min_samples` of them stop being core. A core sample at the row's own place is the row itself,
    unless it has a twin. Where twins are few, a core sample at the very place of a customer is
    taken for that customer always, so that it does not matter whether a current one was there at
    training.
    """
    rows, counts, inverse = distinct_rows(X)
    radius = widened(clusters.eps)
    everyone = cKDTree(np.repeat(rows, counts, axis=0))
    n_near = everyone.query_ball_point(clusters.core_samples, radius, return_length=True)
    strong = np.asarray(n_near) > min_samples
    n_alike = counts[inverse]
    ignores_own_place = bool(np.mean(n_alike > 1) < FEW_TWINS)
    wanted = slice(None) if sampled is None else sampled
    alone = (n_alike[wanted] == 1) | ignores_own_place
    near = NearestOther.of(X[wanted], alone, clusters.core_samples[strong])
    # Beyond eps a core sample loses nothing, so the weak ones count for the distance there.
    far = NearestOther.of(X[wanted], alone, clusters.core_samples).distances
    distances = np.where(near.distances <= radius, near.distances, np.maximum(far, radius))
    return Scored(
        near.labels(clusters.core_labels[strong], clusters.eps),
        np.minimum(distances, near.distances),
        sampled,
        ignores_own_place,
    )
