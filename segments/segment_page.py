"""One segment over the versions of its model type: where it was, how large, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Min
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access.figures import NONE, figure, share
from access.staff import Table
from modelregistry.models import Activation, ModelVersion, State
from segments.description_page import (
    RETIRED,
    Card,
    TypicalTable,
    cards,
    fate_label,
    levels_table,
    score_text,
    typical_table,
)
from segments.models import Segment, VersionSegment

SERVED = (State.ACTIVE, State.PREVIOUS, State.RETIRED)
MAX_VERSIONS = 50
"""Versions in the table, the newest first; the others are counted."""


@dataclass(frozen=True, slots=True)
class Life:
    """`card`, `typical` and `levels` are those of `described`: of the versions that have it the
    one that serves, else the newest that served, else the newest. None when no version has it.
    """

    words: str
    table: Table
    n_earlier: int
    chart: str | None
    described: ModelVersion | None
    card: Card | None
    typical: TypicalTable | None
    levels: Table | None


def life(segment: Segment, *, with_links: bool) -> Life:
    """What the page of a segment tells; the number of queries does not grow with its versions."""
    versions = list(
        ModelVersion.objects.filter(model_type=segment.model_type)
        .with_state()
        .only("model_type", "number", "stage", "identity")
        .order_by("-number")
    )
    own = {
        row.version_id: row
        for row in VersionSegment.objects.filter(segment=segment).only(
            "version", "n_customers", "share", "fate", "match_score"
        )
    }
    concerned = [version for version in versions if version.pk in own or _ends(version, segment)]
    served_at = dict(
        Activation.objects.filter(to_version__in=[version.pk for version in concerned])
        .values_list("to_version")
        .annotate(Min("activated_at"))
        .order_by()
    )
    shown = concerned[:MAX_VERSIONS]
    row = _described(own, concerned)
    return Life(
        words=_words(concerned, own, served_at),
        table=_table(shown, own, served_at, with_links=with_links),
        n_earlier=len(concerned) - len(shown),
        chart=_chart([version for version in reversed(shown) if version.pk in own], own),
        described=row.version if row else None,
        card=cards([row], with_links=False)[0] if row else None,
        typical=typical_table(row.version, [row]) if row else None,
        levels=levels_table([row]) if row else None,
    )


def _ends(version: ModelVersion, segment: Segment) -> bool:
    return segment.pk in (version.identity or {}).get("retired", ())


def _described(
    own: Mapping[int, VersionSegment], concerned: Sequence[ModelVersion]
) -> VersionSegment | None:
    having = [version for version in concerned if version.pk in own]
    best = max(having, key=lambda v: (v.is_active, v.has_served, v.number), default=None)
    if best is None:
        return None
    return VersionSegment.objects.select_related("version", "segment").get(pk=own[best.pk].pk)


def _words(
    concerned: Sequence[ModelVersion],
    own: Mapping[int, VersionSegment],
    served_at: Mapping[int, datetime],
) -> str:
    """Whether it lives, in one sentence."""
    having = [version for version in concerned if version.pk in own]
    serving = next((version for version in having if version.state == State.ACTIVE), None)
    if serving:
        return f"It serves: {serving} has it, with {share(own[serving.pk].share)} of the customers."
    if not any(version.state in SERVED for version in having):
        return "It never served: only candidates have it."
    ending = [v for v in concerned if v.pk not in own and v.pk in served_at]
    if not ending:
        return "It does not serve now."
    last = min(ending, key=lambda version: served_at[version.pk])
    return f"It is retired: {last} went on without it on {served_at[last.pk]:%d %b %Y}."


def _table(
    shown: Sequence[ModelVersion],
    own: Mapping[int, VersionSegment],
    served_at: Mapping[int, datetime],
    *,
    with_links: bool,
) -> Table:
    def cells(version: ModelVersion) -> tuple[Any, ...]:
        row, first = own.get(version.pk), served_at.get(version.pk)
        return (
            _version(version, with_link=with_links),
            version.state.value,
            f"{first:%d %b %Y %H:%M}" if first else NONE,
            fate_label(row.fate if row else RETIRED),
            score_text(row.match_score) if row else NONE,
            figure(row.n_customers) if row else NONE,
            share(row.share) if row else NONE,
        )

    headers = ["Version", "State", "First served", "Fate", "Overlap", "Customers", "Share"]
    return Table(
        headers,
        [cells(version) for version in shown],
        numbers_from=4,
        empty="No version has this segment.",
    )


def _version(version: ModelVersion, *, with_link: bool) -> SafeString | str:
    if not with_link:
        return str(version)
    url = reverse("admin:modelregistry_modelversion_change", args=[version.pk])
    return format_html('<a href="{}">{}</a>', url, version)


def _chart(having: Sequence[ModelVersion], own: Mapping[int, VersionSegment]) -> str | None:
    """Its share in each version, as Unfold's Chart.js takes it; None with fewer than two."""
    if len(having) < 2:
        return None
    line = {
        "label": "share of the customers",
        "data": [round(100 * own[version.pk].share, 1) for version in having],
        "borderColor": "var(--color-primary-600)",
        "displayYAxis": True,
        "suffixYAxis": "%",
    }
    return json.dumps({"labels": [str(version) for version in having], "datasets": [line]})
