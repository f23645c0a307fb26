"""Ordered cells, and the Anderson-Darling law in them against relabelling customers at random."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import anderson_ksamp, chi2, fisher_exact, ks_2samp

from ml.ordered_cells import (
    OrderedCells,
    anderson_darling,
    eigenvalues,
    ks_distance,
    weighted_chi2_tail,
)


def counts(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def likert(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice(5, n, p=[0.05, 0.1, 0.2, 0.35, 0.3]) + 1.0


def zero_inflated(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.round(rng.lognormal(3, 1, n) * (rng.random(n) > 0.7), 2)


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=n)


values = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.floats(-1e15, 1e15)), max_size=300
).map(lambda xs: np.sort(np.array(xs, dtype=np.float64)))


@settings(max_examples=80, deadline=None)
@given(values, values)
def test_every_value_old_or_new_falls_in_one_cell(reference: np.ndarray, new: np.ndarray) -> None:
    cells = OrderedCells.fit(reference)

    counted = cells.count(new)

    assert sum(cells.counts) == len(reference)
    assert cells.count(reference).tolist() == list(cells.counts)
    assert counted.sum() == len(new)
    by_search = np.bincount(
        np.searchsorted(cells.cuts, new, side="right"), minlength=len(cells.counts)
    )
    assert counted.tolist() == by_search.tolist()


def test_frequent_values_are_cells_of_their_own() -> None:
    reference = np.sort(zero_inflated(np.random.default_rng(3), 4_000))

    cells = OrderedCells.fit(reference)

    assert cells.cuts[0] == 0.0
    assert cells.counts[:2] == (0, int((reference == 0).sum()))
    assert 25 < len(cells.counts) < 60


def test_smooth_values_are_cut_finer_at_both_ends() -> None:
    reference = np.sort(normal(np.random.default_rng(4), 20_000))

    cells = OrderedCells.fit(reference)

    assert cells.counts[0] == cells.counts[7] == 50
    assert cells.counts[8] == cells.counts[50] == 200
    assert cells.counts[-2] == 50
    assert 100 < len(cells.counts) < 120


def test_a_rare_value_beside_a_frequent_one_is_not_hidden_by_it() -> None:
    reference = np.array([0.0] * 199 + [1.0])

    cells = OrderedCells.fit(reference)

    assert cells.counts == (0, 199, 1, 0)


def test_a_constant_column_still_sees_values_on_either_side() -> None:
    cells = OrderedCells.fit(np.full(500, 7.0))

    counted = cells.count(np.array([-1e9, 6.99, 7.0, 7.01, 1e9]))

    assert counted.tolist() == [2, 1, 2]


def test_values_beyond_the_top_of_a_scale_are_not_taken_for_the_top() -> None:
    rng = np.random.default_rng(5)
    cells = OrderedCells.fit(np.sort(likert(rng, 1_000)))

    counted = cells.count(np.array([0.0, 5.0, 50.0]))

    assert counted.tolist() == [1, 0, 0, 0, 0, 1, 1]


def test_no_values_make_one_empty_cell() -> None:
    cells = OrderedCells.fit(np.empty(0))

    assert cells == OrderedCells(cuts=(), counts=(0,))
    assert cells.count(np.array([1.0, 2.0])).tolist() == [2]


@pytest.mark.parametrize(
    ("cuts", "cell_counts", "message"),
    [
        ((1.0,), (1,), "one count more"),
        ((float("nan"),), (1, 1), "finite"),
        ((2.0, 2.0), (1, 1, 1), "rise"),
        ((2.0,), (1, -1), "negative"),
    ],
)
def test_cells_that_contradict_themselves_are_refused(
    cuts: tuple[float, ...], cell_counts: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        OrderedCells(cuts=cuts, counts=cell_counts)


def test_anderson_darling_by_hand() -> None:
    # Shares (.5, .25, .25) and (.25, .25, .5) pool to thirds .375, .25, .375; to the middle of
    # the cells F = .25, .625, .875, G = .125, .375, .75, M = .1875, .5, .8125; the weights are
    # p / (M (1 - M) - p / 4) = 6.4, 4/3, 6.4 and the gaps .125, .25, .125.
    outcome = anderson_darling(counts(50, 25, 25), counts(25, 25, 50))

    assert outcome.statistic == pytest.approx(50 * (6.4 / 64 + 4 / 3 / 16 + 6.4 / 64))


def unstandardised(statistic: float, n: int, m: int) -> float:
    """Take mean and standard deviation (Scholz & Stephens, 1987) out of scipy's statistic."""
    total, both = n + m, 1 / n + 1 / m
    h = sum(1 / i for i in range(1, total))
    g = sum(sum(1 / (total - i) for i in range(1, j)) / j for j in range(2, total))
    cubic = (4 * g - 6 + (10 - 6 * g) * both) * total**3
    cubic += (12 * g + 8 * h - 22 + (2 * g - 14 * h - 4) * both) * total**2
    cubic += (36 * h + 4 + (2 * h - 6) * both) * total + 24
    return 1 + statistic * math.sqrt(cubic / ((total - 1) * (total - 2) * (total - 3)))


@settings(max_examples=25, deadline=None)
@given(st.integers(40, 90), st.integers(40, 90), st.integers(0, 2**32 - 1))
def test_anderson_darling_is_scipys_where_every_value_is_a_cell(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference = likert(rng, n) + rng.integers(0, 4, n)
    current = likert(rng, m) + rng.integers(0, 3, m)
    in_cells = [np.bincount(x.astype(np.int64), minlength=9) for x in (reference, current)]

    outcome = anderson_darling(in_cells[0], in_cells[1])

    with warnings.catch_warnings():  # its p value, which is not compared, ends at .25
        warnings.simplefilter("ignore", UserWarning)
        expected = anderson_ksamp([reference, current], variant="midrank").statistic
    total = n + m
    assert outcome.test == "anderson-darling"
    assert outcome.statistic * (total - 1) / total == pytest.approx(
        unstandardised(expected, n, m), rel=1e-9
    )


shares = st.lists(st.integers(1, 400), min_size=2, max_size=60).map(
    lambda xs: np.array(xs) / sum(xs)
)


@settings(max_examples=60, deadline=None)
@given(shares)
def test_the_weights_of_the_null_law_are_those_of_its_definition(p: np.ndarray) -> None:
    weights = eigenvalues(p)

    to_middle = np.tril(np.ones((len(p), len(p))), -1) + np.eye(len(p)) / 2
    middle = to_middle @ p
    root = np.diag(np.sqrt(p / (middle * (1 - middle) - p / 4)))
    spread = root @ to_middle @ (np.diag(p) - np.outer(p, p)) @ to_middle.T @ root
    expected = np.sort(np.linalg.svd(spread, compute_uv=False))
    np.testing.assert_allclose(weights, expected[len(p) - len(weights) :], atol=1e-9)
    assert weights.sum() == pytest.approx(1, abs=1e-9)


def imhof(statistic: float, weights: np.ndarray) -> float:
    """The tail of a weighted sum of chi-squares by inverting its characteristic function.

    Imhof (1961), Biometrika 48; slow, and exact to 1e-8 with a dozen weights or more.
    """

    def wave(u: float) -> float:
        angle = 0.5 * (np.arctan(weights * u).sum() - statistic * u)
        return math.sin(angle) / (u * math.exp(0.25 * np.log1p((weights * u) ** 2).sum()))

    return 0.5 + quad(wave, 0, 3_000, limit=2_000)[0] / math.pi


@pytest.mark.parametrize(
    "p", [np.full(100, 0.01), np.array([0.7] + [0.01] * 30), np.arange(1, 31) / 465]
)
def test_the_tail_is_off_by_no_more_than_is_said_of_it(p: np.ndarray) -> None:
    weights = eigenvalues(p)

    for statistic in (0.3, 1.0, 2.5, 6.0):
        exact = imhof(statistic, weights)
        tail = weighted_chi2_tail(statistic, weights)
        assert (0.97 if exact > 0.15 else 1) <= tail / exact <= 1.17


def ruben(statistic: float, weights: np.ndarray, n_terms: int = 200) -> float:
    """The same tail as a mixture of chi-squares, exact for weights of like size.

    Ruben (1962), Annals of Mathematical Statistics 33.
    """
    smallest = weights.min()
    powers = (1 - smallest / weights) ** np.arange(1, n_terms)[:, None]
    steps = powers.sum(axis=1) / 2
    mixture = np.zeros(n_terms)
    mixture[0] = np.sqrt(smallest / weights).prod()
    for k in range(1, n_terms):
        mixture[k] = steps[:k][::-1] @ mixture[:k] / k
    degrees = len(weights) + 2 * np.arange(n_terms)
    return float(mixture @ chi2.sf(statistic / smallest, degrees))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.2, 1), min_size=2, max_size=12), st.floats(0.2, 6))
def test_the_tail_is_within_a_sixth_of_the_exact_one(weights: list[float], times: float) -> None:
    w = np.array(weights)
    statistic = times * w.sum()

    tail = weighted_chi2_tail(statistic, w)

    assert 0.92 <= tail / ruben(statistic, w) <= 1.17


def test_the_null_law_of_many_small_cells_nears_the_continuous_one() -> None:
    shares = np.full(400, 1 / 400)

    weights = eigenvalues(shares)

    assert len(weights) == 399
    # The limit law on continuous data has weights 1 / (j (j + 1)).
    assert weights[-1] == pytest.approx(1 / 2, rel=0.02)
    assert weights[-2] == pytest.approx(1 / 6, rel=0.02)


@pytest.mark.parametrize("degrees", [3, 10, 60])
@pytest.mark.parametrize("level", [0.5, 0.1, 1e-3, 1e-9])
def test_the_saddlepoint_tail_of_equal_weights_is_a_chi_square(degrees: int, level: float) -> None:
    statistic = 2.5 * chi2.isf(level, degrees)

    tail = weighted_chi2_tail(statistic, np.full(degrees, 2.5))

    assert tail == pytest.approx(level, rel=0.03)


def test_the_tail_of_one_weight_is_exact_and_the_tail_is_smooth_at_the_mean() -> None:
    weights = np.array([0.1, 0.4, 1.0])

    around = [weighted_chi2_tail(1.5 + step, weights) for step in (-1e-3, -1e-6, 0, 1e-6, 1e-3)]

    assert weighted_chi2_tail(3.0, np.array([0.5])) == pytest.approx(chi2.sf(6.0, 1), rel=1e-12)
    assert weighted_chi2_tail(0.0, weights) == 1.0
    assert sorted(around, reverse=True) == around
    assert around[0] - around[-1] < 1e-3


@pytest.mark.parametrize("column", [normal, likert, zero_inflated])
@pytest.mark.parametrize(("n", "m"), [(1_000, 300), (300, 60)])
def test_the_null_law_holds_when_customers_are_relabelled(column, n: int, m: int) -> None:
    rng = np.random.default_rng(17)
    pooled = np.sort(column(rng, n + m))
    in_cells = np.array(OrderedCells.fit(pooled).counts)
    repetitions = 800

    draws = rng.multivariate_hypergeometric(in_cells, m, size=repetitions, method="marginals")
    p_values = np.array([anderson_darling(in_cells - draw, draw).p_value for draw in draws])

    for level in (0.01, 0.05, 0.1, 0.5):
        error = np.sqrt(level * (1 - level) / repetitions)
        assert abs((p_values <= level).mean() - level) < 3.5 * error


def test_a_dominating_cell_is_tested_exactly() -> None:
    outcome = anderson_darling(counts(4_980, 10, 10), counts(47, 1, 2))

    assert outcome.test == "hypergeometric"
    assert outcome.p_value == pytest.approx(fisher_exact([[4_980, 20], [47, 3]]).pvalue, abs=1e-9)


def test_one_occupied_cell_or_an_empty_sample_gives_one() -> None:
    assert anderson_darling(counts(0, 9, 0), counts(0, 4, 0)).p_value == 1.0
    assert anderson_darling(counts(5, 9), counts(0, 0)).p_value == 1.0


def test_ks_distance_is_signed_and_agrees_with_scipy_on_tied_values() -> None:
    rng = np.random.default_rng(9)
    reference, current = likert(rng, 700), likert(rng, 300) - (rng.random(300) < 0.3)
    cells = OrderedCells.fit(np.sort(reference))

    distance = ks_distance(np.array(cells.counts), cells.count(np.sort(current)))

    assert distance == pytest.approx(-ks_2samp(reference, current).statistic, abs=1e-12)
    assert ks_distance(counts(1, 3), counts(0, 0)) == 0.0
