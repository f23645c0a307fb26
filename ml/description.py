"""What sets a cluster apart: its medians in raw units against everyone's, its levels, and the
features that differ most on the scale the model uses. Never centroids in encoded units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from ml.cluster_names import distinct_names, notable_differences, suggest_name
from ml.cluster_profiles import (
    ClusterDescription,
    FeatureProfile,
    LevelShare,
    gained,
    standardised,
)
from ml.features import Feature, FeatureSchema, FloatArray, Kind, RawColumns

N_DISTINGUISHING = 3
MAD_TO_SD = 1.4826
"""1 / the 75 % point of the normal law: makes the median absolute deviation a standard deviation.
Rousseeuw and Croux (1993)."""
MEAN_AD_TO_SD = 1.2533
"""sqrt(pi / 2), the same for the mean absolute deviation, which stands in where the median one is
0 because more than half are equal. Iglewicz and Hoaglin (1993)."""
LOW_CONFIDENCE = 0.1
"""1 - d1 / d2 below which a customer is as good as between two segments; a judgement."""
OTHER_LEVEL = "other"


def describe_clusters(
    schema: FeatureSchema,
    raw: RawColumns,
    labels: NDArray[np.int64],
    *,
    confidence: FloatArray | None = None,
) -> list[ClusterDescription]:
    """Describe each cluster of a clustering; noise has no description.

    Parameters
    ----------
    raw : mapping of feature name to float64 array of shape (n_samples,), in raw units
    labels : int64 array of shape (n_samples,); -1 is noise
    confidence : float64 array of shape (n_samples,), 1 - d1 / d2 in 0-1, optional
        NaN for customers whose confidence is not known: the share is that of the others.

    Returns
    -------
    One description a cluster, in the order of the labels.
    """
    everyone = [_everyone(f, raw[f.name], schema.as_of) for f in schema.features]
    clusters = np.unique(labels[labels >= 0]).tolist()
    described = [
        _describe(everyone, raw, labels == cluster, cluster, schema.as_of, confidence)
        for cluster in clusters
    ]
    names = distinct_names(described)
    return [
        replace(description, suggested_name=name)
        for description, name in zip(described, names, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Everyone:
    """One feature of all customers: what a cluster is held against.

    `mean` and `spread` are on the model's scale, `robust_spread` in raw units.
    """

    feature: Feature
    typical: float | str | None
    raw_median: float
    mean: float
    spread: float
    robust_spread: float
    level_shares: FloatArray
    missing_share: float


def _everyone(feature: Feature, values: FloatArray, as_of: date) -> _Everyone:
    known = values[~np.isnan(values)]
    scaled = _on_model_scale(feature, known)
    median = float(np.median(known)) if len(known) else math.nan
    return _Everyone(
        feature=feature,
        typical=_typical(feature, known, as_of),
        raw_median=median,
        mean=float(scaled.mean()) if len(known) else math.nan,
        spread=float(scaled.std()) if len(known) else 0.0,
        robust_spread=_robust_spread(known, median),
        level_shares=_level_shares(feature, known),
        missing_share=_missing_share(values, known),
    )


def _robust_spread(known: FloatArray, median: float) -> float:
    if not len(known):
        return 0.0
    deviations = np.abs(known - median)
    return MAD_TO_SD * float(np.median(deviations)) or MEAN_AD_TO_SD * float(deviations.mean())


def _missing_share(values: FloatArray, known: FloatArray) -> float:
    return 1.0 - len(known) / len(values) if len(values) else 0.0


def _describe(
    everyone: Sequence[_Everyone],
    raw: RawColumns,
    members: NDArray[np.bool_],
    cluster: int,
    as_of: date,
    confidence: FloatArray | None,
) -> ClusterDescription:
    profiles = tuple(_profile(each, raw[each.feature.name][members], as_of) for each in everyone)
    differences = notable_differences(profiles)
    return ClusterDescription(
        cluster=cluster,
        n_customers=int(members.sum()),
        share=float(members.mean()),
        medians={profile.feature: profile.median for profile in profiles},
        distinguishing=tuple(differences[:N_DISTINGUISHING]),
        suggested_name=suggest_name(differences),
        features=profiles,
        low_confidence_share=None if confidence is None else _low_share(confidence[members]),
    )


def _low_share(confidence: FloatArray) -> float | None:
    known = confidence[~np.isnan(confidence)]
    return float((known < LOW_CONFIDENCE).mean()) if len(known) else None


def _profile(everyone: _Everyone, values: FloatArray, as_of: date) -> FeatureProfile:
    feature = everyone.feature
    known = values[~np.isnan(values)]
    levels = _levels(everyone, known)
    return FeatureProfile(
        feature=feature.name,
        kind=feature.kind.value,
        median=_typical(feature, known, as_of),
        everyone_median=everyone.typical,
        difference=_mean_difference(everyone, known, levels),
        robust_difference=_robust_difference(everyone, known),
        levels=levels,
        missing_share=_missing_share(values, known),
        everyone_missing_share=everyone.missing_share,
    )


def _typical(feature: Feature, known: FloatArray, as_of: date) -> float | str | None:
    """The median, a date in ISO form; for a category its commonest level; None if unknown."""
    if not len(known):
        return None
    if feature.kind is Kind.CATEGORY:
        return _level_names(feature)[int(np.bincount(_codes(feature, known)).argmax())]
    median = float(np.median(known))
    if feature.kind is Kind.DATE:
        return (as_of - timedelta(days=round(median))).isoformat()
    return median


def _mean_difference(
    everyone: _Everyone, known: FloatArray, levels: Sequence[LevelShare]
) -> float | None:
    if not len(known):
        return None
    if everyone.feature.kind is Kind.CATEGORY:
        return standardised(gained(levels))
    mean = float(_on_model_scale(everyone.feature, known).mean())
    return (mean - everyone.mean) / everyone.spread if everyone.spread else 0.0


def _robust_difference(everyone: _Everyone, known: FloatArray) -> float | None:
    is_ordered = everyone.feature.kind in (Kind.NUMBER, Kind.DATE)
    if not (is_ordered and len(known) and everyone.robust_spread):
        return None
    difference = (float(np.median(known)) - everyone.raw_median) / everyone.robust_spread
    return difference if math.isfinite(difference) else None


def _on_model_scale(feature: Feature, values: FloatArray) -> FloatArray:
    return np.log1p(np.maximum(values, 0.0)) if feature.log else values


# Levels.


def _levels(everyone: _Everyone, known: FloatArray) -> tuple[LevelShare, ...]:
    """Levels that occur, the cluster's commonest first; rare and unseen ones together."""
    feature = everyone.feature
    if feature.kind not in (Kind.CATEGORY, Kind.BOOLEAN):
        return ()
    own = _level_shares(feature, known)
    names = ("yes",) if feature.kind is Kind.BOOLEAN else (*feature.levels, OTHER_LEVEL)
    table = zip(names, own.tolist(), everyone.level_shares.tolist(), strict=True)
    levels = [LevelShare(name, share, all_, share / all_) for name, share, all_ in table if all_]
    return tuple(sorted(levels, key=lambda level: -level.share))


def _level_shares(feature: Feature, known: FloatArray) -> FloatArray:
    if feature.kind is Kind.BOOLEAN:
        return np.array([known.mean() if len(known) else 0.0])
    if feature.kind is not Kind.CATEGORY:
        return np.empty(0)
    n_levels = len(feature.levels)
    codes = np.minimum(_codes(feature, known), n_levels)
    return np.bincount(codes, minlength=n_levels + 1) / max(1, len(known))


def _codes(feature: Feature, values: FloatArray) -> NDArray[np.int64]:
    """Level codes with unseen levels as one more code after the known ones."""
    codes = values.astype(np.int64)
    return np.where(codes < 0, len(feature.levels) + len(feature.rare_levels), codes)


def _level_names(feature: Feature) -> Sequence[str]:
    return (*feature.levels, *feature.rare_levels, "unseen level")
