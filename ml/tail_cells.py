"""Ordered cells inside the two tails of a numeric column, where a column's own cells are coarse.
A tail holds the values beyond a bound: the 5th or the 95th percentile of the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.ordered_cells import Grain, OrderedCells

Floats = NDArray[np.float64]

TAIL_SHARE = 0.05  # of the reference, on either side
MIN_TAIL_ROWS = 40  # customers below which a tail is not looked into
MIN_TAIL_CELLS = 3  # occupied cells below which there is nothing to compare
TAIL_GRAIN = Grain(atom=0.04, group=0.04, end_group=0.04)  # shares of the tail, not of everyone


@dataclass(frozen=True, slots=True)
class TailCells:
    """Cells of the reference values strictly beyond `bound`, and their mean (raw units)."""

    bound: float
    mean: float
    upper: bool
    cells: OrderedCells

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bound) and math.isfinite(self.mean)):
            raise ValueError("bound and mean of a tail must be finite")

    @classmethod
    def fit(cls, values: Floats, *, upper: bool) -> Self | None:
        """Cut one tail of the sorted reference values into ordered cells.

        Parameters
        ----------
        values : float64 (n,), ascending, finite; n may be 0
        upper : the upper tail, or else the lower one

        Returns
        -------
        TailCells, or None where the tail has fewer than MIN_TAIL_ROWS customers or fewer than
        MIN_TAIL_CELLS occupied cells
        """
        if not len(values):
            return None
        place = int((1 - TAIL_SHARE if upper else TAIL_SHARE) * (len(values) - 1))
        bound = float(values[place])
        tail = beyond(values, bound, upper=upper)
        if len(tail) < MIN_TAIL_ROWS:
            return None
        cells = OrderedCells.fit(tail, TAIL_GRAIN)
        n_occupied = sum(count > 0 for count in cells.counts)
        if n_occupied < MIN_TAIL_CELLS:
            return None
        return cls(bound, float(tail.mean()), upper, cells)

    def values_in(self, values: Floats) -> Floats:
        """Return those of the sorted values that lie in the tail, ascending."""
        return beyond(values, self.bound, upper=self.upper)


def beyond(values: Floats, bound: float, *, upper: bool) -> Floats:
    """Return the sorted values strictly above the bound, or strictly below it."""
    if upper:
        return values[np.searchsorted(values, bound, side="right") :]
    return values[: np.searchsorted(values, bound, side="left")]
