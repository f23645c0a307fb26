"""Tests on the counts of two samples, reference and current, and the family they are judged in.
A hit is a customer that has what is counted; a cell is a level, a cluster or a range of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

Counts = NDArray[np.int64]

MIN_EXPECTED = 5.0  # customers a cell must expect for chi-square; Cochran (1954)
WINDOW_SDS = 40.0  # half-width, in sd, beyond which hypergeometric mass is under 1e-300
WINDOW_ROWS = 100  # added to it, for laws so narrow that an sd says little
SAME_PROBABILITY = 1e-7  # relative slack of equally likely outcomes; as in R's fisher.test


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """The name of a test, its statistic and its p value (0-1)."""

    __test__ = False  # not a test class, whatever pytest makes of the name

    test: str
    statistic: float
    p_value: float


def hypergeometric_two_sided(
    reference_hits: int, n_reference: int, current_hits: int, n_current: int
) -> TestOutcome:
    """Test exactly that hits are as frequent in the current sample as in the reference.

    Parameters
    ----------
    reference_hits, n_reference, current_hits, n_current : int, hits <= n

    Returns
    -------
    TestOutcome; the statistic is the number of current hits, p_value the probability of every
    split of the hits that is no likelier than the one seen

    Source: Fisher's exact test. Summed from ratios of neighbouring probabilities over a window
    that holds all mass, so a million customers cost milliseconds and no normal law is needed.
    """
    hits = reference_hits + current_hits
    total = n_reference + n_current
    if hits in (0, total) or n_reference == 0 or n_current == 0:
        return TestOutcome("hypergeometric", float(current_hits), 1.0)
    mean = n_current * hits / total
    variance = mean * (1 - hits / total) * n_reference / (total - 1)
    reach = int(WINDOW_SDS * variance**0.5) + WINDOW_ROWS
    low = max(0, n_current - (total - hits), min(current_hits, int(mean)) - reach)
    high = min(hits, n_current, max(current_hits, int(mean)) + reach)
    k = np.arange(low, high, dtype=np.float64)
    ratios = (hits - k) * (n_current - k) / ((k + 1) * (total - hits - n_current + k + 1))
    log_mass = np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    mass = np.exp(log_mass - log_mass.max())
    as_rare = mass <= mass[current_hits - low] * (1 + SAME_PROBABILITY)
    p_value = min(1.0, float(mass[as_rare].sum() / mass.sum()))
    return TestOutcome("hypergeometric", float(current_hits), p_value)


def all_hits_chance(reference_hits: int, n_reference: int, n_current: int) -> float:
    """Return the chance that every current customer is a hit, given the pooled number of hits.

    Parameters
    ----------
    reference_hits, n_reference, n_current : int, hits <= n

    Returns
    -------
    float in [0, 1], hypergeometric

    Notes
    -----
    The product of (reference_hits + i) / (n_reference + i) for i = 1 ... n_current.
    """
    i = np.arange(1, n_current + 1, dtype=np.float64)
    return float(np.exp(np.log((reference_hits + i) / (n_reference + i)).sum()))


def pool_rare(
    reference: Counts, current: Counts, *, rest: tuple[int, int] = (0, 0)
) -> tuple[Counts, Counts]:
    """Pool the cells that expect fewer than MIN_EXPECTED customers in the smaller sample.

    Membership depends on pooled counts alone, so relabelling customers leaves it as it is.

    Parameters
    ----------
    reference, current : int64 (n_cells,)
    rest : reference and current customers outside all cells (levels that are not known); they
        join the pool, because a rare level is known only by having fallen into the reference

    Returns
    -------
    two int64 (n_pooled,); a pool still too small joins the smallest other cell, unless only one
    other cell is left
    """
    pooled = reference + current
    total = int(pooled.sum()) + sum(rest)
    smaller = min(int(reference.sum()) + rest[0], int(current.sum()) + rest[1])
    needed = MIN_EXPECTED * total / smaller if smaller else np.inf
    order = np.argsort(-pooled, kind="stable")
    kept = order[pooled[order] >= needed]
    rare = order[pooled[order] < needed]
    rest_reference = rest[0] + int(reference[rare].sum())
    rest_current = rest[1] + int(current[rare].sum())
    if rest_reference + rest_current == 0:
        return reference[kept], current[kept]
    if rest_reference + rest_current < needed and len(kept) > 1:
        rest_reference += int(reference[kept[-1]])
        rest_current += int(current[kept[-1]])
        kept = kept[:-1]
    return np.append(reference[kept], rest_reference), np.append(current[kept], rest_current)


def chi_square(reference: Counts, current: Counts) -> TestOutcome:
    """Test that two samples spread alike over unordered cells; two cells are tested exactly.

    Parameters
    ----------
    reference, current : int64 (n_cells,), rare cells already pooled

    Returns
    -------
    TestOutcome; p_value 1 where fewer than two cells are occupied or a sample is empty

    Source: Pearson (1900), two-sample form with n_cells - 1 degrees of freedom.
    """
    pooled = reference + current
    occupied = pooled > 0
    reference, current, pooled = reference[occupied], current[occupied], pooled[occupied]
    n, m = int(reference.sum()), int(current.sum())
    if n == 0 or m == 0 or len(pooled) < 2:
        return TestOutcome("chi-square", 0.0, 1.0)
    if len(pooled) == 2:
        return hypergeometric_two_sided(int(reference[0]), n, int(current[0]), m)
    gap = reference / n - current / m
    statistic = n * m * float((gap**2 / pooled).sum())
    return TestOutcome("chi-square", statistic, float(chdtrc(len(pooled) - 1, statistic)))


def share_moved(reference: Counts, current: Counts) -> float:
    """Return the share of customers that would have to change cell (total variation), 0-1."""
    n, m = int(reference.sum()), int(current.sum())
    if n == 0 or m == 0:
        return 0.0
    return float(np.abs(reference / n - current / m).sum() / 2)


def weighted_holm(p_values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Adjust p values so that rejecting those <= alpha errs at all with probability <= alpha.

    Parameters
    ----------
    p_values : floats in [0, 1]
    weights : positive floats of the same length, in any unit

    Returns
    -------
    list of floats in [0, 1], in the order given

    Raises
    ------
    ValueError for lengths that differ or a weight that is not positive

    Source: Holm (1979), weighted: in order of p / weight, the running maximum of p times the
    weight still in play over the own weight. Valid under any dependence.
    """
    if len(p_values) != len(weights):
        raise ValueError("weighted_holm needs as many weights as p values")
    if not p_values:
        return []
    if min(weights) <= 0:
        raise ValueError("weighted_holm needs positive weights")
    p, w = np.asarray(p_values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    order = np.argsort(p / w, kind="stable")
    in_play = np.cumsum(w[order][::-1])[::-1]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * (in_play / w[order])), 1.0)
    return adjusted.tolist()
