"""The ways to raise a drift alarm: a version's own, a test a column, and Evidently's rule."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, ks_2samp

from ml.clusterers import ClusterModel
from ml.drift import DriftResult, ReferenceProfile, Scored, Verdict, compare
from ml.encoder import FeatureEncoder
from ml.features import RawColumns
from ml.fitting import fit_clusters
from ml.held_out import score_held_out
from ml.schema_learning import learn_schema
from ml.scored import score
from ml.shown_distances import jensen_shannon

AS_OF = date(2026, 1, 1)
THRESHOLD = 0.05
N_CLUSTERS = 5
LARGEST_FOR_OTHERS = 10_000  # current customers up to which the others are run too
WAYS = (
    "ours",
    "KS/χ², any p < .05",
    "KS/χ² + Bonferroni",
    "Evidently's default",
    "Evidently's, any column",
)

Outcome: TypeAlias = dict[str, float]


class Version(NamedTuple):
    """What a comparison needs to know of a trained version."""

    profile: ReferenceProfile
    encoder: FeatureEncoder
    clusters: ClusterModel

    @classmethod
    def train(cls, frame: pd.DataFrame, model_type: str = "kmeans") -> Self:
        schema = learn_schema(frame, as_of=AS_OF)
        encoder = FeatureEncoder(schema)
        raw = encoder.raw_from_frame(frame)
        X = encoder.encode(raw)
        parameters = {"n_clusters": N_CLUSTERS, "n_init": 2} if model_type == "kmeans" else {}
        fit = fit_clusters(model_type, X, parameters=parameters)
        profile = ReferenceProfile.fit(schema, raw, score_held_out(X, fit), fitted=fit.labels)
        return cls(profile, encoder, fit.model)

    def read(self, frame: pd.DataFrame) -> tuple[RawColumns, Scored]:
        raw = self.encoder.raw_from_frame(frame)
        return raw, self.score(raw)

    def score(self, raw: RawColumns) -> Scored:
        return score(
            self.encoder,
            self.clusters,
            raw,
            random_state=0,
            ignores_own_place=self.profile.ignores_own_place,
        )

    def compare(self, frame: pd.DataFrame, **options: object) -> DriftResult:
        return compare(self.profile, *self.read(frame), threshold=THRESHOLD, **options)


class Watched(NamedTuple):
    """A reference and the version trained on it."""

    frame: pd.DataFrame
    version: Version


def alarms(watched: Watched, current: pd.DataFrame, *, beside_others: bool) -> Outcome:
    found: Outcome = {"ours": float(watched.version.compare(current).verdict != Verdict.OK)}
    if beside_others and len(current) <= LARGEST_FOR_OTHERS:
        found |= others(watched.frame, current)
    return found


def others(reference: pd.DataFrame, current: pd.DataFrame) -> Outcome:
    """Alarm by a test a column, and by Evidently's default rule."""
    p_values = [p_value(reference[name], current[name]) for name in reference]
    by_rule = [evidently_drifted(reference[name], current[name]) for name in reference]
    return {
        "KS/χ², any p < .05": float(min(p_values) < THRESHOLD),
        "KS/χ² + Bonferroni": float(min(p_values) < THRESHOLD / len(p_values)),
        "Evidently's default": float(np.mean(by_rule) >= 0.5),
        "Evidently's, any column": float(any(by_rule)),
    }


def p_value(reference: pd.Series, current: pd.Series) -> float:
    if reference.dtype.kind in "fiub":
        return float(ks_2samp(reference.dropna(), current.dropna(), method="asymp").pvalue)
    return float(chi2_contingency(level_counts(reference, current))[1])


def level_counts(reference: pd.Series, current: pd.Series) -> np.ndarray:
    levels = pd.concat([reference, current]).dropna().unique()
    return np.array(
        [each.value_counts().reindex(levels, fill_value=0) for each in (reference, current)]
    )


def evidently_drifted(reference: pd.Series, current: pd.Series) -> bool:
    """Apply the rule that Evidently documents as its default, to one column.

    Up to 1,000 reference rows p < .05 of KS or chi-square; beyond, a Wasserstein distance of .1
    reference sd, or for categories and up to five values a Jensen-Shannon distance of .1.
    """
    if len(reference) <= 1_000:
        return p_value(reference, current) < 0.05
    if reference.dtype.kind in "fiub" and reference.nunique() > 5:
        return wasserstein_sd(reference, current) >= 0.1
    counts = level_counts(reference, current)
    return (jensen_shannon(counts[0], counts[1]) or 0.0) >= 0.1


def wasserstein_sd(reference: pd.Series, current: pd.Series) -> float:
    from scipy.stats import wasserstein_distance

    spread = max(float(reference.std()), 0.001)
    return wasserstein_distance(reference.dropna(), current.dropna()) / spread
