"""What a cluster is called: the features that differ most, in words, and what tells apart clusters
that would share a name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml.cluster_profiles import (
    ClusterDescription,
    Difference,
    FeatureProfile,
    gained,
    standardised,
)
from ml.features import Kind

NOTABLE = 0.5
"""Standard deviations below which a difference is not worth a name: Cohen's (1988) "medium"."""
EXTREME = 1.2
"""Standard deviations from which a difference is called very high or low: Sawilowsky's (2009)
"very large"."""
N_IN_NAME = 2
MAX_EXTRA_WORDS = 2
"""What a name may grow by so that two clusters do not share it."""


def feature_title(name: str) -> str:
    """Say an attribute's name as people would: `Annual_Income (k$)` is "annual income (k$)"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.replace("_", " "))
    lowered = re.sub(r"\b[A-Z][a-z]+", lambda word: word[0].lower(), spaced)
    return " ".join(lowered.split()) or name


def _short_title(name: str) -> str:
    """The title without a unit in brackets, which a name of a segment does not need."""
    title = feature_title(name)
    return re.sub(r"\s*[(\[][^)\]]*[)\]]$", "", title) or title


def notable_differences(profiles: Sequence[FeatureProfile]) -> list[Difference]:
    """Find the differences that are worth a name, the largest first.

    Parameters
    ----------
    profiles : sequence of FeatureProfile
        All features of one cluster.

    Returns
    -------
    Those from `NOTABLE` on, above or below, with their words; by name where they are equal.
    """
    differences = [
        Difference(profile.feature, profile.difference, _words(profile, profile.difference))
        for profile in profiles
        if profile.difference is not None and abs(profile.difference) >= NOTABLE
    ]
    return sorted(differences, key=lambda item: (-abs(item.difference), item.feature))


def _words(profile: FeatureProfile, difference: float) -> str:
    title = _short_title(profile.feature)
    if profile.kind == Kind.CATEGORY:
        return f"{title} {gained(profile.levels).level}"
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


def suggest_name(differences: Sequence[Difference]) -> str:
    """Name a cluster by its notable differences, as `notable_differences` orders them."""
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
                traits[key] = _Trait(standardised(level), f"more {words}", f"less {words}")
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


def distinct_names(described: Sequence[ClusterDescription]) -> list[str]:
    """Let the suggested names that clusters would share grow by what tells these apart.

    Parameters
    ----------
    described : sequence of ClusterDescription
        All clusters of one version.

    Returns
    -------
    A name for each, in their order; rarely the same for two.
    """
    names = [description.suggested_name for description in described]
    traits = [_traits(description) for description in described]
    used = [{item.feature for item in _named(notable_differences(d.features))} for d in described]
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
