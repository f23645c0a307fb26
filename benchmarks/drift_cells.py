"""The cells of each part of the drift benchmark, and the tables that show their figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.clustering.report import print_rows
from benchmarks.drift_costs import HELD, INPUT, TIMED
from benchmarks.drift_ways import THRESHOLD, WAYS, Outcome

REFERENCE = 5_000
MILLION = 1_000_000
SIZES = (50, 200, 1_000, 10_000, 100_000, MILLION)
REFERENCES = (300, 5_000, 100_000)
TIMED_SIZES = (10_000, 100_000, MILLION)
DRIFTS = (
    "shift_0.1sd",
    "shift_0.25sd",
    "shift_0.5sd",
    "scale_1.25",
    "corr_half",
    "cat_5pp",
    "cat_10pp",
    "newcat_1pct",
    "miss_+5pp",
    "mix_20pct",
    "mix_all",
    "tail_x3",
)
TRIFLES = ("none", "trifle_age_0.02sd", "trifle_income_1pct")
PARTS = ("false", "halves", "power", "trifles", "year", "time")


class Cell(NamedTuple):
    """One figure of a table: what is run, on which reference, with how many current customers."""

    part: str
    model_type: str
    n_reference: int
    n_current: int
    drift: str

    @property
    def key(self) -> str:
        return "/".join(map(str, self))


def cells_of(part: str, model_types: Sequence[str]) -> Iterator[Cell]:
    for model_type in model_types:
        if part == "false":
            # Choosing eps among 100,000 customers takes minutes a reference.
            for n_reference in REFERENCES[: 2 if model_type == "dbscan" else None]:
                for n_current in SIZES:
                    yield Cell(part, model_type, n_reference, n_current, "none")
        elif part == "halves":
            for table in ("marketing", "online shoppers", "online retail RFM"):
                for n_current in (200, 1_000):
                    yield Cell(part, model_type, 0, n_current, table)
        elif part == "power":
            for n_current in (200, 1_000, 10_000):
                for drift in DRIFTS:
                    yield Cell(part, model_type, REFERENCE, n_current, drift)
        elif part == "trifles":
            for drift in TRIFLES:
                yield Cell(part, model_type, 100_000, MILLION, drift)
        elif part == "year":
            for drift in ("none", "shift_0.25sd", "shift_0.1sd", "tail_x3"):
                yield Cell(part, model_type, REFERENCE, 1_000, drift)
        else:
            for n_current in TIMED_SIZES:
                yield Cell(part, model_type, 100_000, n_current, "none")


def share(outcomes: Sequence[Outcome], way: str) -> str:
    known = [outcome[way] for outcome in outcomes if way in outcome]
    return f"{np.mean(known):.3f}" if known else "–"


def mean_share(cells: Sequence[Sequence[Outcome]], way: str) -> str:
    known = [[outcome[way] for outcome in outcomes if way in outcome] for outcomes in cells]
    return f"{np.mean([np.mean(each) for each in known]):.3f}" if all(known) else "–"


def allowed(n: int) -> float:
    """The level plus two standard errors of so many repetitions."""
    return THRESHOLD + 2 * (THRESHOLD * (1 - THRESHOLD) / max(n, 1)) ** 0.5


def print_false(title: str, found: dict[Cell, list[Outcome]], *, of_tables: bool) -> None:
    print_rows(
        title,
        ("model", "table" if of_tables else "reference", "current", "repetitions")
        + ("reach", *WAYS),
        (
            (
                cell.model_type,
                cell.drift if of_tables else f"{cell.n_reference:,}",
                f"{cell.n_current:,}",
                str(len(outcomes)),
                f"≤ {allowed(len(outcomes)):.3f}",
                *(share(outcomes, way) for way in WAYS),
            )
            for cell, outcomes in found.items()
            if outcomes
        ),
    )


def print_power(found: dict[Cell, list[Outcome]]) -> None:
    known = {cell: outcomes for cell, outcomes in found.items() if outcomes}
    for model_type, n_current in dict.fromkeys((c.model_type, c.n_current) for c in known):
        here = {
            c: o for c, o in known.items() if (c.model_type, c.n_current) == (model_type, n_current)
        }
        rows: list[tuple[str, ...]] = [
            (cell.drift, str(len(outcomes)), *(share(outcomes, way) for way in WAYS))
            for cell, outcomes in here.items()
        ]
        means = [mean_share(list(here.values()), way) for way in WAYS]
        rows.append(("mean", "", *means))
        print_rows(
            f"Power, {model_type}, reference {REFERENCE:,}, current {n_current:,}"
            " (reach: mean ≥ .88 at 1,000, ≥ .99 at 10,000)",
            ("drift", "repetitions", *WAYS),
            rows,
        )


def print_year(found: dict[Cell, list[Outcome]]) -> None:
    rows: Iterable[tuple[str, ...]] = (
        (cell.drift, policy, str(len(outcomes)), *year_figures(outcomes, policy))
        for cell, outcomes in found.items()
        if outcomes
        for policy in outcomes[0]
    )
    print_rows(
        "Weekly checks of 1,000 customers (reach: ≤ 5 % of quiet years, ≤ 2 weeks to .25 sd)",
        ("drift", "policy", "runs", "with an alarm", "median week of it"),
        rows,
    )


def year_figures(outcomes: Sequence[Outcome], policy: str) -> tuple[str, str]:
    weeks = [outcome[policy] for outcome in outcomes if outcome[policy]]
    return f"{len(weeks) / len(outcomes):.0%}", f"{np.median(weeks):.1f}" if weeks else "–"


def print_time(found: dict[Cell, list[Outcome]]) -> None:
    known = {cell: medians(outcomes) for cell, outcomes in found.items() if outcomes}
    print_rows(
        "Time of 10 columns (reach at 1,000,000: ≤ 1.5 with segments at hand, ≤ 3.5 with scoring)",
        ("model", "current", "work", "s", "of np.sort"),
        (
            (cell.model_type, f"{cell.n_current:,}", way, f"{taken[way]:.3f}")
            + (f"{taken[way] / taken[TIMED[0]]:.2f}",)
            for cell, taken in known.items()
            for way in TIMED
        ),
    )
    print_rows(
        "Memory of 10 columns, at the peak and beside the input",
        ("model", "current", "work", "MiB", "of the input"),
        (
            (cell.model_type, f"{cell.n_current:,}", way, f"{taken[way]:.1f}")
            + (f"{taken[way] / taken[INPUT]:.2f}",)
            for cell, taken in known.items()
            for way in HELD
        ),
    )


def medians(outcomes: Sequence[Outcome]) -> Outcome:
    return {way: float(np.median([outcome[way] for outcome in outcomes])) for way in outcomes[0]}
