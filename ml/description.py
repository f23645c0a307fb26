"""What sets a cluster apart: its medians in raw units against everyone's, its levels, and the
features that differ most on the scale the model uses. Never centroids in encoded units."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml.features import Feature, FeatureSchema, FloatArray, Kind, RawColumns

if TYPE_CHECKING:
    from ml.clusterers import ClusterModel

NOTABLE = 0.5
"""Standard deviations below which a difference is not worth a name: Cohen's (1988) "medium"."""
EXTREME = 1.2
"""Standard deviations from which a difference is called very high or low: Sawilowsky's (2009)
"very large"."""
N_DISTINGUISHING = 3
N_IN_NAME = 2
MAX_EXTRA_WORDS = 2
"""What a name may grow by so that two clusters do not share it."""
MAD_TO_SD = 1.4826
"""1 / the 75 % point of the normal law: makes the median absolute deviation a standard deviation.
Rousseeuw and Croux (1993)."""
MEAN_AD_TO_SD = 1.2533
"""sqrt(pi / 2), the same for the mean absolute deviation, which stands in where the median one is
0 because more than half are equal. Iglewicz and Hoaglin (1993)."""
LOW_CONFIDENCE = 0.1
"""1 - d1 / d2 below which a customer is as good as between two segments; a judgement."""
N_BOOTSTRAPS = 20
"""Refits for a stability: the standard error of a mean of so many Jaccards is below .1."""
MAX_STABILITY_ROWS = 2_000
OTHER_LEVEL = "other"


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
        Customers of the cluster below `LOW_CONFIDENCE`; None when no confidence is known.
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
    names = _distinct_names(described)
    return [
        replace(description, suggested_name=name)
        for description, name in zip(described, names, strict=True)
    ]


def cluster_stability(
    refit: Callable[[FloatArray], ClusterModel],
    X: FloatArray,
    labels: NDArray[np.int64],
    *,
    random_state: int,
    n_bootstraps: int = N_BOOTSTRAPS,
    max_rows: int = MAX_STABILITY_ROWS,
) -> dict[int, float]:
    """Ask of each cluster whether it is found again when the customers change a little.

    Parameters
    ----------
    refit : callable
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
        model = refit(sample[rng.integers(len(sample), size=len(sample))])
        found = model.predict(sample).labels
        totals += [_best_jaccard(own == cluster, found) for cluster in clusters]
    return dict(zip(clusters.tolist(), (totals / n_bootstraps).tolist(), strict=True))


def _best_jaccard(members: NDArray[np.bool_], found: NDArray[np.int64]) -> float:
    n_clusters = int(found.max(initial=-1)) + 1
    sizes = np.bincount(found[found >= 0], minlength=n_clusters)
    shared = np.bincount(found[members & (found >= 0)], minlength=n_clusters)
    return float((shared / (sizes + members.sum() - shared)).max(initial=0.0))


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
    differences = _differences(profiles)
    return ClusterDescription(
        cluster=cluster,
        n_customers=int(members.sum()),
        share=float(members.mean()),
        medians={profile.feature: profile.median for profile in profiles},
        distinguishing=tuple(differences[:N_DISTINGUISHING]),
        suggested_name=_name(differences),
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
        return _standardised(_gained(levels))
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


def _gained(levels: Sequence[LevelShare]) -> LevelShare:
    return max(levels, key=lambda level: level.share - level.everyone_share)


def _standardised(level: LevelShare) -> float:
    """The share's difference in units of everyone's standard deviation, sqrt(p(1 - p))."""
    spread = math.sqrt(level.everyone_share * (1.0 - level.everyone_share))
    return (level.share - level.everyone_share) / spread if spread else 0.0


def _codes(feature: Feature, values: FloatArray) -> NDArray[np.int64]:
    """Level codes with unseen levels as one more code after the known ones."""
    codes = values.astype(np.int64)
    return np.where(codes < 0, len(feature.levels) + len(feature.rare_levels), codes)


def _level_names(feature: Feature) -> Sequence[str]:
    return (*feature.levels, *feature.rare_levels, "unseen level")


# Words.


def feature_title(name: str) -> str:
    """Say an attribute's name as people would: `Annual_Income (k$)` is "annual income (k$)"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.replace("_", " "))
    lowered = re.sub(r"\b[A-Z][a-z]+", lambda word: word[0].lower(), spaced)
    return " ".join(lowered.split()) or name


def _short_title(name: str) -> str:
    """The title without a unit in brackets, which a name of a segment does not need."""
    title = feature_title(name)
    return re.sub(r"\s*[(\[][^)\]]*[)\]]$", "", title) or title


def _differences(profiles: Sequence[FeatureProfile]) -> list[Difference]:
    """Those worth a name, the largest first."""
    differences = [
        Difference(profile.feature, profile.difference, _words(profile, profile.difference))
        for profile in profiles
        if profile.difference is not None and abs(profile.difference) >= NOTABLE
    ]
    return sorted(differences, key=lambda item: (-abs(item.difference), item.feature))


def _words(profile: FeatureProfile, difference: float) -> str:
    title = _short_title(profile.feature)
    if profile.kind == Kind.CATEGORY:
        return f"{title} {_gained(profile.levels).level}"
    if profile.kind == Kind.BOOLEAN:
        return title if difference > 0 else f"not {title}"
    high, low = ("high", "low")
    if profile.kind == Kind.DATE:
        high, low = ("early", "late")
        title = title.removesuffix(" on")
    degree = "very " if abs(difference) >= EXTREME else ""
    return f"{degree}{high if difference > 0 else low} {title}"


def _named(differences: Sequence[Difference]) -> list[Difference]:
    """The largest difference, and the next that says something else: no word of it in common.

    Columns that share a word (`page_visits`, `page_minutes`) mostly say the same thing twice.
    """
    if not differences:
        return []
    first, *rest = differences
    own = set(_short_title(first.feature).split())
    others = [item for item in rest if own.isdisjoint(_short_title(item.feature).split())]
    return [first, *(others or rest)[: N_IN_NAME - 1]]


def _name(differences: Sequence[Difference]) -> str:
    return _capitalised([item.words for item in _named(differences)] or ["typical customers"])


def _capitalised(words: Sequence[str]) -> str:
    name = ", ".join(words)
    return name[0].upper() + name[1:]


@dataclass(frozen=True, slots=True)
class _Trait:
    """A standardised difference, and how a cluster with more or less of it is told from others."""

    difference: float
    more: str
    less: str


def _traits(description: ClusterDescription) -> dict[tuple[str, str], _Trait]:
    """By feature and level; the level is "" unless it is a category."""
    traits: dict[tuple[str, str], _Trait] = {}
    for profile in description.features:
        title = _short_title(profile.feature)
        if profile.kind == Kind.CATEGORY:
            for level in profile.levels:
                words = f"often {title} {level.level}"
                key = (profile.feature, level.level)
                traits[key] = _Trait(_standardised(level), f"more {words}", f"less {words}")
        elif profile.difference is not None:
            more, less = _COMPARATIVES[Kind(profile.kind)]
            key = (profile.feature, "")
            traits[key] = _Trait(profile.difference, f"{more} {title}", f"{less} {title}")
    return traits


_COMPARATIVES = {
    Kind.NUMBER: ("higher", "lower"),
    Kind.DATE: ("earlier", "later"),
    Kind.BOOLEAN: ("more often", "less often"),
}


def _distinct_names(described: Sequence[ClusterDescription]) -> list[str]:
    """Suggested names; those that clusters would share grow by what tells these apart."""
    names = [description.suggested_name for description in described]
    traits = [_traits(description) for description in described]
    used = [{item.feature for item in _named(_differences(d.features))} for d in described]
    for _ in range(MAX_EXTRA_WORDS):
        counts, before = Counter(names), list(names)
        for place, name in enumerate(before):
            if counts[name] == 1:
                continue
            others = [traits[i] for i, other in enumerate(before) if other == name and i != place]
            found = _furthest(traits[place], others, used[place])
            if found is not None:
                used[place].add(found[0])
                names[place] = f"{name}, {found[1]}"
            else:
                names[place] = _with_value(name, described[place])
    return names


def _furthest(
    own: Mapping[tuple[str, str], _Trait],
    others: Sequence[Mapping[tuple[str, str], _Trait]],
    used: set[str],
) -> tuple[str, str] | None:
    """The feature not yet named that differs most from the mean of the others, with its words."""
    gaps = {
        key: trait.difference
        - sum(other[key].difference for other in others if key in other) / len(others)
        for key, trait in own.items()
        if key[0] not in used
    }
    if not any(gaps.values()):
        return None
    key = max(gaps, key=lambda key: abs(gaps[key]))
    return key[0], own[key].more if gaps[key] > 0 else own[key].less


def _with_value(name: str, description: ClusterDescription) -> str:
    """The last resort, when every feature is in the name: the typical value of the first."""
    profile = max(description.features, key=lambda profile: abs(profile.difference or 0.0))
    if not isinstance(profile.median, float):
        return name
    words = f", around {_short(profile.median)}"
    return name if name.endswith(words) else name + words


def _short(value: float) -> str:
    """Three significant digits, never in powers of ten where a person would not write them."""
    rounded = float(f"{value:.2e}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"
