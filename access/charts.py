"""Charts for admin pages, as Unfold's Chart.js takes them; a table beside each has the figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_LABEL = 28
"""Characters of a label below a chart."""
MAX_TICKS = 12
NOW, BEFORE, MUTED = "var(--color-primary-600)", "#9ca3af", "#9ca3af"
BAND = "rgba(59, 130, 246, 0.16)"
# Okabe and Ito's colours, told apart by the colour-blind too (Color Universal Design, 2008).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b7a800", "#6b7280")


@dataclass(frozen=True, slots=True)
class Chart:
    """What `chart.html` draws; `words` are read out in its place, `note` stands below."""

    type: str
    data: str
    options: str
    words: str
    title: str = ""
    note: str = ""


def bars(labels: Sequence[str], series: Mapping[str, Sequence[Any]], **texts: Any) -> Chart:
    """Bars side by side: of two series the first, as it was before, in grey."""
    colours = (BEFORE, NOW, *COLOURS) if len(series) > 1 else (NOW,)
    datasets = [
        {"label": name, "data": list(values), "backgroundColor": colour, "borderColor": colour}
        for (name, values), colour in zip(series.items(), colours, strict=False)
    ]
    return _chart("bar", labels, datasets, **texts)


def stacked(labels: Sequence[str], series: Mapping[str, Sequence[Any]], **texts: Any) -> Chart:
    """Bars on top of each other: shares of one whole."""
    datasets = [
        {
            "label": _short(name),
            "data": list(values),
            "backgroundColor": COLOURS[place % len(COLOURS)],
            "borderRadius": 0,
        }
        for place, (name, values) in enumerate(series.items())
    ]
    return _chart("bar", labels, datasets, is_stacked=True, **texts)


def line(
    name: str, values: Sequence[Any], *, colour: str = NOW, with_points: bool = True
) -> dict[str, Any]:
    shown = {"pointStyle": "circle", "pointRadius": 3} if with_points else {"borderDash": [6, 4]}
    return {
        "label": name,
        "data": list(values),
        "borderColor": colour,
        "backgroundColor": colour,
        "borderWidth": 2,
        **shown,
        **({} if with_points else {"pointRadius": 0, "pointStyle": "line"}),
    }


def band(names: tuple[str, str], low: Sequence[Any], high: Sequence[Any]) -> list[dict[str, Any]]:
    """The area between two lines that are not drawn themselves."""
    edge = {"borderWidth": 0, "pointRadius": 0, "pointHitRadius": 0, "backgroundColor": BAND}
    return [
        {"label": names[0], "data": list(low), "fill": False, **edge},
        {"label": names[1], "data": list(high), "fill": "-1", **edge},
    ]


def lines(
    labels: Sequence[str],
    datasets: Sequence[Mapping[str, Any]],
    *,
    has_legend: bool = True,
    **texts: Any,
) -> Chart:
    return _chart("line", labels, datasets, has_legend=has_legend, **texts)


def _chart(
    kind: str,
    labels: Sequence[str],
    datasets: Sequence[Mapping[str, Any]],
    *,
    words: str,
    title: str = "",
    note: str = "",
    unit: str = "",
    is_stacked: bool = False,
    has_legend: bool = True,
) -> Chart:
    data = {"labels": [_short(label) for label in labels], "datasets": datasets}
    options = _options(
        unit=unit, is_stacked=is_stacked, has_legend=has_legend and len(datasets) > 1
    )
    return Chart(kind, json.dumps(data), json.dumps(options), words, title, note)


def _options(*, unit: str, is_stacked: bool, has_legend: bool) -> dict[str, Any]:
    ticks = {"color": MUTED}
    return {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "spanGaps": True,
        "interaction": {"mode": "index", "intersect": False},
        "plugins": {
            "legend": {
                "display": has_legend,
                "align": "start",
                "labels": {
                    "boxHeight": 8,
                    "boxWidth": 8,
                    "color": MUTED,
                    "usePointStyle": True,
                    "pointStyle": "circle",
                },
            },
        },
        "scales": {
            "x": {
                "stacked": is_stacked,
                "ticks": {**ticks, "maxTicksLimit": MAX_TICKS, "maxRotation": 40},
                "grid": {"display": False},
            },
            "y": {
                "stacked": is_stacked,
                "ticks": {**ticks, "maxTicksLimit": 6},
                "grid": {"tickWidth": 0},
                "border": {"display": False},
                "title": {"display": bool(unit), "text": unit, "color": MUTED},
                **({"min": 0, "max": 100} if is_stacked else {}),
            },
        },
    }


def _short(label: str) -> str:
    return label if len(label) <= MAX_LABEL else f"{label[: MAX_LABEL - 1]}…"
