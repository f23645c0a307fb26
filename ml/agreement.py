"""How far two clusterings of the same customers agree, from how often their groups meet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def adjusted_rand_index(counts: NDArray[np.int64]) -> float:
    """Compute the adjusted Rand index of two clusterings from their contingency table.

    Parameters
    ----------
    counts : int64 array (n_groups_of_one, n_groups_of_other)
        Customers in each pair of groups, 0 or more; noise, if any, is a group of its own.

    Returns
    -------
    float
        1 where the two group alike, about 0 where they agree no more than by chance, below 0
        (to -0.5) where they agree less than that.

    Raises
    ------
    ValueError
        Fewer than two customers (there is no pair), a negative count, or no table.

    Notes
    -----
    Source: Hubert and Arabie (1985), Comparing partitions, in the form over pairs of Steinley
    (2004), Properties of the Hubert-Arabie adjusted Rand index. Pairs are counted in Python's
    integers: their products outgrow 64 bits from some 50,000 customers on.
    """
    if counts.ndim != 2:
        raise ValueError("counts must be a table of two dimensions")
    if counts.size and counts.min() < 0:
        raise ValueError("counts must not be negative")
    n = int(counts.sum())
    if n < 2:
        raise ValueError("at least two customers are needed to compare pairs of them")
    together = _pairs(counts)
    in_one, in_other = _pairs(counts.sum(axis=1)), _pairs(counts.sum(axis=0))
    only_one, only_other = in_one - together, in_other - together
    if not only_one and not only_other:
        return 1.0
    apart = n * (n - 1) // 2 - together - only_one - only_other
    scale = in_one * (only_one + apart) + in_other * (only_other + apart)
    return 2 * (together * apart - only_one * only_other) / scale


def _pairs(counts: NDArray[np.int64]) -> int:
    """How many pairs lie within a cell, over all cells."""
    return sum(n * (n - 1) // 2 for n in counts.ravel().tolist())
