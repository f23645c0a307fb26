"""What the customers of each cluster are like, in coarse cells: which segment changed, and in what.
This describes. It is looked at beside the family of checks, and decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_INSIDE_ROWS = 20_000  # current customers looked at
N_GROUPS = 10  # of an ordered column: about the deciles of the reference
MAX_LEVELS = 24  # of a category, its first ones; the others share a cell


@dataclass(frozen=True, slots=True)
class InsideColumn:
    """One column's customers by cluster and coarse cell.

    `cuts` (raw unit) part the cells of an ordered column and are None for a category, whose cells
    are levels and all others. Missing values are in no cell. A row of `counts` is a cluster, in
    the order of the profile.
    """

    name: str
    cuts: tuple[float, ...] | None
    counts: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        widths = {len(row) for row in self.counts}
        if len(widths) > 1 or not min(map(min, self.counts), default=0) >= 0:
            raise ValueError(f"inside {self.name!r}: counts must be one row of cells a cluster")
        if self.cuts is None:
            return
        if any(a >= b for a, b in zip(self.cuts, self.cuts[1:], strict=False)):
            raise ValueError(f"inside {self.name!r}: cuts must rise")
        if widths and widths != {len(self.cuts) + 1}:
            raise ValueError(f"inside {self.name!r}: needs one cell more than cuts")

    @property
    def n_cells(self) -> int:
        """Cells of the column."""
        return len(self.counts[0]) if self.counts else 0

    @classmethod
    def fit_ordered(
        cls, name: str, values: Floats, labels: Counts, clusters: Sequence[int]
    ) -> Self:
        """Cut the reference's values, float64 (n,) with NaN, at about their deciles."""
        present = np.sort(values[~np.isnan(values)])
        places = (len(present) * np.arange(1, N_GROUPS) / N_GROUPS).astype(np.int64)
        cuts = np.unique(present[places]) if len(present) else present
        cells = ordered_cells(values, cuts.tolist())
        return cls(name, tuple(cuts.tolist()), count_inside(cells, labels, clusters, len(cuts) + 1))

    @classmethod
    def fit_levels(
        cls, name: str, codes: Floats, n_levels: int, labels: Counts, clusters: Sequence[int]
    ) -> Self:
        """Count the reference's level codes, float64 (n,) with NaN."""
        n_cells = min(n_levels, MAX_LEVELS) + 1
        return cls(name, None, count_inside(level_cells(codes, n_cells), labels, clusters, n_cells))

    def count(self, values: Floats, labels: Counts, clusters: Sequence[int]) -> Counts:
        """Count current values or codes like the reference, int64 (n_clusters, n_cells)."""
        if self.cuts is None:
            cells = level_cells(values, self.n_cells)
        else:
            cells = ordered_cells(values, self.cuts)
        return np.array(count_inside(cells, labels, clusters, self.n_cells), dtype=np.int64)


def ordered_cells(values: Floats, cuts: Sequence[float]) -> Counts:
    """Return the cell of each value, -1 where it is missing."""
    cells = np.searchsorted(cuts, values, side="right").astype(np.int64)
    cells[np.isnan(values)] = -1
    return cells


def level_cells(codes: Floats, n_cells: int) -> Counts:
    """Return the cell of each level code: the last for other and unseen ones, -1 for missing."""
    known = np.where(np.isnan(codes) | (codes < 0), n_cells - 1, codes).astype(np.int64)
    cells = np.minimum(known, n_cells - 1)
    cells[np.isnan(codes)] = -1
    return cells


def count_inside(
    cells: Counts, labels: Counts, clusters: Sequence[int], n_cells: int
) -> tuple[tuple[int, ...], ...]:
    """Count customers by cluster and cell; those without a cell or of another cluster are out."""
    if not clusters:
        return ()
    row = np.searchsorted(clusters, labels)
    row = np.minimum(row, len(clusters) - 1)
    counted = (cells >= 0) & (np.asarray(clusters)[row] == labels)
    flat = np.bincount(row[counted] * n_cells + cells[counted], minlength=len(clusters) * n_cells)
    return tuple(map(tuple, flat.reshape(len(clusters), n_cells).tolist()))
