"""How strongly columns go together, whatever each of them does alone.
A score is the normal quantile of a value's rank in its own sample, so margins cannot move it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

from ml.row_samples import sample_rows
from ml.two_sample_tests import TestOutcome

Floats = NDArray[np.float64]

MAX_PAIR_ROWS = 20_000  # customers looked at, of either sample: sd of a correlation .007
MAX_PAIR_COLUMNS = 40  # 780 pairs; further columns, in the schema's order, are not paired
# Customers expected outside a column's commonest value, in the smaller sample: with fewer the
# correlation of a rare flag is far from normal. By judgement.
MIN_OUTSIDE_MODE = 40.0
NEARLY_ONE = 1 - 1e-9  # a correlation beyond it would have no finite Fisher transform
DF_CUSTOMERS = 4  # customers a degree of freedom: the variances are estimated, tails are heavy


@dataclass(frozen=True, slots=True)
class Correlation:
    """Correlation of two columns' scores over the customers that have both.

    `variance` is that of atanh(correlation); infinite where a column does not vary.
    """

    value: float
    variance: float
    n_customers: int


@dataclass(frozen=True)
class PairCorrelations:
    """Columns that are paired, their share of customers outside the commonest value, and the
    correlation of every pair in the order of `itertools.combinations`."""

    names: tuple[str, ...]
    outside_shares: tuple[float, ...]
    correlations: tuple[Correlation, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError("pairs: a column is listed twice")
        if len(self.outside_shares) != len(self.names):
            raise ValueError("pairs: needs one share a column")
        if len(self.correlations) != len(self.names) * (len(self.names) - 1) // 2:
            raise ValueError("pairs: needs one correlation a pair of columns")
        for found in self.correlations:
            if not (abs(found.value) <= 1 and found.variance >= 0 and found.n_customers >= 0):
                raise ValueError("pairs: a correlation is out of bounds")

    @classmethod
    def fit(cls, columns: Mapping[str, Floats], *, random_state: int) -> Self:
        """Correlate the reference's columns.

        Parameters
        ----------
        columns : one float64 (n,) a column, NaN = missing; the first MAX_PAIR_COLUMNS count
        random_state : seed of the sample taken beyond MAX_PAIR_ROWS customers
        """
        names = tuple(columns)[:MAX_PAIR_COLUMNS]
        sampled = sampled_columns(columns, names, random_state=random_state)
        return cls(
            names=names,
            outside_shares=tuple(outside_mode(values) for values in sampled),
            correlations=tuple(correlate(sampled)),
        )

    def tested(self, n_smaller: int) -> tuple[str, ...]:
        """Return the columns that vary enough to be paired, given the smaller sample's size."""
        counted = min(n_smaller, MAX_PAIR_ROWS)
        return tuple(
            name
            for name, share in zip(self.names, self.outside_shares, strict=True)
            if share * counted >= MIN_OUTSIDE_MODE
        )


def sampled_columns(
    columns: Mapping[str, Floats], names: Sequence[str], *, random_state: int
) -> list[Floats]:
    """Return the named columns over the same, at most MAX_PAIR_ROWS, seeded customers."""
    if not names:
        return []
    rows = sample_rows(len(columns[names[0]]), MAX_PAIR_ROWS, random_state=random_state)
    return [columns[name] if rows is None else columns[name][rows] for name in names]


def outside_mode(values: Floats) -> float:
    """Return the share of customers (0-1) that have a value other than the commonest one."""
    present = values[~np.isnan(values)]
    if not len(present):
        return 0.0
    counts = np.unique(present, return_counts=True)[1]
    return float(len(present) - counts.max()) / len(values)


def normal_scores(values: Floats) -> Floats:
    """Return the normal scores of a column in its own sample.

    Parameters
    ----------
    values : float64 (n,), NaN = missing

    Returns
    -------
    float64 (n,), Phi^-1((rank - 1/2) / n), ties at their middle rank; NaN where missing
    """
    scores = np.full(len(values), np.nan)
    present = ~np.isnan(values)
    distinct, inverse, counts = np.unique(values[present], return_inverse=True, return_counts=True)
    if len(distinct):
        middle = np.cumsum(counts) - counts / 2
        scores[present] = ndtri(middle / counts.sum())[inverse]
    return scores


def correlate(columns: Sequence[Floats]) -> Iterator[Correlation]:
    """Correlate the normal scores of every pair of columns.

    Parameters
    ----------
    columns : float64 (n,) each, NaN = missing; a pair counts the customers that have both

    Source: the variance is the mean square of the influence function of a correlation r,
    u v - r / 2 (u^2 + v^2) for standardised u and v (Devlin, Gnanadesikan & Kettenring, 1975,
    Biometrika 62), over n (1 - r^2)^2 for its Fisher transform.
    """
    scores = [normal_scores(values) for values in columns]
    present = [~np.isnan(values) for values in scores]
    whole = [bool(mask.all()) for mask in present]
    standard = [
        _standardised(values) if all_there else None
        for values, all_there in zip(scores, whole, strict=True)
    ]
    for j, k in combinations(range(len(scores)), 2):
        u, v = standard[j], standard[k]
        if u is None or v is None:
            both = present[j] & present[k]
            u, v = _standardised(scores[j][both]), _standardised(scores[k][both])
        yield _correlation(u, v)


def _standardised(scores: Floats) -> Floats:
    """Return scores of mean 0 and mean square 1; none where they do not vary."""
    if not len(scores):
        return scores
    centred = scores - scores.mean()
    scale = math.sqrt(float((centred * centred).mean()))
    return centred / scale if scale > 0 else centred[:0]


def _correlation(u: Floats, v: Floats) -> Correlation:
    """Correlate two standardised samples of the same customers."""
    if len(u) != len(v) or not len(u):
        return Correlation(0.0, math.inf, 0)
    products = u * v
    value = min(max(float(products.mean()), -NEARLY_ONE), NEARLY_ONE)
    influence = products - value / 2 * (u * u + v * v)
    variance = float((influence * influence).mean()) / len(u) / (1 - value**2) ** 2
    return Correlation(value, variance, len(u))


def compare_correlations(reference: Correlation, current: Correlation) -> TestOutcome:
    """Test that two correlations of independent samples are the same.

    Returns
    -------
    TestOutcome; the statistic is the difference of Fisher transforms in its standard errors,
    positive where the current correlation is higher; p_value 1 where either is unknown

    Source: Fisher (1921); a t law with a quarter of the smaller sample as degrees of freedom,
    because the variances are estimated (measured: 1 and 5 % levels hold with a reference of 300).
    """
    variance = reference.variance + current.variance
    difference = math.atanh(current.value) - math.atanh(reference.value)
    if not math.isfinite(variance) or difference == 0:
        return TestOutcome("fisher-z", 0.0, 1.0)
    statistic = difference / math.sqrt(max(variance, np.finfo(np.float64).tiny))
    freedom = max(1.0, min(reference.n_customers, current.n_customers) / DF_CUSTOMERS)
    return TestOutcome("fisher-z", statistic, min(1.0, 2 * float(stdtr(freedom, -abs(statistic)))))
