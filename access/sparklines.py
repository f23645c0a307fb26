"""Small lines without axes beside a figure; the words say what is to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, MARGIN = 120, 28, 3


@dataclass(frozen=True, slots=True)
class Sparkline:
    """What `sparkline.html` draws: `points` of a polyline, `level` the height of a dashed line."""

    points: str
    level: str
    words: str


def sparkline(
    values: Sequence[float | None], *, words: str, least: float, level: float | None = None
) -> Sparkline | None:
    """The values from left to right, those missing passed over; None with fewer than two.

    The height is `least` at the least, so that what hardly changes looks like it.
    """
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return None
    heights = [value for _, value in known] + ([] if level is None else [level])
    span = max(max(heights) - min(heights), least)
    low = (max(heights) + min(heights) - span) / 2

    def x(place: int) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * place / (len(values) - 1)

    def y(value: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / span

    points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in known)
    return Sparkline(points, "" if level is None else f"{y(level):.1f}", words)
