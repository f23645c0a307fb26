"""How the customers of one column spread before and now, in a few cells that a person can read.
This describes what drifted, and decides nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ml import drift_wording
from ml.features import Kind
from ml.reference_profile import Column, LevelColumn, OrderedColumn, count_levels, sorted_values

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

MAX_CELLS = 9  # cells of an ordered column and levels of a category that are shown by themselves
MAX_LEVEL_CHARACTERS = 40
DECIMALS = 5


@dataclass(frozen=True, slots=True)
class ShareTable:
    """Shares (0-1) of all customers of the reference and of current ones by cell of a feature."""

    feature: str
    labels: tuple[str, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]


def share_table(column: Column, values: Floats) -> ShareTable | None:
    """Return where the customers of a column were and are; None for a date, which moves by itself.

    Parameters
    ----------
    column : profile of the reference
    values : float64 (n,), n > 0, raw unit or level codes; NaN = missing

    Raises
    ------
    ValueError for an infinite value or a code outside the levels
    """
    if isinstance(column, LevelColumn):
        return _of_levels(column, *count_levels(column.name, values, len(column.levels)))
    if column.kind == Kind.DATE:
        return None
    return _of_cells(column, sorted_values(column.name, values), len(values))


def _of_levels(column: LevelColumn, known: Counts, n_unknown: int, n_missing: int) -> ShareTable:
    """Return the shares of the commonest levels in either sample, and of the others together."""
    reference = np.array(column.counts, dtype=np.int64)
    n = int(known.sum()) + n_unknown + n_missing
    commonest = np.argsort(-(reference / column.n_customers + known / n), kind="stable")
    shown, others = commonest[:MAX_CELLS], commonest[MAX_CELLS:]
    labels = [column.levels[place][:MAX_LEVEL_CHARACTERS] for place in shown]
    before, now = reference[shown].tolist(), known[shown].tolist()
    for label, n_before, n_now in (
        ("other levels", int(reference[others].sum()), int(known[others].sum())),
        ("never seen before", column.n_unknown, n_unknown),
        ("missing", column.n_missing, n_missing),
    ):
        if n_before or n_now:
            labels.append(label)
            before.append(n_before)
            now.append(n_now)
    return _table(column, labels, before, now, n)


def _of_cells(column: OrderedColumn, present: Floats, n: int) -> ShareTable:
    """Return the shares of neighbouring cells, joined until each has its part of the reference."""
    upto = np.cumsum(np.array(column.cells.counts, dtype=np.int64))
    n_values = int(upto[-1])
    if column.kind == Kind.BOOLEAN:
        places = np.searchsorted(column.cells.cuts, [0.0], side="right")
    else:
        wanted = n_values * np.arange(1, MAX_CELLS) / MAX_CELLS
        places = np.unique(np.searchsorted(upto[:-1], wanted))
    places = places[places < len(column.cells.cuts)]
    cuts = [column.cells.cuts[place] for place in places]
    labels = ["false", "true"] if column.kind == Kind.BOOLEAN and cuts else _cell_labels(cuts)
    before = np.diff(upto[places], prepend=0, append=n_values).tolist()
    now = np.diff(np.searchsorted(present, cuts), prepend=0, append=len(present)).tolist()
    if column.n_missing or len(present) < n:
        labels.append("missing")
        before.append(column.n_missing)
        now.append(n - len(present))
    return _table(column, labels, before, now, n)


def _cell_labels(cuts: Sequence[float]) -> list[str]:
    """Name the cells between rising cuts; a cell of one value is called by it alone."""
    if not cuts:
        return ["any value"]
    named = [_edge(cut) for cut in cuts]
    first, last = named[0], named[-1]
    between = [
        low.text if low.text == high.text else f"{low.text} – {high.text}"
        for low, high in pairwise(named)
    ]
    return [
        f"{'≤' if first.is_after else '<'} {first.text}",
        *between,
        f"{'>' if last.is_after else '≥'} {last.text}",
    ]


@dataclass(frozen=True, slots=True)
class _Edge:
    """A cut for reading; one just after a value is called by that value."""

    text: str
    is_after: bool


def _edge(cut: float) -> _Edge:
    below = math.nextafter(cut, -math.inf)
    is_after = len(repr(below)) < len(repr(cut))
    return _Edge(drift_wording.figure(below if is_after else cut), is_after)


def _table(
    column: Column, labels: Sequence[str], before: Sequence[int], now: Sequence[int], n: int
) -> ShareTable:
    return ShareTable(
        feature=column.name,
        labels=tuple(labels),
        before=tuple(round(count / column.n_customers, DECIMALS) for count in before),
        now=tuple(round(count / n, DECIMALS) for count in now),
    )
