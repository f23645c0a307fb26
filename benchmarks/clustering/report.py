"""Tables in Markdown, and the figures that have something to reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its goal: a lower bound, or an upper one where `is_limit`."""

    measure: str
    goal: float
    here: float
    others: str = ""
    style: str = ".3f"
    is_limit: bool = False

    def reached(self) -> bool:
        return self.here <= self.goal if self.is_limit else self.here >= self.goal

    def cells(self) -> tuple[str, ...]:
        sign = "≤" if self.is_limit else "≥"
        word = "reached" if self.reached() else "**missed**"
        here, goal = format(self.here, self.style), format(self.goal, self.style)
        return self.measure, f"{sign} {goal}", here, word, self.others


def print_figures(figures: Sequence[Figure]) -> None:
    head = ("measured on", "reach", "here", "", "others")
    print_rows("Figures to reach", head, (figure.cells() for figure in figures))


def print_rows(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def print_tables(title: str, agreements: Mapping[str, Mapping[str, float]]) -> None:
    """Agreement of each way on each table."""
    ways = tuple(next(iter(agreements.values())))
    rows = ((name, *(f"{own[way]:.2f}" for way in ways)) for name, own in agreements.items())
    print_rows(f"{title}, adjusted Rand index", ("table", *ways), rows)


def means(agreements: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {way: float(np.mean([own[way] for own in agreements])) for way in agreements[0]}


def beside(mean: Mapping[str, float]) -> str:
    """What the other ways reach."""
    return ", ".join(f"{way} {value:.2f}" for way, value in mean.items() if way != "ours")


def share(flags: NDArray[np.bool_]) -> float:
    """Share of true ones; 1 where there is nothing to get wrong."""
    return float(np.mean(flags)) if len(flags) else 1.0
