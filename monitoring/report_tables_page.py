"""The checks of a drift report in groups: pairs of features, customers among segments, all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from access.charts import Chart, bars
from access.figures import figure, p_value, share
from access.staff import Table
from ml import drift_wording
from ml.check_result import Check
from modelregistry.comparison_page import points
from monitoring.report_features_page import CHECKS, effect_of, floor_of, percent

MAX_PAIRS = 10
"""Pairs in their section: findings, then the largest effects; all stand in the whole table."""
MAX_BARS = 12


@dataclass(frozen=True, slots=True)
class SegmentCheck:
    """One check of customers among segments, in words."""

    looked_at: str
    is_drifted: bool
    sentence: str
    figures: str


def whole(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every check, what was found first, then by the size of its effect."""
    return sorted(report["checks"], key=lambda check: (not check["drifted"], -abs(check["effect"])))


def checks_table(checks: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        ["Feature", "Looked at", "Verdict", "Effect", "Floor", "Adjusted p", "PSI", "Shift in sd"],
        [
            (
                subject(check),
                CHECKS.get(check["check"], check["check"]),
                "drift" if check["drifted"] else "ok",
                effect_of(check),
                floor_of(check),
                p_value(check["p_adjusted"]),
                figure(check["shown"]["psi"]),
                figure(check["shown"]["median_shift_sd"]),
            )
            for check in checks
        ],
        numbers_from=3,
        empty="Nothing was compared.",
    )


def subject(check: Mapping[str, Any]) -> str:
    pair = f" × {check['other']}" if check["other"] else ""
    return f"{check['feature'] or 'segments'}{pair}"


def pairs(checks: Sequence[Mapping[str, Any]]) -> tuple[Table | None, str]:
    """The pairs that changed most with how many there are; None where no pair was looked at."""
    of_pairs = [check for check in checks if check["other"]]
    if not of_pairs:
        return None, ""
    n_drifted = sum(check["drifted"] for check in of_pairs)
    words = (
        f"{n_drifted:,} of {len(of_pairs):,} pairs of features go together otherwise than at "
        "training, which may not show in either feature alone."
    )
    table = Table(
        ["Pair", "Verdict", "In words", "Effect", "Floor", "Adjusted p"],
        [
            (
                subject(check),
                "changed" if check["drifted"] else "no change that counts",
                check["sentence"],
                effect_of(check),
                floor_of(check),
                p_value(check["p_adjusted"]),
            )
            for check in of_pairs[:MAX_PAIRS]
        ],
        numbers_from=3,
    )
    return table, words


def segment_checks(checks: Sequence[Mapping[str, Any]]) -> list[SegmentCheck]:
    """Shares of the segments, distances to them, and customers far from all."""
    return [
        SegmentCheck(
            CHECKS.get(check["check"], check["check"]),
            check["drifted"],
            check["sentence"],
            f"Effect {effect_of(check)} ({check['effect_name']}; counts from "
            f"{floor_of(check)}), adjusted p {p_value(check['p_adjusted'])}.",
        )
        for check in checks
        if not check["feature"]
    ]


def segments_note(report: Mapping[str, Any]) -> str:
    """Why the sentence about the shares has other ones than the table; empty where it has not.

    The check counts a training in two ways, and goes by the one in which less changed.
    """
    sentence = next((c["sentence"] for c in report["checks"] if c["check"] == Check.SEGMENTS), "")
    told = [
        f"from {drift_wording.percent(shift['reference_share'])} to "
        f"{drift_wording.percent(shift['current_share'])} "
        for shift in report["segments"]
    ]
    if not sentence or any(words in sentence for words in told):
        return ""
    return (
        "The sentence above counts the customers of the training as if they were new to the "
        "model, as today's are; DBSCAN leaves more of such in no segment. Chart and table have the "
        "shares of the training itself."
    )


def segments_table(report: Mapping[str, Any]) -> Table:
    return Table(
        ["Segment", "Share at training", "Share now", "Change"],
        [
            (
                segment_name(shift),
                share(shift["reference_share"]),
                share(shift["current_share"]),
                points(shift["current_share"] - shift["reference_share"]),
            )
            for shift in report["segments"]
        ],
        numbers_from=1,
        empty="No customer was compared.",
    )


def segments_chart(report: Mapping[str, Any]) -> Chart | None:
    shifts = sorted(report["segments"], key=lambda shift: -shift["reference_share"])
    if not shifts:
        return None
    shown = shifts[:MAX_BARS]
    return bars(
        [segment_name(shift) for shift in shown],
        {
            "at training": [percent(shift["reference_share"]) for shift in shown],
            "now": [percent(shift["current_share"]) for shift in shown],
        },
        unit="% of customers",
        words="Share of each segment at training and now; the table below has the figures",
    )


def inside_table(report: Mapping[str, Any]) -> Table:
    """Which features changed among the customers of one segment; they describe, never decide."""
    return Table(
        ["Segment", "Feature", "In words", "Effect", "Adjusted p", "Customers now"],
        [
            (
                segment_name(shift),
                shift["feature"],
                shift["sentence"],
                points(shift["effect"]),
                p_value(shift["p_adjusted"]),
                figure(shift["n_current"]),
            )
            for shift in report.get("inside", [])
        ],
        numbers_from=3,
        empty="No feature changed inside a segment.",
    )


def segment_name(shift: Mapping[str, Any]) -> str:
    return shift["segment_name"] or "no segment (noise)"
