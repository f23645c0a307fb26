"""How k or eps of a version was chosen, as people read it: the curve, the runner-up, the doubt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from access.figures import figure, share
from access.staff import Table
from modelregistry.models import ModelVersion

Point: TypeAlias = Mapping[str, Any]

CURVE_HEADERS = {
    "n_clusters": "k",
    "smallest_share": "smallest segment",
    "noise_share": "noise",
    "large_enough": "large enough",
}
MAX_TICKS = 14
"""Labels below the chart."""
SHARES = {"smallest_share", "noise_share"}
CLOSE_SHARE = 0.9
"""Of the score of the choice; from here on a runner-up is called nearly as good. A judgement."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Whether the customers form segments at all: a label, its look, what it means."""

    label: str
    style: str
    words: str
    is_doubtful: bool


UNTESTED = ("evidence not tested", "plain")
EVIDENCE = {
    "strong": Evidence(
        "strong evidence",
        "good",
        "These customers fall apart clearly better than invented ones with the same spread and "
        "correlations but without segments.",
        is_doubtful=False,
    ),
    "weak": Evidence(
        "weak evidence",
        "warn",
        "These customers fall apart only a little better than invented ones without segments. "
        "Expect segments that run into each other, and look at the stability of each.",
        is_doubtful=True,
    ),
    "none": Evidence(
        "no evidence",
        "bad",
        "Invented customers without any segments fall apart about as well as these do. The "
        "segments cut one cloud into parts: they sort the customers, but where one ends and the "
        "next begins is arbitrary. Do not act on them as if the groups existed.",
        is_doubtful=True,
    ),
}


def evidence_of(version: ModelVersion) -> Evidence | None:
    """None where it was not tested: the parameters were stated, or the method does not say."""
    return EVIDENCE.get((version.selection or {}).get("evidence") or "")


def untested_words(version: ModelVersion) -> str:
    """Why there is no evidence, and what that leaves open."""
    if version.selection:
        return (
            "It says which eps divides the customers best, not whether they form segments at "
            "all: look at the noise and at the stability of each segment."
        )
    name = "k" if "n_clusters" in version.parameters else "eps"
    return (
        f"{name} was stated by hand, so it was not compared with others, and whether these "
        "customers form segments at all was not tested."
    )


def curve_of(version: ModelVersion) -> tuple[str, list[Point]] | None:
    """The parameter that the candidates differ in, and the candidates."""
    selection = version.selection
    if not selection or not selection.get("curve"):
        return None
    curve = selection["curve"]
    return next(((name, curve) for name in selection["chosen"] if name in curve[0]), None)


def chosen_point(version: ModelVersion) -> Point | None:
    named = curve_of(version)
    if named is None or version.selection is None:
        return None
    parameter, curve = named
    chosen = version.selection["chosen"][parameter]
    return next((point for point in curve if point[parameter] == chosen), None)


def second_point(version: ModelVersion) -> Point | None:
    """The best candidate with another number of clusters, usable before unusable.

    Neighbouring values of eps mostly give the same clusters, so they are no alternative.
    """
    named, best = curve_of(version), chosen_point(version)
    if named is None or best is None:
        return None
    others = [point for point in named[1] if point["n_clusters"] != best["n_clusters"]]
    return max(others, key=lambda point: (_is_usable(point), point["score"]), default=None)


def _is_usable(point: Point) -> bool:
    large_enough: bool = point.get("large_enough", True)
    return large_enough and not point.get("degenerate", False) and point["n_clusters"] >= 2


def runner_up(version: ModelVersion) -> str:
    """The second candidate and how far it is behind, in one sentence; "" without one."""
    named, best, second = curve_of(version), chosen_point(version), second_point(version)
    if named is None or best is None or second is None:
        return ""
    parameter = named[0]
    if parameter == "n_clusters":
        subject = f"k = {second[parameter]}"
    else:
        subject = f"{parameter} = {figure(second[parameter])} with {_clusters(second)}"
    if not _is_usable(second):
        verdict = "not usable"
    elif second["score"] >= CLOSE_SHARE * best["score"]:
        verdict = "nearly as good, so look at both before you decide"
    else:
        verdict = "clearly behind"
    return f"{subject}: score {second['score']:.3f} against {best['score']:.3f}, {verdict}."


def edge_words(version: ModelVersion) -> str:
    """Said where the largest k tried won, as a larger one might have won too."""
    named, best = curve_of(version), chosen_point(version)
    if named is None or best is None or named[0] != "n_clusters" or len(named[1]) < 2:
        return ""
    if best is not max(named[1], key=lambda point: point["n_clusters"]):
        return ""
    return "It is the largest k tried: these customers may fall into still smaller groups."


def _clusters(point: Point) -> str:
    return "1 cluster" if point["n_clusters"] == 1 else f"{point['n_clusters']:,} clusters"


def curve_table(version: ModelVersion) -> Table | None:
    named = curve_of(version)
    if named is None:
        return None
    parameter, curve = named
    names = [parameter, *(name for name in curve[0] if name != parameter)]
    notes = {id(chosen_point(version)): "chosen", id(second_point(version)): "runner-up"}
    return Table(
        [*(_curve_header(name, parameter) for name in names), "Choice"],
        [
            [
                *(share(point[name]) if name in SHARES else figure(point[name]) for name in names),
                notes.get(id(point), ""),
            ]
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
    named = curve_of(version)
    if named is None:
        return None
    parameter, curve = named
    line = {
        "label": "score",
        "data": [point["score"] for point in curve],
        "borderColor": "var(--color-primary-600)",
        "displayYAxis": True,
        "maxTicksXLimit": MAX_TICKS,
    }
    marks = [
        _mark("chosen", "#f59e0b", curve, chosen_point(version)),
        _mark("runner-up", "#9ca3af", curve, second_point(version)),
    ]
    labels = [figure(point[parameter]) for point in curve]
    return json.dumps({"labels": labels, "datasets": [*marks, line]})


def _mark(label: str, colour: str, curve: list[Point], marked: Point | None) -> dict[str, Any]:
    return {
        "label": label,
        "data": [point["score"] if point is marked else None for point in curve],
        "borderColor": colour,
        "backgroundColor": colour,
        "pointStyle": "circle",
        "pointRadius": 6,
        "showLine": False,
    }


@dataclass(frozen=True, slots=True)
class Choice:
    """`reason` is empty where nothing was chosen; `badge` is the evidence, label and style."""

    reason: str
    edge_words: str
    runner_up: str
    badge: tuple[str, str]
    evidence_words: str
    chart: str | None
    curve: Table | None


def choice(version: ModelVersion) -> Choice:
    evidence = evidence_of(version)
    return Choice(
        reason=(version.selection or {}).get("reason", ""),
        edge_words=edge_words(version),
        runner_up=runner_up(version),
        badge=(evidence.label, evidence.style) if evidence else UNTESTED,
        evidence_words=evidence.words if evidence else untested_words(version),
        chart=curve_chart(version),
        curve=curve_table(version),
    )
