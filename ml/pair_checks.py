"""The checks of pairs of columns: whether what went together still does."""

from __future__ import annotations

from itertools import combinations

from ml import drift_wording
from ml.check_result import Check, CheckResult, Floors, undecided
from ml.features import RawColumns
from ml.pair_correlations import (
    Correlation,
    PairCorrelations,
    compare_correlations,
    correlate,
    sampled_columns,
)


def check_pairs(
    pairs: PairCorrelations | None,
    raw: RawColumns,
    floors: Floors,
    *,
    n_reference: int,
    random_state: int,
) -> list[CheckResult]:
    """Check every pair that can be compared at these sizes; none where none was profiled.

    Parameters
    ----------
    pairs : profile of the reference
    raw : one float64 (n,) a paired column, NaN = missing
    floors : smallest effects that count
    n_reference : customers of the reference
    random_state : seed of the sample of current customers
    """
    if pairs is None or len(pairs.names) < 2:
        return []
    known = dict(zip(combinations(pairs.names, 2), pairs.correlations, strict=True))
    names = pairs.tested(min(n_reference, len(raw[pairs.names[0]])))
    columns = sampled_columns(raw, names, random_state=random_state)
    return [
        _check_pair(*names, known[names], now, floors)
        for names, now in zip(combinations(names, 2), correlate(columns), strict=True)
    ]


def _check_pair(
    name: str, other: str, before: Correlation, now: Correlation, floors: Floors
) -> CheckResult:
    """Return the check of one pair."""
    return undecided(
        Check.CORRELATION,
        compare_correlations(before, now),
        feature=name,
        kind="pair",
        sizes=(before.n_customers, now.n_customers),
        effect=now.value - before.value if now.n_customers else 0.0,
        floor=floors.correlation,
        sentence=drift_wording.of_correlation(name, other, before.value, now.value),
        other=other,
    )
