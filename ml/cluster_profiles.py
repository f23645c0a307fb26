"""What is said of a cluster: values only; `ml.description` computes them, `ml.cluster_names` the
words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """One feature of one cluster: the standardised mean difference, and how a person says it."""

    feature: str
    difference: float
    words: str


@dataclass(frozen=True, slots=True)
class LevelShare:
    """One level of a category, or yes of a boolean, among customers whose value is known.

    `ratio` is the cluster's share over everyone's: 2 says twice as common here.
    """

    level: str
    share: float
    everyone_share: float
    ratio: float


@dataclass(frozen=True, slots=True)
class FeatureProfile:
    """One feature of one cluster beside everyone's.

    Attributes
    ----------
    feature, kind : str
    median, everyone_median : float, str or None
        In raw units; an ISO date, or the commonest level of a category; None if unknown.
    difference : float or None
        Standardised mean difference on the model's scale; for a category that of the level whose
        share grows most. None if unknown.
    robust_difference : float or None
        (median - everyone's median) / (1.4826 MAD) for a number or date: more is earlier for a
        date. None for other kinds, and where nobody differs.
    levels : tuple of LevelShare
        For a category or boolean, the commonest of the cluster first.
    missing_share, everyone_missing_share : float in 0-1
    """

    feature: str
    kind: str
    median: float | str | None
    everyone_median: float | str | None
    difference: float | None
    robust_difference: float | None
    levels: tuple[LevelShare, ...]
    missing_share: float
    everyone_missing_share: float


@dataclass(frozen=True, slots=True)
class ClusterDescription:
    """One cluster in numbers and words.

    Attributes
    ----------
    cluster, n_customers : int
    share : float in 0-1
        Of all customers, noise among them.
    medians : mapping of feature name to its typical value
    distinguishing : tuple of Difference
        The features that set it apart, the largest difference first.
    suggested_name : str
        Of those features; rarely the same for two clusters of one version.
    features : tuple of FeatureProfile
    low_confidence_share : float in 0-1 or None
        Customers of the cluster below `ml.description.LOW_CONFIDENCE`; None when no confidence is
        known.
    """

    cluster: int
    n_customers: int
    share: float
    medians: Mapping[str, float | str | None]
    distinguishing: tuple[Difference, ...]
    suggested_name: str
    features: tuple[FeatureProfile, ...] = field(default=())
    low_confidence_share: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def gained(levels: Sequence[LevelShare]) -> LevelShare:
    """Find the level whose share grows most over everyone's; there must be one level."""
    return max(levels, key=lambda level: level.share - level.everyone_share)


def standardised(level: LevelShare) -> float:
    """Compute a share's difference in units of everyone's standard deviation, sqrt(p(1 - p)).

    p is everyone's share; 0 where nobody differs.
    """
    spread = math.sqrt(level.everyone_share * (1.0 - level.everyone_share))
    return (level.share - level.everyone_share) / spread if spread else 0.0
