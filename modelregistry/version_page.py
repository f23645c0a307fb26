"""One model version as a person reads it: figures, the choice of k or eps, features, segments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from access.figures import NONE, figure, share
from access.staff import Table
from modelregistry.models import Activation, ModelVersion

METRICS = {
    "silhouette": ("Silhouette", "from -1 to 1, higher is better"),
    "n_clusters": ("Clusters", ""),
    "noise_share": ("Noise", "customers without a segment"),
    "davies_bouldin": ("Davies–Bouldin", "lower is better"),
    "calinski_harabasz": ("Calinski–Harabasz", "never compare two table sizes"),
    "inertia_per_customer": ("Inertia per customer", "mean squared distance to the centre"),
}
CURVE_HEADERS = {
    "n_clusters": "k",
    "smallest_share": "smallest segment",
    "noise_share": "noise",
    "large_enough": "large enough",
}
SHARES = {"smallest_share", "noise_share"}
MAX_LEVELS = 6
"""Levels of a category named in the table; the others are counted."""


def tiles(version: ModelVersion) -> list[tuple[str, str, str]]:
    """Title, figure and a few words for each metric."""
    shown = [("Customers", figure(version.n_customers), "it was trained on")]
    for name, (title, words) in METRICS.items():
        value = version.metrics.get(name)
        text = share(value) if name in SHARES else figure(value)
        shown.append((title, text, words))
    return shown


def parameters(version: ModelVersion) -> list[tuple[str, str]]:
    chosen = set((version.selection or {}).get("chosen", ()))
    return [
        (name, f"{figure(value)} (chosen)" if name in chosen else figure(value))
        for name, value in sorted(version.parameters.items())
    ]


def curve_parameter(version: ModelVersion) -> str | None:
    """The parameter that the curve runs over, when there is a curve."""
    selection = version.selection
    if not selection or not selection.get("curve"):
        return None
    return next(name for name in selection["chosen"] if name in selection["curve"][0])


def curve_table(version: ModelVersion) -> Table | None:
    parameter, selection = curve_parameter(version), version.selection
    if parameter is None or selection is None:
        return None
    curve = selection["curve"]
    names = [parameter, *(name for name in curve[0] if name != parameter)]
    return Table(
        [_curve_header(name, parameter) for name in names],
        [
            [share(point[name]) if name in SHARES else figure(point[name]) for name in names]
            for point in curve
        ],
        numbers_from=0,
    )


def _curve_header(name: str, parameter: str) -> str:
    if name == "n_clusters" and parameter != "n_clusters":
        return "clusters"
    return CURVE_HEADERS.get(name, name.replace("_", " "))


def curve_chart(version: ModelVersion) -> str | None:
    """The score over the candidates, as Unfold's Chart.js takes it; the table is its twin."""
    parameter, selection = curve_parameter(version), version.selection
    if parameter is None or selection is None:
        return None
    curve, chosen = selection["curve"], selection["chosen"][parameter]
    marked = [point["score"] if point[parameter] == chosen else None for point in curve]
    line = {
        "label": "score",
        "data": [point["score"] for point in curve],
        "borderColor": "var(--color-primary-600)",
        "displayYAxis": True,
    }
    dot = {
        "label": "chosen",
        "data": marked,
        "borderColor": "#f59e0b",
        "backgroundColor": "#f59e0b",
        "pointRadius": 6,
        "showLine": False,
    }
    labels = [figure(point[parameter]) for point in curve]
    return json.dumps({"labels": labels, "datasets": [line, dot]})


def features_table(version: ModelVersion) -> Table:
    return Table(
        ["Feature", "Kind", "Transform", "Missing values", "Seen in training"],
        [
            (
                feature["name"],
                feature["kind"],
                "log1p, standardised" if feature["log"] else _transform(feature["kind"]),
                _missing(feature),
                _seen(feature, as_of_of(version)),
            )
            for feature in version.schema["features"]
        ],
    )


def _transform(kind: str) -> str:
    return {"category": "one column a level", "date": "days, standardised"}.get(
        kind, "standardised"
    )


def _missing(feature: Mapping[str, Any]) -> str:
    if not feature["imputed"]:
        return "an input error"
    return "a level of their own" if feature["kind"] == "category" else "imputed"


def _seen(feature: Mapping[str, Any], as_of: date) -> str:
    if feature["kind"] == "category":
        names = feature["levels"][:MAX_LEVELS]
        n_more = len(feature["levels"]) + len(feature["rare_levels"]) - len(names)
        return ", ".join(names) + (f" and {n_more:,} more" if n_more else "")
    if feature["kind"] == "boolean":
        return "no, yes"
    low, high = feature["low"], feature["high"]
    if feature["kind"] == "date":
        return f"{_day(high, as_of)} to {_day(low, as_of)}"
    return f"{figure(low)} to {figure(high)}"


def as_of_of(version: ModelVersion) -> date:
    return date.fromisoformat(version.schema["as_of"])


def _day(days_before: float, as_of: date) -> str:
    return (as_of - timedelta(days=days_before)).isoformat()


def omitted_table(version: ModelVersion) -> Table:
    return Table(
        ["Attribute", "Why it is no feature"],
        [(item["name"], item["reason"]) for item in version.schema["omitted"]],
        empty="Every attribute is a feature.",
    )


def segments_table(version: ModelVersion) -> Table:
    return Table(
        ["Segment", "Name", "Customers", "Share"],
        [
            (row.segment_id, row.segment.name, figure(row.n_customers), share(row.share))
            for row in version.segments.select_related("segment")
        ],
        numbers_from=2,
        empty="No cluster was found: every customer is noise.",
    )


def medians_table(version: ModelVersion) -> Table:
    """A feature a row, a segment a column: what is typical of each."""
    segments = list(version.segments.select_related("segment"))
    rows = [
        [name, *(_typical(segment.medians.get(name), kind) for segment in segments)]
        for name, kind in ((item["name"], item["kind"]) for item in version.schema["features"])
    ]
    headers = ["Feature", *(segment.segment.name for segment in segments)]
    return Table(headers, rows if segments else [], numbers_from=1)


def _typical(value: Any, kind: str) -> str:
    if value is None or kind != "boolean":
        return figure(value)
    return {0.0: "no", 1.0: "yes"}.get(float(value), "both")


def ledger_table(version: ModelVersion) -> Table:
    moves = Activation.objects.filter(to_version=version).select_related("from_version")
    return Table(
        ["When", "In place of", "By", "Reason", ""],
        [
            (
                move.activated_at.strftime("%d %b %Y %H:%M"),
                move.from_version or NONE,
                move.activated_by,
                move.reason,
                ", ".join(_how(move)),
            )
            for move in moves
        ],
        empty="It never served.",
    )


def _how(move: Activation) -> list[str]:
    # A rollback is forced by its nature: it served before.
    return ["rollback"] if move.is_rollback else ["forced"] if move.forced else []
