"""What sets a cluster apart: its medians in raw units, and its mean against everyone's in
standard deviations of the scale the model uses. Never centroids in encoded units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.features import Feature, FeatureSchema, Kind, RawColumns

NOTABLE = 0.5
"""Standard deviations below which a difference is not worth a name: Cohen's (1988) "medium"."""
N_DISTINGUISHING = 3
N_IN_NAME = 2


@dataclass(frozen=True, slots=True)
class Difference:
    """One feature of one cluster: the standardised mean difference, and how a person says it."""

    feature: str
    difference: float
    words: str


@dataclass(frozen=True, slots=True)
class ClusterDescription:
    cluster: int
    n_customers: int
    share: float
    medians: Mapping[str, float | str | None]
    distinguishing: tuple[Difference, ...]

    @property
    def suggested_name(self) -> str:
        words = [item.words for item in self.distinguishing[:N_IN_NAME]]
        name = ", ".join(words) or "typical customers"
        return name[0].upper() + name[1:]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def describe_clusters(
    schema: FeatureSchema, raw: RawColumns, labels: NDArray[np.int64]
) -> list[ClusterDescription]:
    """Describe each cluster of a clustering; noise has no description.

    Parameters
    ----------
    raw : mapping of feature name to float64 array of shape (n_samples,), in raw units
    labels : int64 array of shape (n_samples,); -1 is noise

    Returns
    -------
    One description a cluster, in the order of the labels.
    """
    return [
        _describe(schema, raw, labels == cluster, int(cluster))
        for cluster in np.unique(labels[labels >= 0])
    ]


def _describe(
    schema: FeatureSchema, raw: RawColumns, members: NDArray[np.bool_], cluster: int
) -> ClusterDescription:
    differences = [
        difference
        for feature in schema.features
        if (difference := _difference(feature, raw[feature.name], members)) is not None
    ]
    differences.sort(key=lambda item: (-abs(item.difference), item.feature))
    return ClusterDescription(
        cluster=cluster,
        n_customers=int(members.sum()),
        share=float(members.mean()),
        medians={
            feature.name: _typical(feature, raw[feature.name][members], schema.as_of)
            for feature in schema.features
        },
        distinguishing=tuple(differences[:N_DISTINGUISHING]),
    )


def _typical(feature: Feature, values: NDArray[np.float64], as_of: date) -> float | str | None:
    """The median, a date in ISO form; for a category its commonest level; None if unknown."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    if feature.kind is Kind.CATEGORY:
        return _level_names(feature)[int(np.bincount(_codes(feature, known)).argmax())]
    median = float(np.median(known))
    if feature.kind is Kind.DATE:
        return (as_of - timedelta(days=round(median))).isoformat()
    return median


def _difference(
    feature: Feature, values: NDArray[np.float64], members: NDArray[np.bool_]
) -> Difference | None:
    known = ~np.isnan(values)
    inside = values[known & members]
    if not len(inside):
        return None
    if feature.kind is Kind.CATEGORY:
        return _level_difference(feature, inside, values[known])
    if feature.kind is Kind.BOOLEAN:
        share, everyone = float(inside.mean()), float(values[known].mean())
        return _share_difference(feature.name, _title(feature), share, everyone)
    population = _on_model_scale(feature, values[known])
    spread = float(population.std())
    mean = float(_on_model_scale(feature, inside).mean())
    difference = (mean - float(population.mean())) / spread if spread else 0.0
    if abs(difference) < NOTABLE:
        return None
    direction = "high" if difference > 0 else "low"
    if feature.kind is Kind.DATE:
        direction = "early" if difference > 0 else "late"  # more days before the training date
    return Difference(feature.name, difference, f"{direction} {_title(feature)}")


def _on_model_scale(feature: Feature, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log1p(np.maximum(values, 0.0)) if feature.log else values


def _level_difference(
    feature: Feature, inside: NDArray[np.float64], everyone: NDArray[np.float64]
) -> Difference | None:
    names = _level_names(feature)
    own = np.bincount(_codes(feature, inside), minlength=len(names)) / len(inside)
    all_ = np.bincount(_codes(feature, everyone), minlength=len(names)) / len(everyone)
    level = int((own - all_).argmax())
    title = f"{_title(feature)} {names[level]}"
    return _share_difference(feature.name, title, float(own[level]), float(all_[level]))


def _share_difference(feature: str, title: str, share: float, everyone: float) -> Difference | None:
    """Shares in units of the population's standard deviation, sqrt(p(1 - p))."""
    spread = float(np.sqrt(everyone * (1 - everyone)))
    difference = (share - everyone) / spread if spread else 0.0
    if abs(difference) < NOTABLE:
        return None
    return Difference(feature, difference, title if difference > 0 else f"not {title}")


def _codes(feature: Feature, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Level codes with unseen levels as one more code after the known ones."""
    codes = values.astype(np.int64)
    return np.where(codes < 0, len(feature.levels) + len(feature.rare_levels), codes)


def _level_names(feature: Feature) -> Sequence[str]:
    return (*feature.levels, *feature.rare_levels, "unseen level")


def _title(feature: Feature) -> str:
    return feature.name.replace("_", " ").strip()
