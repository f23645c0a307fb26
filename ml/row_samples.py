"""Seeded samples of rows, for what need not look at every customer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sample_rows(n_rows: int, limit: int, *, random_state: int) -> NDArray[np.int64] | None:
    """Draw one row from each of `limit` stretches of equal length, where there are more rows.

    Parameters
    ----------
    n_rows, limit : int
    random_state : seed

    Returns
    -------
    int64 (limit,), rising; None where every row fits, so that callers need not copy

    Notes
    -----
    A table sorted by whatever is sampled evenly, and no permutation of a million is needed.
    """
    if n_rows <= limit:
        return None
    within = np.random.default_rng(random_state).random(limit)
    ends = np.arange(limit + 1, dtype=np.int64) * n_rows // limit
    return ends[:-1] + (within * np.diff(ends)).astype(np.int64)
