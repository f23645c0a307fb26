"""The segments of one version: what training found, and how many customers are in each now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count

from modelregistry.models import ModelType, ModelVersion
from segments.models import Assignment, Segment, VersionSegment


@dataclass(frozen=True, slots=True)
class Size:
    """Customers now and at training; shares are of all, noise among them, None of nobody."""

    n_customers: int
    share: float | None
    n_customers_trained: int
    share_trained: float | None


@dataclass(frozen=True, slots=True)
class SegmentProfile:
    """One segment; `row` is its description at training, `related` what `row` names by id."""

    row: VersionSegment
    size: Size
    related: Sequence[Segment]

    @property
    def features(self) -> Sequence[Mapping[str, Any]]:
        """Each feature beside everyone's; of an older version only the medians are known."""
        features: Sequence[Mapping[str, Any]] = self.row.features
        return features or [
            {"feature": name, "median": median} for name, median in self.row.medians.items()
        ]


@dataclass(frozen=True, slots=True)
class Profiles:
    """All segments of a version in the order of its clusters; `noise` is None for K-means."""

    version: ModelVersion
    n_customers: int
    noise: Size | None
    segments: Sequence[SegmentProfile]


def profiles_of(version: ModelVersion) -> Profiles:
    """Three queries; the customers are counted in the assignments' index."""
    rows = list(version.segments.select_related("segment"))
    related = Segment.objects.in_bulk({key for row in rows for key in row.related_segments})
    sizes = dict(
        Assignment.objects.filter(version=version).values_list("segment_id").annotate(n=Count("*"))
    )
    n_customers = sum(sizes.values())

    def size(segment_id: int | None, n_trained: int, share_trained: float | None) -> Size:
        n = sizes.get(segment_id, 0)
        return Size(n, n / n_customers if n_customers else None, n_trained, share_trained)

    noise = None
    if version.model_type == ModelType.DBSCAN:
        n_noise = version.n_customers - sum(row.n_customers for row in rows)
        noise = size(None, n_noise, version.metrics.get("noise_share"))
    return Profiles(
        version,
        n_customers,
        noise,
        [
            SegmentProfile(
                row,
                size(row.segment_id, row.n_customers, row.share),
                [related[key] for key in row.related_segments if key in related],
            )
            for row in rows
        ],
    )
