"""What serves, a card for each model type, and how large its segments are beside training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.timesince import timesince

from access.figures import NONE, figure, share
from access.staff import Table
from modelregistry.choice_page import UNTESTED, evidence_of
from modelregistry.comparison_page import points
from modelregistry.models import Activation, ActiveModel, ModelType, ModelVersion
from monitoring.home_page import last_report, quality_now
from segments.models import VersionSegment
from segments.sizes import Sizes, segment_sizes

MAX_SEGMENTS = 12
"""Segments in a table of the overview, the largest; the others are counted."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model type with the version that serves, if any, and since when."""

    pointer: ActiveModel
    version: ModelVersion | None
    since: datetime | None


@dataclass(frozen=True, slots=True)
class SegmentSizes:
    """The segments of one version, now beside training."""

    version: ModelVersion
    table: Table
    n_more: int
    words: str


def served_versions() -> list[Served]:
    """K-means before DBSCAN; two queries."""
    pointers = ActiveModel.objects.select_related("active__artifact_check", "previous")
    found = list(pointers.order_by("-model_type"))
    activations = Activation.objects.filter(
        to_version__in=[pointer.active_id for pointer in found if pointer.active_id]
    )
    since: dict[int, datetime] = dict(
        activations.order_by("generation").values_list("to_version", "activated_at")
    )
    return [Served(pointer, pointer.active, since.get(pointer.active_id or 0)) for pointer in found]


def card(request: HttpRequest, served: Served, *, at: datetime) -> dict[str, Any]:
    """What `home_model.html` shows of one model type."""
    version, may = served.version, request.user.has_perm
    shown: dict[str, Any] = {"pointer": served.pointer, "version": version}
    if version is None:
        return shown
    shown["age"] = timesince(served.since, at, depth=1) if served.since else ""
    shown["since"] = served.since
    shown["trained_age"] = timesince(version.trained_at, at, depth=1)
    shown["evidence"] = evidence_of(version)
    shown["untested"] = UNTESTED
    shown["silhouette"] = figure(version.metrics.get("silhouette"))
    if may("monitoring.view_qualitypoint"):
        shown["quality"] = quality_now(version)
    if may("monitoring.view_driftreport"):
        shown["report"] = last_report(version)
    return shown


def segment_tables(
    served: Sequence[Served], *, with_links: bool, at: datetime
) -> list[SegmentSizes]:
    """One query, and one for each version whose sizes are not kept."""
    versions = [each.version for each in served if each.version is not None]
    rows = VersionSegment.objects.filter(version__in=versions).select_related("segment")
    parts = list(rows.defer("features", "distinguishing", "medians", "rule"))
    return [
        _segment_sizes(
            version,
            [part for part in parts if part.version_id == version.pk],
            segment_sizes(version.pk, at=at),
            with_links=with_links,
        )
        for version in versions
    ]


def _segment_sizes(
    version: ModelVersion, parts: Sequence[VersionSegment], sizes: Sizes, *, with_links: bool
) -> SegmentSizes:
    trained: Mapping[int | None, float] = {part.segment_id: part.share for part in parts}
    parts = sorted(parts, key=lambda part: -sizes.by_segment.get(part.segment_id, 0))

    def cells(name: Any, segment_id: int | None, before: float | None) -> tuple[Any, ...]:
        now = sizes.share(segment_id)
        change = NONE if now is None or before is None else points(now - before)
        n_customers = sizes.by_segment.get(segment_id, 0)
        return name, figure(n_customers), share(now), share(before), change

    found = [
        cells(_name(part, with_links=with_links), part.segment_id, trained[part.segment_id])
        for part in parts[:MAX_SEGMENTS]
    ]
    if version.model_type == ModelType.DBSCAN:
        found.append(cells("no segment (noise)", None, version.metrics.get("noise_share")))
    return SegmentSizes(
        version,
        Table(
            ["Segment", "Customers", "Share", "Then", "Change"],
            found,
            numbers_from=1,
            empty="It has no segment.",
        ),
        max(len(parts) - MAX_SEGMENTS, 0),
        f"{figure(sizes.n_customers)} customers, counted at {sizes.counted_at:%H:%M} UTC. Then: at "
        f"training on {version.trained_at:%d %b %Y}, of {figure(version.n_customers)} customers. "
        "pp: percentage points.",
    )


def _name(part: VersionSegment, *, with_links: bool) -> Any:
    if not with_links:
        return part.segment.name
    url = reverse("admin:segments_segment_change", args=[part.segment_id])
    return format_html('<a href="{}">{}</a>', url, part.segment.name)
