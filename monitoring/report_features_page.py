"""The features of a drift report, the largest effect first: figures, and where customers lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from access.charts import Chart, bars
from access.figures import figure, p_value, share
from access.staff import Table
from ml.check_result import CERTAIN, Check
from modelregistry.comparison_page import points

KINDS = {"number": "number", "boolean": "yes or no", "date": "date", "category": "category"}
CHECKS = {
    "distribution": "where the values lie",
    "lower_tail": "the lowest values",
    "upper_tail": "the highest values",
    "missing": "missing values",
    "levels": "shares of the levels",
    "unseen": "levels never seen before",
    "gone": "whether there are values",
    "retyped": "the type of the values",
    "correlation": "how two features go together",
    "segments": "shares of the segments",
    "distance": "distance to the segments",
    "far": "far from every segment",
}
"""What each check looks at, in words."""
NO_FLOOR = 1e-9
"""Stands for a floor of zero where effects are measured by their floors."""


@dataclass(frozen=True, slots=True)
class Meter:
    """A bar of an effect with its floor marked, both in hundredths of the widest bar."""

    width: str
    floor: str


@dataclass(frozen=True, slots=True)
class FeatureCard:
    """One feature by the check that says most of it.

    `chart` and `table` are the same shares of customers; where the report keeps none, `no_chart`
    says why.
    """

    name: str
    kind: str
    is_drifted: bool
    verdict: str
    sentences: Sequence[str]
    looked_at: str
    effect: str
    effect_name: str
    floor: str
    p_adjusted: str
    meter: Meter
    chart: Chart | None
    table: Table | None
    no_chart: str


def by_effect(report: Mapping[str, Any]) -> list[list[Mapping[str, Any]]]:
    """The checks of each feature alone, what says most first; features with a finding lead."""
    checks: dict[str, list[Mapping[str, Any]]] = {}
    for check in report["checks"]:
        if check["feature"] and not check["other"]:
            checks.setdefault(check["feature"], []).append(check)
    ordered = [sorted(own, key=says_most) for own in checks.values()]
    return sorted(ordered, key=lambda own: (not _drifted(own), -abs(own[0]["effect"])))


def says_most(check: Mapping[str, Any]) -> tuple[bool, float]:
    """A finding first, then by effect in floors, as floors say what each is worth."""
    return not check["drifted"], -abs(check["effect"]) / max(check["floor"], NO_FLOOR)


def _drifted(checks: Iterable[Mapping[str, Any]]) -> bool:
    return any(check["drifted"] for check in checks)


def cards(
    report: Mapping[str, Any], features: Sequence[Sequence[Mapping[str, Any]]]
) -> list[FeatureCard]:
    """Cards of the given features, as `by_effect` orders them."""
    tables = {table["feature"]: table for table in report.get("tables", ())}
    widest = max(
        (
            max(abs(check["effect"]), check["floor"])
            for check in report["checks"]
            if check["feature"] and not check["other"]
        ),
        default=1.0,
    )
    return [_card(own, tables.get(own[0]["feature"]), widest=widest) for own in features]


def _card(
    checks: Sequence[Mapping[str, Any]], table: Mapping[str, Any] | None, *, widest: float
) -> FeatureCard:
    main = checks[0]
    is_drifted = _drifted(checks)
    findings = [check["sentence"] for check in checks if check["drifted"]]
    return FeatureCard(
        name=main["feature"],
        kind=KINDS.get(main["kind"], main["kind"]),
        is_drifted=is_drifted,
        verdict="changed" if is_drifted else "no change that counts",
        sentences=findings or [main["sentence"]],
        looked_at=CHECKS.get(main["check"], main["check"]),
        effect=effect_of(main),
        effect_name=main["effect_name"],
        floor=floor_of(main),
        p_adjusted=p_value(main["p_adjusted"]),
        meter=_meter(abs(main["effect"]), main["floor"], widest=widest or 1.0),
        chart=_chart(table) if table else None,
        table=shares_table(table) if table else None,
        no_chart="" if table else _no_chart(main),
    )


def _meter(effect: float, floor: float, *, widest: float) -> Meter:
    return Meter(f"{100 * effect / widest:.1f}", f"{100 * floor / widest:.1f}")


def _no_chart(check: Mapping[str, Any]) -> str:
    if check["kind"] == "date":
        return "Dates move on by themselves: no shares by date are kept."
    if check["check"] in CERTAIN:
        return "There are no values now to draw."
    return "This report keeps no shares of this feature."


def _chart(table: Mapping[str, Any]) -> Chart:
    return bars(
        table["labels"],
        {
            "at training": [percent(value) for value in table["before"]],
            "now": [percent(value) for value in table["now"]],
        },
        unit="% of customers",
        words=f"{table['feature']}: share of customers by value, at training and now; "
        "the table below has the figures",
    )


def shares_table(table: Mapping[str, Any]) -> Table:
    """The twin of the chart."""
    rows = zip(table["labels"], table["before"], table["now"], strict=True)
    return Table(
        ["Value", "At training", "Now", "Change"],
        [(label, share(then), share(now), points(now - then)) for label, then, now in rows],
        numbers_from=1,
    )


def features_table(features: Sequence[Sequence[Mapping[str, Any]]]) -> Table:
    """The same features in a line each, without their distributions."""
    return Table(
        ["Feature", "Verdict", "In words", "Effect", "Floor", "Adjusted p", "PSI"],
        [
            (
                own[0]["feature"],
                "changed" if _drifted(own) else "no change that counts",
                own[0]["sentence"],
                effect_of(own[0]),
                floor_of(own[0]),
                p_value(own[0]["p_adjusted"]),
                figure(_psi(own)),
            )
            for own in features
        ],
        numbers_from=3,
    )


def _psi(checks: Sequence[Mapping[str, Any]]) -> float | None:
    return next(
        (check["shown"]["psi"] for check in checks if check["shown"]["psi"] is not None), None
    )


def percent(value: float) -> float:
    return round(100 * value, 2)


def effect_of(check: Mapping[str, Any]) -> str:
    """In percentage points; of a pair of features the change of its correlation."""
    if check["check"] == Check.CORRELATION:
        return f"{check['effect']:+.2f}".replace("-", "\N{MINUS SIGN}")
    return points(check["effect"])


def floor_of(check: Mapping[str, Any]) -> str:
    """From which effect on it counts, in the unit of the effect."""
    if check["check"] == Check.CORRELATION:
        return f"{check['floor']:.2f}"
    return f"{100 * check['floor']:.1f} pp"
