"""The figures of one column's checks against scipy, from raw values to p values."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, fisher_exact, ks_2samp, wasserstein_distance

from ml.check_result import Check, CheckResult, Floors
from ml.column_checks import check_column
from ml.features import Kind
from ml.ordered_cells import OrderedCells, anderson_darling
from ml.reference_profile import LevelColumn, OrderedColumn
from ml.shown_distances import cell_means
from ml.tail_cells import TailCells

Floats = NDArray[np.float64]
SCORES = np.arange(6.0)


def scores(rng: np.random.Generator, n: int, *, n_missing: int) -> Floats:
    """Values of a short scale; a reference of them has a cell a value."""
    values = rng.choice(SCORES, n, p=[0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    values[rng.permutation(n)[:n_missing]] = np.nan
    return values


def profiled(values: Floats) -> OrderedColumn:
    present = np.sort(values[~np.isnan(values)])
    cells = OrderedCells.fit(present)
    return OrderedColumn(
        name="score",
        kind=Kind.NUMBER,
        n_missing=int(np.isnan(values).sum()),
        cells=cells,
        median=float(np.median(present)) if len(present) else 0.0,
        sd=float(present.std()) if len(present) else 0.0,
        low=float(present.min(initial=0)),
        high=float(present.max(initial=0)),
        lower_tail=TailCells.fit(present, upper=False),
        upper_tail=TailCells.fit(present, upper=True),
        means=tuple(cell_means(present, np.array(cells.counts)).tolist()),
    )


def checks_of(column: OrderedColumn | LevelColumn, values: Floats) -> dict[Check, CheckResult]:
    return {check.check: check for check in check_column(column, values, Floors())}


@pytest.mark.parametrize("seed", range(4))
def test_every_figure_of_a_tied_column_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, current = scores(rng, 900, n_missing=60), scores(rng, 130, n_missing=3 * seed)

    found = checks_of(profiled(reference), current)

    before, now = reference[~np.isnan(reference)], current[~np.isnan(current)]
    table = np.array([[(sample == score).sum() for score in SCORES] for sample in (before, now)])
    distribution, shown = found[Check.DISTRIBUTION], found[Check.DISTRIBUTION].shown
    assert distribution.statistic == pytest.approx(anderson_darling(*table).statistic, rel=1e-9)
    assert abs(distribution.effect) == pytest.approx(ks_2samp(before, now).statistic, abs=1e-9)
    assert shown.median_before == np.median(before)
    assert shown.median_now == np.median(now)
    assert shown.mean_now == pytest.approx(now.mean(), rel=1e-9)
    assert shown.jensen_shannon == pytest.approx(jensenshannon(*table), abs=1e-9)
    assert shown.wasserstein_sd == pytest.approx(
        wasserstein_distance(before, now) / before.std(), rel=1e-9
    )
    missing = [[60, 840], [3 * seed, 130 - 3 * seed]]
    assert found[Check.MISSING].p_value == pytest.approx(fisher_exact(missing).pvalue, rel=1e-9)


@pytest.mark.parametrize("n", [60, 61])
def test_the_median_of_few_and_of_many_values_is_numpys(n: int) -> None:
    current = np.random.default_rng(n).normal(size=n)

    shown = checks_of(profiled(np.arange(300.0)), current)[Check.DISTRIBUTION].shown

    assert shown.median_now == np.median(current)


@pytest.mark.parametrize("upper", [False, True])
def test_a_tail_is_compared_as_if_nobody_else_were_there(upper: bool) -> None:
    rng = np.random.default_rng(5)
    reference, current = rng.lognormal(3, 1, 5_000), rng.lognormal(3, 1.2, 1_000)
    column = profiled(reference)

    check = checks_of(column, current)[Check.UPPER_TAIL if upper else Check.LOWER_TAIL]

    tail = column.upper_tail if upper else column.lower_tail
    assert tail is not None
    in_tail = np.sort(current[current > tail.bound] if upper else current[current < tail.bound])
    expected = anderson_darling(np.array(tail.cells.counts), tail.cells.count(in_tail))
    assert (check.statistic, check.p_value) == (expected.statistic, expected.p_value)
    assert check.n_current == len(in_tail)


def test_levels_are_pearsons_chi_square_and_unseen_ones_fishers_test() -> None:
    column = LevelColumn("town", 100, 0, ("a", "b", "c"), (500, 250, 150))
    current = np.repeat([0.0, 1.0, 2.0, -1.0, np.nan], [90, 60, 30, 4, 16])

    found = checks_of(column, current)

    table = np.array([[500, 250, 150, 100], [90, 60, 30, 16]])
    expected = chi2_contingency(table, correction=False)
    assert found[Check.LEVELS].statistic == pytest.approx(expected.statistic, rel=1e-9)
    assert found[Check.LEVELS].p_value == pytest.approx(expected.pvalue, rel=1e-9)
    unseen = fisher_exact([[0, 1_000], [4, 196]]).pvalue
    assert found[Check.UNSEEN].p_value == pytest.approx(unseen, rel=1e-9)


@pytest.mark.parametrize("n_present", [0, 1, 9])
def test_too_few_values_to_compare_are_no_finding(n_present: int) -> None:
    column = profiled(np.array([np.nan] * 995 + [1.0, 2.0, 3.0, 4.0, 5.0]))
    current = np.full(60, np.nan)
    current[:n_present] = 3.0

    found = check_column(column, current, Floors())

    of_values = [check for check in found if check.check == Check.DISTRIBUTION]
    assert all((check.p_value, check.test) == (1.0, "none") for check in of_values)


def test_a_column_without_a_value_on_either_side_is_not_checked() -> None:
    assert check_column(profiled(np.full(300, np.nan)), np.full(60, np.nan), Floors()) == []


def test_a_column_that_stays_constant_does_not_drift() -> None:
    check = checks_of(profiled(np.full(300, 7.0)), np.full(60, 7.0))[Check.DISTRIBUTION]

    assert (check.p_value, check.effect) == (1.0, 0.0)


def test_infinite_values_are_refused() -> None:
    with pytest.raises(ValueError, match="'score' holds an infinite value"):
        check_column(profiled(np.arange(300.0)), np.array([1.0, np.inf]), Floors())
