"""Tests on counts of two samples against scipy, hand-worked answers and their own laws."""

from decimal import Decimal, localcontext
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cityblock
from scipy.stats import chi2_contingency, fisher_exact, hypergeom

from ml.two_sample_tests import (
    MIN_EXPECTED,
    SAME_PROBABILITY,
    all_hits_chance,
    chi_square,
    hypergeometric_two_sided,
    pool_rare,
    share_moved,
    weighted_holm,
)


def counts(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.data())
def test_hypergeometric_agrees_with_fisher_exact(n: int, m: int, data: st.DataObject) -> None:
    a = data.draw(st.integers(0, n))
    b = data.draw(st.integers(0, m))

    outcome = hypergeometric_two_sided(a, n, b, m)

    expected = fisher_exact([[a, n - a], [b, m - b]]).pvalue
    assert outcome.p_value == pytest.approx(expected, rel=1e-9, abs=1e-300)


def summed_in_decimals(a: int, n: int, b: int, m: int) -> float:
    """The probability of every split no likelier than (a, b), in forty digits."""
    hits, misses = a + b, n + m - a - b
    low, high = max(0, m - misses), min(hits, m)
    with localcontext(prec=40):
        masses = [Decimal(1)]
        for k in range(low, high):
            odds = Decimal((hits - k) * (m - k)) / ((k + 1) * (misses - m + k + 1))
            masses.append(masses[-1] * odds)
        bound = masses[b - low] * (1 + Decimal(SAME_PROBABILITY))
        return float(sum(mass for mass in masses if mass <= bound) / sum(masses))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2_000, 10_000_000),
    st.integers(2_000, 10_000_000),
    st.integers(0, 1_000),
    st.integers(0, 1_000),
)
def test_hypergeometric_is_exact_on_millions(n: int, m: int, a: int, b: int) -> None:
    outcome = hypergeometric_two_sided(a, n, b, m)

    expected = summed_in_decimals(a, n, b, m)
    assert outcome.p_value == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_hypergeometric_is_exact_among_many_hits() -> None:
    outcome = hypergeometric_two_sided(7_400, 100_000, 1_600, 20_000)

    expected = summed_in_decimals(7_400, 100_000, 1_600, 20_000)
    assert outcome.p_value == pytest.approx(expected, rel=1e-9)


def test_hypergeometric_tells_splits_apart_that_are_nearly_as_likely() -> None:
    # 22 current hits are likelier than 10 by 2 in a million, and no part of the p value.
    outcome = hypergeometric_two_sided(27, 254, 10, 193)

    expected = fisher_exact([[27, 227], [10, 183]]).pvalue
    assert outcome.p_value == pytest.approx(expected, rel=1e-9)


def test_hypergeometric_stays_exact_far_out_in_a_tail() -> None:
    outcome = hypergeometric_two_sided(0, 5_000, 40, 1_000)

    assert outcome.p_value == pytest.approx(hypergeom(6_000, 40, 1_000).pmf(40), rel=1e-9)


@pytest.mark.parametrize("table", [(0, 10, 0, 10), (10, 10, 5, 5), (0, 0, 3, 9), (3, 9, 0, 0)])
def test_hypergeometric_of_a_table_that_cannot_vary_is_one(table: tuple[int, ...]) -> None:
    assert hypergeometric_two_sided(*table).p_value == 1.0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3_000), st.integers(0, 300), st.data())
def test_all_hits_chance_is_the_hypergeometric_probability(
    n: int, m: int, data: st.DataObject
) -> None:
    hits = data.draw(st.integers(0, n))

    chance = all_hits_chance(hits, n, m)

    expected = hypergeom(n + m, hits + m, m).pmf(m)
    assert chance == pytest.approx(expected, rel=1e-9, abs=1e-300)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), min_size=3, max_size=12))
def test_chi_square_agrees_with_scipy(pairs: list[tuple[int, int]]) -> None:
    table = np.array([pair for pair in pairs if sum(pair)], dtype=np.int64)
    assume(len(table) > 2 and (table.sum(0) > 0).all())

    outcome = chi_square(table[:, 0], table[:, 1])

    expected = chi2_contingency(table.T, correction=False)
    assert outcome.statistic == pytest.approx(expected.statistic, abs=1e-9, rel=1e-9)
    assert outcome.p_value == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-300)


def test_chi_square_of_millions_agrees_with_scipy() -> None:
    rng = np.random.default_rng(8)
    table = rng.multinomial([4_000_000, 90_000], rng.dirichlet(np.full(30, 5)))

    outcome = chi_square(table[0], table[1])

    expected = chi2_contingency(table, correction=False)
    assert outcome.statistic == pytest.approx(expected.statistic, rel=1e-9)
    assert outcome.p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_chi_square_of_two_cells_is_exact() -> None:
    outcome = chi_square(counts(190, 10), counts(40, 10))

    assert outcome.test == "hypergeometric"
    assert outcome.p_value == pytest.approx(fisher_exact([[190, 10], [40, 10]]).pvalue, abs=1e-9)


def test_chi_square_of_one_cell_or_an_empty_sample_is_one() -> None:
    assert chi_square(counts(9, 0), counts(4, 0)).p_value == 1.0
    assert chi_square(counts(9, 2), counts(0, 0)).p_value == 1.0


def test_pool_rare_joins_rare_cells_and_the_rest() -> None:
    reference, current = pool_rare(counts(500, 20, 15, 400), counts(50, 3, 2, 40), rest=(0, 14))

    assert reference.tolist() == [500, 400, 35]
    assert current.tolist() == [50, 40, 19]


def test_pool_rare_gives_a_pool_too_small_to_the_smallest_other_cell() -> None:
    reference, current = pool_rare(counts(500, 3, 400), counts(50, 0, 40))

    assert (reference.tolist(), current.tolist()) == ([500, 403], [50, 40])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=1, max_size=20),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_pool_rare_keeps_everyone_and_leaves_no_rare_cell_among_three(
    pairs: list[tuple[int, int]], rest_reference: int, rest_current: int
) -> None:
    table = np.array(pairs, dtype=np.int64)

    reference, current = pool_rare(table[:, 0], table[:, 1], rest=(rest_reference, rest_current))

    assert reference.sum() == table[:, 0].sum() + rest_reference
    assert current.sum() == table[:, 1].sum() + rest_current
    smaller, total = min(reference.sum(), current.sum()), reference.sum() + current.sum()
    if len(reference) > 2:
        assert ((reference + current) * smaller >= MIN_EXPECTED * total * (1 - 1e-12)).all()


def test_share_moved_counts_each_move_once() -> None:
    assert share_moved(counts(50, 30, 20), counts(40, 30, 30)) == pytest.approx(0.1)
    assert share_moved(counts(50, 30), counts(0, 0)) == 0.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), min_size=1, max_size=12))
def test_share_moved_is_half_of_scipys_city_block_distance(pairs: list[tuple[int, int]]) -> None:
    table = np.array(pairs, dtype=np.int64)
    assume((table.sum(0) > 0).all())

    shares = table / table.sum(0)
    assert share_moved(table[:, 0], table[:, 1]) == pytest.approx(
        cityblock(shares[:, 0], shares[:, 1]) / 2, abs=1e-12
    )


def test_weighted_holm_by_hand() -> None:
    adjusted = weighted_holm([0.01, 0.04, 0.03], [1, 1, 1])

    assert adjusted == pytest.approx([0.03, 0.06, 0.06])


def test_weighted_holm_by_hand_with_weights() -> None:
    # p / w: .02, .08, .12 -> .01 * 1 / .5, then .02 * .5 / .25, then .03 * .25 / .25
    adjusted = weighted_holm([0.03, 0.01, 0.02], [0.25, 0.5, 0.25])

    assert adjusted == pytest.approx([0.04, 0.02, 0.04])


def by_closed_tests(p_values: list[float], weights: list[float]) -> list[float]:
    """Adjust by testing every subset of hypotheses with a weighted Bonferroni test."""
    everyone = range(len(p_values))
    adjusted = [0.0] * len(p_values)
    for size in range(1, len(p_values) + 1):
        for subset in combinations(everyone, size):
            whole = sum(weights[i] for i in subset)
            p_value = min(1.0, *(p_values[i] * whole / weights[i] for i in subset))
            for i in subset:
                adjusted[i] = max(adjusted[i], p_value)
    return adjusted


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 9)), max_size=6))
def test_weighted_holm_is_the_closure_of_weighted_bonferroni(
    pairs: list[tuple[float, float]],
) -> None:
    p_values, weights = [p for p, _ in pairs], [w for _, w in pairs]

    adjusted = weighted_holm(p_values, weights)

    assert adjusted == pytest.approx(by_closed_tests(p_values, weights), rel=1e-9, abs=1e-300)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 9)), max_size=12))
def test_weighted_holm_never_lowers_a_p_value_and_ignores_order(
    pairs: list[tuple[float, float]],
) -> None:
    p_values, weights = [p for p, _ in pairs], [w for _, w in pairs]

    adjusted = weighted_holm(p_values, weights)

    assert all(p * (1 - 1e-9) <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    backwards = weighted_holm(p_values[::-1], weights[::-1])
    assert backwards[::-1] == pytest.approx(adjusted)


def test_weighted_holm_refuses_weights_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="as many weights"):
        weighted_holm([0.1], [1, 2])
    with pytest.raises(ValueError, match="positive"):
        weighted_holm([0.1], [0])
