"""The flow of customers between the segments of two versions as a picture; the matrix is its twin.

Left the segments of the version compared with, right those of the one looked at, a band between
two as thick as the customers in both.
"""

from __future__ import annotations

from dataclasses import dataclass

from access.figures import share
from segments.comparison import Comparison, SegmentId

WIDTH, TALL, GAP, NODE, EDGE = 640, 360, 16, 12, 8
MIN_BAND = 0.75
"""Units a band is thick at least, so that a few customers show too."""
MAX_BANDS = 150
"""Bands drawn, the largest first; the matrix has all of them."""
MAX_NAME = 24


@dataclass(frozen=True, slots=True)
class Node:
    """A segment at one side: its box, and its name beside it."""

    key: str
    name: str
    share: str
    x: float
    y: float
    height: float
    text_x: float
    text_y: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Band:
    path: str
    words: str
    stays: bool


@dataclass(frozen=True, slots=True)
class Flow:
    nodes: list[Node]
    bands: list[Band]
    n_left_out: int
    width: int
    height: int
    node_width: int
    summary: str


def flow(comparison: Comparison) -> Flow | None:
    """None when nobody could be compared."""
    total = comparison.n_compared
    if not total:
        return None
    n_gaps = max(len(comparison.rows), len(comparison.columns)) - 1
    unit = TALL / total
    height = TALL + GAP * n_gaps + 2 * EDGE
    names = {change.segment: change.name for change in comparison.segments}
    counts = comparison.counts.tolist()
    lefts = _nodes(comparison.rows, [sum(row) for row in counts], names, total, height)
    sums = [sum(column) for column in zip(*counts, strict=True)]
    rights = _nodes(comparison.columns, sums, names, total, height, is_right=True)
    from_y, to_y = [node.y for node in lefts], [node.y for node in rights]
    bands: list[tuple[int, Band]] = []
    for i, row in enumerate(counts):
        for j, n in enumerate(row):
            if not n:
                continue
            bands.append(
                (
                    n,
                    Band(
                        _band(from_y[i], to_y[j], max(n * unit, MIN_BAND)),
                        f"{n:,} from {lefts[i].name} to {rights[j].name}",
                        stays=comparison.rows[i] == comparison.columns[j],
                    ),
                )
            )
            from_y[i] += n * unit
            to_y[j] += n * unit
    bands.sort(key=lambda pair: -pair[0])
    return Flow(
        nodes=[*lefts, *rights],
        bands=[band for _, band in bands[:MAX_BANDS]],
        n_left_out=max(0, len(bands) - MAX_BANDS),
        width=WIDTH,
        height=height,
        node_width=NODE,
        summary=f"{total - comparison.n_moved:,} of {total:,} customers stay in their segment, "
        f"{comparison.n_moved:,} move; the table below has the figures",
    )


def _nodes(
    segments: tuple[SegmentId, ...],
    sizes: list[int],
    names: dict[SegmentId, str],
    total: int,
    height: float,
    *,
    is_right: bool = False,
) -> list[Node]:
    used = TALL + GAP * (len(segments) - 1)
    y = (height - used) / 2
    nodes = []
    for segment, size in zip(segments, sizes, strict=True):
        tall = size * TALL / total
        nodes.append(
            Node(
                key="" if segment is None else f"#{segment}",
                name=_short(names[segment]),
                share=share(size / total),
                x=WIDTH - NODE if is_right else 0,
                y=round(y, 2),
                height=round(max(tall, MIN_BAND), 2),
                text_x=WIDTH - NODE - 6 if is_right else NODE + 6,
                text_y=round(y + tall / 2, 2),
                anchor="end" if is_right else "start",
            )
        )
        y += tall + GAP
    return nodes


def _band(y_from: float, y_to: float, thick: float) -> str:
    left, right, middle = NODE, WIDTH - NODE, WIDTH / 2
    return (
        f"M{left} {y_from:.1f}C{middle} {y_from:.1f} {middle} {y_to:.1f} {right} {y_to:.1f}"
        f"v{thick:.1f}C{middle} {y_to + thick:.1f} {middle} {y_from + thick:.1f} "
        f"{left} {y_from + thick:.1f}z"
    )


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1].rstrip(' ,')}…"
