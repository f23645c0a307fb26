"""Two versions side by side as a person reads them: who moves where, who wins, what is better."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access.figures import NONE, figure, share
from access.staff import Table
from modelregistry.activation import Gate
from modelregistry.metrics_page import HIGHER_IS_BETTER, METRICS, metric_of
from modelregistry.models import ModelVersion
from segments.comparison import NOISE_NAME, Comparison, SegmentChange
from segments.description_page import FATE_STYLES, fate_label, score_text
from segments.flow_page import flow
from segments.movers import Movers

N_SHADES = 5
"""Steps of shading in the stylesheet: `seg-shade-1` to `seg-shade-5`."""
GATE_NAMES = {
    "degenerate": "Clusters found",
    "noise_share": "Noise",
    "moved_share": "Customers who move",
    "silhouette_drop": "Silhouette",
    "drift": "Drift since training",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """Customers who go from one segment to another; `shade` is 0 for none, then 1 to 5."""

    n: str
    share: str
    shade: int
    stays: bool


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows: the segments of the version compared with; columns: those of the one looked at."""

    headers: list[SafeString]
    rows: list[tuple[SafeString, str, list[Cell]]]


def matrix(comparison: Comparison) -> Matrix:
    names = {change.segment: change.name for change in comparison.segments}
    rows = []
    for row, counts in zip(comparison.rows, comparison.counts.tolist(), strict=True):
        n_row = sum(counts)
        cells = [
            _cell(n, n_row, stays=row == column)
            for column, n in zip(comparison.columns, counts, strict=True)
        ]
        rows.append((_label(row, names[row]), figure(n_row), cells))
    return Matrix([_label(column, names[column]) for column in comparison.columns], rows)


def _label(segment: int | None, name: str) -> SafeString:
    """Two segments may have one name, never one id."""
    if segment is None:
        return format_html("{}", name)
    return format_html('{} <span class="seg-note">#{}</span>', name, segment)


def _cell(n: int, n_row: int, *, stays: bool) -> Cell:
    part = n / n_row if n_row else 0.0
    shown = share(part) if n else ""
    return Cell(figure(n) if n else NONE, shown, math.ceil(part * N_SHADES), stays)


def tiles(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Title, figure and a few words for what matters most."""
    index = comparison.adjusted_rand_index
    only = f"{figure(comparison.n_before_only)} and {figure(comparison.n_after_only)}"
    return [
        ("Would move", share(comparison.moved_share), f"{figure(comparison.n_moved)} customers"),
        ("Compared", figure(comparison.n_compared), "customers both versions know as they are"),
        ("Left out", only, f"known to {comparison.before} alone, to {comparison.after} alone"),
        ("Adjusted Rand index", figure(index), "1: they group alike; 0: as if by chance"),
    ]


def changes_table(comparison: Comparison) -> Table:
    """Winners first, losers last."""
    after, before = comparison.after, comparison.before
    ordered = sorted(comparison.segments, key=lambda change: -change.share_change)
    names = {change.segment: change.name for change in comparison.segments}
    return Table(
        ["Segment", "Fate", "Overlap", f"In {before}", f"In {after}", "Change"],
        [
            (
                _named(change, names),
                fate_label(change.fate) if change.fate else NONE,
                score_text(change.match_score),
                _counted(change.n_before, change.share_before),
                _counted(change.n_after, change.share_after),
                points(change.share_change),
            )
            for change in ordered
        ],
        numbers_from=3,
        empty="Neither version has a segment.",
    )


def _named(change: SegmentChange, names: Mapping[int | None, str]) -> SafeString:
    label = _label(change.segment, change.name)
    related = ", ".join(names[id_] for id_ in change.related_segments if id_ in names)
    if not related:
        return label
    return format_html("{}<small>with customers of {}</small>", label, related)


def _counted(n: int, part: float) -> SafeString:
    return format_html("{}<small>{}</small>", figure(n), share(part))


def points(change: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    if not round(change, 3):
        return "0.0 pp"
    return f"{100 * change:+.1f} pp".replace("-", "\N{MINUS SIGN}")


def quality_table(after: ModelVersion, before: ModelVersion) -> Table:
    rows: list[tuple[str, str, str, str]] = [
        (title, metric_of(before, name), metric_of(after, name), _better(name, after, before))
        for name, (title, _) in METRICS.items()
    ]
    rows.append(("Evidence of segments", _evidence(before), _evidence(after), ""))
    for name in sorted({*before.parameters, *after.parameters}):
        own, others = figure(after.parameters.get(name)), figure(before.parameters.get(name))
        rows.append((name, others, own, ""))
    rows.append(("Features", _features(before), _features(after), ""))
    rows.append(("Trained on customers", figure(before.n_customers), figure(after.n_customers), ""))
    return Table(["Figure", str(before), str(after), f"{after} is"], rows, numbers_from=1)


def _better(name: str, after: ModelVersion, before: ModelVersion) -> SafeString | str:
    """Where a figure says by itself which of two versions is better."""
    own, others = after.metrics.get(name), before.metrics.get(name)
    if name not in HIGHER_IS_BETTER or own is None or others is None:
        return ""
    if metric_of(after, name) == metric_of(before, name):
        return "the same"
    is_better = (own > others) == HIGHER_IS_BETTER[name]
    style, word = ("good", "better") if is_better else ("warn", "worse")
    return format_html('<span class="seg-label seg-label-{}">{}</span>', style, word)


def _evidence(version: ModelVersion) -> str:
    return (version.selection or {}).get("evidence") or NONE


def _features(version: ModelVersion) -> str:
    return figure(len(version.schema["features"]))


def gates_table(gates: Sequence[Gate]) -> Table:
    return Table(
        ["Gate", "Verdict", "What was found"],
        [(GATE_NAMES[gate.name], _verdict(gate), gate.sentence) for gate in gates],
        empty="Every gate is off, or has nothing to measure.",
    )


def _verdict(gate: Gate) -> SafeString:
    if gate.passed is None:
        style, word = "plain", "not measured"
    else:
        style, word = ("good", "passed") if gate.passed else ("bad", "breached")
    return format_html('<span class="seg-label seg-label-{}">{}</span>', style, word)


def movers_table(movers: Movers) -> Table:
    return Table(
        ["Customer", "From", "To"],
        [
            (
                format_html(
                    '<a href="{}">{}</a>',
                    reverse("admin:segments_customer_change", args=[quote(mover.customer_id)]),
                    mover.customer_id,
                ),
                mover.before or NOISE_NAME,
                mover.after or NOISE_NAME,
            )
            for mover in movers.named
        ],
        empty="None of them would move.",
    )


def movers_words(movers: Movers) -> str:
    if not movers.n_compared:
        return "None of the customers looked at is known to both versions as they are now."
    noun = "customer" if movers.n_compared == 1 else "customers"
    drawn = "" if movers.are_all else " drawn at random"
    words = (
        f"{movers.n_moving:,} of {movers.n_compared:,} {noun}{drawn} would move"
        f" ({share(movers.n_moving / movers.n_compared)})"
    )
    n_named = len(movers.named)
    return f"{words}; here are {n_named}." if n_named < movers.n_moving else f"{words}."


def context(comparison: Comparison) -> dict[str, Any]:
    return {
        "flow": flow(comparison),
        "matrix": matrix(comparison),
        "tiles": tiles(comparison),
        "fates": fate_counts(comparison),
        "changes": changes_table(comparison),
        "quality": quality_table(comparison.after, comparison.before),
    }


def fate_counts(comparison: Comparison) -> list[tuple[int, str, str]]:
    """How many segments are kept, split, merged, new and retired, with the look of each."""
    fates = Counter(change.fate for change in comparison.segments)
    return [(fates[fate], fate, style) for fate, style in FATE_STYLES.items() if fates[fate]]
