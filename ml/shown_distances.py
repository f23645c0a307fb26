"""Distances between two samples that people know. They are shown beside a check, never decide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

PSI_FLOOR = 1e-4  # share an empty cell counts with, by credit-scoring practice
PSI_GROUPS = 10  # by the same practice: deciles of the reference


def psi(reference: Counts, current: Counts) -> float | None:
    """Return the population stability index of two samples in the same cells.

    Shown for people who know it; it decides nothing. Its reading as moderate from 0.10 and large
    from 0.25 is credit-scoring practice (usually traced to Lewis, 1994) and moves with the number
    of cells and customers: in deciles, two samples of 200 from one population average 0.09.

    Parameters
    ----------
    reference, current : int64 (n_cells,)

    Returns
    -------
    float >= 0, symmetric in its arguments, 0 for equal shares; None where a sample is empty
    """
    n, m = int(reference.sum()), int(current.sum())
    if n == 0 or m == 0:
        return None
    p, q = np.maximum(reference / n, PSI_FLOOR), np.maximum(current / m, PSI_FLOOR)
    return float(((p - q) * np.log(p / q)).sum())


def psi_of_ordered_cells(reference: Counts, current: Counts) -> float | None:
    """Return the PSI of ordered cells grouped to about the deciles of the reference."""
    n = int(reference.sum())
    if n == 0:
        return None
    middle = (np.cumsum(reference) - reference / 2) / n
    group = np.minimum((middle * PSI_GROUPS).astype(np.int64), PSI_GROUPS - 1)
    groups = np.unique(group)
    starts = np.searchsorted(group, groups)
    return psi(np.add.reduceat(reference, starts), np.add.reduceat(current, starts))


def jensen_shannon(reference: Counts, current: Counts) -> float | None:
    """Return the Jensen-Shannon distance of two samples in the same cells.

    Parameters
    ----------
    reference, current : int64 (n_cells,)

    Returns
    -------
    float in [0, sqrt(log 2)], the root of the divergence in nats; None where a sample is empty

    Source: Endres & Schindelin (2003), "A new metric for probability distributions".
    """
    n, m = int(reference.sum()), int(current.sum())
    if n == 0 or m == 0:
        return None
    p, q = reference / n, current / m
    middle = (p + q) / 2
    divergence = float((rel_entr(p, middle) + rel_entr(q, middle)).sum()) / 2
    return max(divergence, 0.0) ** 0.5


def wasserstein(
    reference: Counts, reference_means: Floats, current: Counts, current_means: Floats
) -> float | None:
    """Return the Wasserstein-1 distance of two samples, each cell standing at its own mean.

    Parameters
    ----------
    reference, current : int64 (n_cells,), customers in each cell
    reference_means, current_means : float64 (n_cells,), mean value of these; of any value where
        a cell is empty

    Returns
    -------
    float >= 0 in the unit of the means; None where a sample is empty

    Source: the area between the two distribution functions (Vallender, 1974).
    """
    n, m = int(reference.sum()), int(current.sum())
    if n == 0 or m == 0:
        return None
    steps = np.concatenate([reference / n, -current / m])
    places = np.concatenate([reference_means, current_means])
    occupied = steps != 0
    steps, places = steps[occupied], places[occupied]
    order = np.argsort(places, kind="stable")
    gaps = np.cumsum(steps[order])[:-1]
    return float((np.abs(gaps) * np.diff(places[order])).sum())


def cell_means(values: Floats, counts: Counts) -> Floats:
    """Return the mean of the sorted values in each cell, 0 where a cell is empty.

    Parameters
    ----------
    values : float64 (n,), ascending
    counts : int64 (n_cells,), values in each cell, summing to n
    """
    means = np.zeros(len(counts))
    occupied = counts > 0
    starts = (np.cumsum(counts) - counts)[occupied]
    if len(values):
        means[occupied] = np.add.reduceat(values, starts) / counts[occupied]
    return means
