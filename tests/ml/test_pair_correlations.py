"""Correlations of normal scores: against numpy, their own law, and margins that must not matter."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata
from scipy.stats import t as t_law

from ml.pair_correlations import (
    MAX_PAIR_COLUMNS,
    MAX_PAIR_ROWS,
    Correlation,
    PairCorrelations,
    compare_correlations,
    correlate,
    normal_scores,
    outside_mode,
)

columns = st.lists(
    st.one_of(st.just(math.nan), st.integers(-3, 3).map(float), st.floats(-1e15, 1e15)),
    max_size=60,
).map(np.array)


def linked(rng: np.random.Generator, n: int, share: float = 0.6) -> list[np.ndarray]:
    """Two columns with a link, heavy-tailed and tied."""
    common = rng.normal(size=n)
    spend = np.exp(share * common + rng.normal(size=n))
    return [spend, np.round(share * common + rng.normal(size=n))]


@settings(deadline=None)
@given(columns)
def test_normal_scores_agree_with_scipys_ranks(values: np.ndarray) -> None:
    scores = normal_scores(values)

    present = ~np.isnan(values)
    ranks = rankdata(values[present])
    assert np.isnan(scores[~present]).all()
    np.testing.assert_allclose(
        scores[present], norm.ppf((ranks - 0.5) / max(len(ranks), 1)), atol=1e-9
    )


def test_a_correlation_is_that_of_the_customers_who_have_both() -> None:
    rng = np.random.default_rng(1)
    spend, orders = linked(rng, 400)
    spend[:100], orders[350:] = np.nan, np.nan

    (found,) = correlate([spend, orders])

    both = slice(100, 350)
    expected = np.corrcoef(normal_scores(spend)[both], normal_scores(orders)[both])[0, 1]
    assert found.n_customers == 250
    assert found.value == pytest.approx(expected, abs=1e-12)


def test_the_variance_is_that_of_the_influence_of_each_customer() -> None:
    u, v = map(normal_scores, linked(np.random.default_rng(7), 80))
    n, step = len(u), 1e-30

    def fisher_z(w: np.ndarray) -> complex:
        """The Fisher transform of the correlation of weighted customers."""
        du, dv = u - w @ u / w.sum(), v - w @ v / w.sum()
        r = (w @ (du * dv)) / np.sqrt((w @ du**2) * (w @ dv**2))
        return complex(np.arctanh(r))

    # The derivative for the weight of each customer, by a complex step and thus to the last digit.
    steps = np.ones(n) + 1j * step * np.eye(n)
    influence = np.array([n * fisher_z(w).imag / step for w in steps])

    (found,) = correlate([u, v])

    assert found.variance == pytest.approx((influence**2).mean() / n, rel=1e-9)


def test_the_variance_is_that_of_many_samples() -> None:
    rng = np.random.default_rng(2)
    found = [next(correlate(linked(rng, 500))) for _ in range(300)]

    spread = np.var([math.atanh(each.value) for each in found])

    assert np.mean([each.variance for each in found]) == pytest.approx(spread, rel=0.25)


def test_stretching_a_column_changes_nothing() -> None:
    spend, orders = linked(np.random.default_rng(3), 300)

    plain, stretched = next(correlate([spend, orders])), next(correlate([spend**3, -orders]))

    assert stretched.value == pytest.approx(-plain.value, abs=1e-12)
    assert stretched.variance == pytest.approx(plain.variance, rel=1e-9)


correlations = st.builds(
    Correlation, st.floats(-0.999, 0.999), st.floats(1e-6, 10), st.integers(1, 20_000)
)


@settings(max_examples=40)
@given(correlations, correlations)
def test_the_p_value_is_that_of_a_t_law(reference: Correlation, current: Correlation) -> None:
    outcome = compare_correlations(reference, current)

    expected = math.atanh(current.value) - math.atanh(reference.value)
    expected /= math.sqrt(reference.variance + current.variance)
    freedom = max(1, min(reference.n_customers, current.n_customers) / 4)
    assert outcome.statistic == pytest.approx(expected, rel=1e-9)
    assert outcome.p_value == pytest.approx(
        2 * t_law.sf(abs(expected), freedom), rel=1e-9, abs=1e-300
    )


@pytest.mark.parametrize(
    "columns",
    [
        [np.full(50, 7.0), np.arange(50.0)],
        [np.full(50, np.nan), np.arange(50.0)],
        [np.array([1.0]), np.array([2.0])],
        [np.empty(0), np.empty(0)],
    ],
)
def test_what_does_not_vary_is_never_a_change(columns: list[np.ndarray]) -> None:
    (found,) = correlate(columns)

    assert found.variance == math.inf
    assert compare_correlations(Correlation(0.9, 0.001, 500), found).p_value == 1.0


def test_columns_that_are_the_same_stay_so_and_are_seen_to_part() -> None:
    rng = np.random.default_rng(4)
    spend, other = rng.normal(size=300), rng.normal(size=300)
    (same,) = correlate([spend, spend])
    (again,) = correlate([other, other])
    (parted,) = correlate([spend, other])

    assert compare_correlations(same, again).p_value > 0.5
    assert compare_correlations(same, parted).p_value < 1e-9


def test_a_rare_flag_is_paired_only_with_customers_enough() -> None:
    rng = np.random.default_rng(5)
    flag, age = (rng.random(5_000) < 0.01).astype(float), rng.normal(size=5_000)

    pairs = PairCorrelations.fit({"flag": flag, "age": age}, random_state=0)

    assert pairs.tested(1_000) == ("age",)
    assert pairs.tested(20_000) == ("flag", "age")


def test_only_so_many_columns_and_customers_are_looked_at() -> None:
    rng = np.random.default_rng(6)
    table = {f"v{i}": rng.normal(size=30) for i in range(MAX_PAIR_COLUMNS + 5)}
    many = {"a": rng.normal(size=MAX_PAIR_ROWS + 1), "b": rng.normal(size=MAX_PAIR_ROWS + 1)}

    assert len(PairCorrelations.fit(table, random_state=0).names) == MAX_PAIR_COLUMNS
    assert PairCorrelations.fit(many, random_state=0).correlations[0].n_customers == MAX_PAIR_ROWS
    assert PairCorrelations.fit({}, random_state=0).correlations == ()


def test_outside_mode_counts_who_has_another_value() -> None:
    assert outside_mode(np.array([1.0, 1.0, 2.0, np.nan])) == 0.25
    assert outside_mode(np.array([np.nan])) == 0.0
