"""The checks of pairs: which are made, and their figures against numpy's."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from ml.check_result import Check, CheckResult, Floors
from ml.features import RawColumns
from ml.pair_checks import check_pairs
from ml.pair_correlations import PairCorrelations, compare_correlations, correlate

NAMES = ("orders", "spend", "age")


def customers(seed: int, n: int, *, link: float) -> RawColumns:
    rng = np.random.default_rng(seed)
    orders = rng.poisson(4, n).astype(np.float64)
    spend = np.exp(link * orders + rng.normal(size=n))
    return {"orders": orders, "spend": spend, "age": rng.normal(45, 12, n)}


def checked(reference: RawColumns, current: RawColumns) -> list[CheckResult]:
    pairs = PairCorrelations.fit(reference, random_state=0)
    n_reference = len(reference["age"])
    return check_pairs(pairs, current, Floors(), n_reference=n_reference, random_state=0)


def correlation_of_scores(raw: RawColumns, *names: str) -> float:
    scores = [norm.ppf((rankdata(raw[name]) - 0.5) / len(raw[name])) for name in names]
    return float(np.corrcoef(scores)[0, 1])


def test_every_pair_is_checked_by_its_change_of_correlation() -> None:
    reference, current = customers(1, 2_000, link=0.5), customers(2, 500, link=0.1)

    found = checked(reference, current)

    assert [(check.feature, check.other) for check in found] == list(combinations(NAMES, 2))
    for check, names in zip(found, combinations(NAMES, 2), strict=True):
        before, now = (correlation_of_scores(raw, *names) for raw in (reference, current))
        samples = ([raw[name] for name in names] for raw in (reference, current))
        expected = compare_correlations(*(next(correlate(columns)) for columns in samples))
        assert check.check == Check.CORRELATION
        assert check.effect == pytest.approx(now - before, abs=1e-9)
        assert (check.statistic, check.p_value) == (expected.statistic, expected.p_value)
        assert (check.n_reference, check.n_current) == (2_000, 500)


def test_a_column_that_hardly_varies_is_in_no_pair() -> None:
    reference = customers(1, 2_000, link=0.5)
    reference["orders"] = np.where(np.arange(2_000) < 60, 1.0, 0.0)

    found = checked(reference, customers(2, 500, link=0.5))

    assert [(check.feature, check.other) for check in found] == [("spend", "age")]


def test_a_column_that_is_missing_now_is_no_change_of_a_pair() -> None:
    current = customers(2, 500, link=0.5) | {"spend": np.full(500, np.nan)}

    found = checked(customers(1, 2_000, link=0.5), current)

    without = [check for check in found if "spend" in check.subjects]
    assert len(without) == 2
    assert all((check.p_value, check.effect) == (1.0, 0.0) for check in without)


@pytest.mark.parametrize("names", [(), ("age",)])
def test_fewer_than_two_columns_make_no_pair(names: tuple[str, ...]) -> None:
    raw = {name: values for name, values in customers(1, 300, link=0.5).items() if name in names}

    pairs = PairCorrelations.fit(raw, random_state=0)

    assert check_pairs(pairs, raw, Floors(), n_reference=300, random_state=0) == []
    assert check_pairs(None, raw, Floors(), n_reference=300, random_state=0) == []
