"""The adjusted Rand index: by hand, by its properties, and against scikit-learn."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from ml.agreement import adjusted_rand_index

tables = arrays(
    np.int64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(0, 40)
).filter(lambda counts: counts.sum() > 1)


def labels_of(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two labellings with this contingency table."""
    one, other = np.indices(counts.shape)
    return np.repeat(one.ravel(), counts.ravel()), np.repeat(other.ravel(), counts.ravel())


def test_a_worked_answer() -> None:
    # 6 customers: 3 of 15 pairs together in both; 6 and 6 in each. Expected 6 * 6 / 15 = 2.4.
    counts = np.array([[2, 1], [0, 0], [1, 2]])

    assert adjusted_rand_index(counts) == pytest.approx((2 - 2.4) / (6 - 2.4))


@given(tables)
def test_it_is_that_of_scikit_learn(counts: NDArray[np.int64]) -> None:
    one, other = labels_of(counts)

    assert adjusted_rand_index(counts) == pytest.approx(adjusted_rand_score(one, other), abs=1e-12)


@settings(max_examples=40)
@given(arrays(np.int64, (3, 3), elements=st.integers(0, 10**9)).filter(lambda c: c.sum() > 1))
def test_it_is_that_of_the_exact_fractions_whatever_the_size(counts: NDArray[np.int64]) -> None:
    def pairs(sizes: NDArray[np.int64]) -> int:
        return sum(comb(size, 2) for size in sizes.ravel().tolist())

    together, one, other = pairs(counts), pairs(counts.sum(1)), pairs(counts.sum(0))
    expected = Fraction(one * other, comb(int(counts.sum()), 2))
    most = Fraction(one + other, 2)
    exact = (together - expected) / (most - expected) if most != expected else 1

    assert adjusted_rand_index(counts) == pytest.approx(float(exact), abs=1e-12)


@given(tables)
def test_it_knows_neither_side_nor_order(counts: NDArray[np.int64]) -> None:
    value = adjusted_rand_index(counts)

    assert adjusted_rand_index(counts.T) == value
    assert adjusted_rand_index(counts[::-1, ::-1]) == value


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 1))
def test_the_same_groups_under_other_names_agree_wholly(sizes: list[int]) -> None:
    assert adjusted_rand_index(np.diag(sizes)[::-1]) == 1.0


def test_groups_that_have_nothing_to_do_with_each_other_score_nothing() -> None:
    assert adjusted_rand_index(np.full((4, 5), 50_000)) == pytest.approx(0.0, abs=1e-4)


def test_a_billion_customers_do_not_overflow() -> None:
    counts = np.array([[400_000_000, 100_000_000], [100_000_000, 400_000_000]])

    assert adjusted_rand_index(counts) == pytest.approx(0.36, abs=1e-6)


@pytest.mark.parametrize(
    "counts", [np.zeros((0, 0), np.int64), np.array([[1]]), np.array([[-1, 3]]), np.array([3, 4])]
)
def test_what_has_no_pair_or_is_no_table_is_refused(counts: NDArray[np.int64]) -> None:
    with pytest.raises(ValueError, match="counts|customers"):
        adjusted_rand_index(counts)
