"""The clusters of a fit as people read them: figures, words, a rule, and how firm they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.cluster_fits import fit_dbscan, fit_kmeans
from ml.cluster_profiles import ClusterDescription
from ml.clusterers import ClusterModel, DBSCANModel, FloatArray
from ml.description import describe_clusters
from ml.explanation import Explainer
from ml.features import FeatureSchema, RawColumns
from ml.fitting import Fit
from ml.rules import SegmentRule, describe_rules
from ml.stability import cluster_stability

MAX_CONFIDENCE_ROWS = 20_000
"""Customers whose confidence is looked at; a share of so many is known to within 1 %."""
MAX_DENSITY_ROWS = 2_000
"""Customers beyond which DBSCAN is not fitted again and again to see what is stable."""


@dataclass(frozen=True, slots=True)
class DescribedCluster:
    """One cluster; `stability` is None where the fit is too large to be repeated."""

    description: ClusterDescription
    rule: SegmentRule
    stability: float | None


def describe_fit(
    schema: FeatureSchema, raw: RawColumns, X: FloatArray, fit: Fit
) -> list[DescribedCluster]:
    """Describe each cluster of a fit, in the order of the labels; noise has no description.

    Parameters
    ----------
    raw, X : raw columns and encoded rows of the reference customers
    fit : their clustering
    """
    seed = int(fit.parameters["random_state"])
    described = describe_clusters(
        schema, raw, fit.labels, confidence=_confidence(schema, X, fit.model, seed)
    )
    rules = {
        rule.cluster: rule for rule in describe_rules(schema, raw, fit.labels, random_state=seed)
    }
    stability = _stability(X, fit, seed)
    return [
        DescribedCluster(each, rules[each.cluster], stability.get(each.cluster))
        for each in described
    ]


def _confidence(schema: FeatureSchema, X: FloatArray, model: ClusterModel, seed: int) -> FloatArray:
    """The confidence of sampled customers, NaN for the others."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(X))[:MAX_CONFIDENCE_ROWS])
    confidence = np.full(len(X), np.nan)
    confidence[rows] = Explainer(model, schema).confidence(np.ascontiguousarray(X[rows]))
    return confidence


def _stability(X: FloatArray, fit: Fit, seed: int) -> dict[int, float]:
    """By cluster, whether it is found again when the customers change a little."""
    parameters = fit.parameters

    def refit_kmeans(rows: FloatArray) -> ClusterModel:
        n_clusters = min(int(parameters["n_clusters"]), len(np.unique(rows, axis=0)))
        return fit_kmeans(rows, n_clusters=n_clusters, n_init=1, random_state=seed)[0]

    def refit_dbscan(rows: FloatArray) -> ClusterModel:
        eps, min_samples = float(parameters["eps"]), int(parameters["min_samples"])
        return fit_dbscan(rows, eps=eps, min_samples=min_samples)[0]

    if isinstance(fit.model, DBSCANModel):
        if len(X) > MAX_DENSITY_ROWS:
            return {}
        return cluster_stability(refit_dbscan, X, fit.labels, random_state=seed)
    return cluster_stability(refit_kmeans, X, fit.labels, random_state=seed)
