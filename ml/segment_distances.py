"""How far customers lie from what their cluster is like: the reference's distances in cells.
A customer is far when nearly nobody of the reference lies as far from every cluster."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.ordered_cells import OrderedCells

FAR_QUANTILE = 0.99  # of the reference's distances: beyond it a customer is far


@dataclass(frozen=True, slots=True)
class SegmentDistances:
    """Cells of the reference distances (encoded space), their median, and who is far."""

    cells: OrderedCells
    median: float
    far: float
    n_far: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.median) and math.isfinite(self.far)):
            raise ValueError("distances: median and far must be finite")
        if not 0 <= self.n_far <= self.n_customers:
            raise ValueError("distances: n_far must lie between 0 and the customers")

    @property
    def n_customers(self) -> int:
        """Reference customers with a distance."""
        return sum(self.cells.counts)

    @classmethod
    def fit(cls, distances: NDArray[np.float64] | None) -> Self | None:
        """Profile the distances of the reference, held out; None where one is not finite.

        Parameters
        ----------
        distances : float64 (n,) or None
        """
        if distances is None or not len(distances) or not np.isfinite(distances).all():
            return None
        ordered = np.sort(distances)
        far = float(ordered[int(FAR_QUANTILE * (len(ordered) - 1))])
        return cls(
            cells=OrderedCells.fit(ordered),
            median=float(np.median(ordered)),
            far=far,
            n_far=int(len(ordered) - np.searchsorted(ordered, far, side="right")),
        )
