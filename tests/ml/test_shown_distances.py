"""Distances that are shown, against scipy and hand-worked answers."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import wasserstein_distance

from ml.shown_distances import (
    PSI_FLOOR,
    PSI_GROUPS,
    cell_means,
    jensen_shannon,
    psi,
    psi_of_ordered_cells,
    wasserstein,
)

cells = st.lists(st.integers(0, 500), min_size=2, max_size=10).filter(sum)


def counts(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@given(cells, st.integers(1, 7))
def test_psi_of_equal_shares_is_zero(reference: list[int], times: int) -> None:
    reference_counts = counts(*reference)

    assert psi(reference_counts, reference_counts * times) == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=10))
def test_psi_is_both_relative_entropies_of_floored_shares(pairs: list[tuple[int, int]]) -> None:
    table = np.array(pairs, dtype=np.int64)
    assume((table.sum(0) > 0).all())

    value = psi(table[:, 0], table[:, 1])

    # rel_entr takes p log(p / q); shares raised to the floor no longer sum to 1, and need not.
    p, q = np.maximum(table / table.sum(0), PSI_FLOOR).T
    assert value == pytest.approx((rel_entr(p, q) + rel_entr(q, p)).sum(), abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=10))
def test_psi_is_symmetric_and_never_negative(pairs: list[tuple[int, int]]) -> None:
    table = np.array(pairs, dtype=np.int64)
    assume((table.sum(0) > 0).all())

    forth, back = psi(table[:, 0], table[:, 1]), psi(table[:, 1], table[:, 0])

    assert forth is not None and back is not None
    assert forth >= 0
    assert forth == pytest.approx(back)


def test_psi_by_hand() -> None:
    value = psi(counts(50, 50), counts(75, 25))

    assert value == pytest.approx(0.25 * np.log(3))


def test_psi_of_an_empty_sample_is_none() -> None:
    assert psi(counts(5, 5), counts(0, 0)) is None
    assert psi_of_ordered_cells(counts(0, 0), counts(5, 5)) is None


def test_psi_of_ordered_cells_groups_a_hundred_cells_to_deciles() -> None:
    reference = np.full(100, 7, dtype=np.int64)
    current = np.repeat(counts(1, 3), 50)

    value = psi_of_ordered_cells(reference, current)

    assert value == pytest.approx(psi(np.full(10, 70), np.repeat(counts(10, 30), 5)))


@settings(max_examples=40, deadline=None)
@given(cells, st.data())
def test_psi_of_ordered_cells_is_that_of_their_groups(
    reference: list[int], data: st.DataObject
) -> None:
    current = data.draw(
        st.lists(st.integers(0, 500), min_size=len(reference), max_size=len(reference))
    )
    assume(sum(current))

    value = psi_of_ordered_cells(counts(*reference), counts(*current))

    grouped = np.zeros((2, PSI_GROUPS), dtype=np.int64)
    for j, (n, m) in enumerate(zip(reference, current, strict=True)):
        twice_below = 2 * sum(reference[:j]) + n
        decile = min(PSI_GROUPS * twice_below // (2 * sum(reference)), PSI_GROUPS - 1)
        grouped[:, decile] += n, m
    grouped = grouped[:, grouped.any(axis=0)]
    assert value == pytest.approx(psi(grouped[0], grouped[1]), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=10))
def test_jensen_shannon_agrees_with_scipy(pairs: list[tuple[int, int]]) -> None:
    table = np.array(pairs, dtype=np.int64)
    assume((table.sum(0) > 0).all())

    # Squared: near 0 the root makes 1e-8 of a rounding error, and scipy's is then NaN at times.
    expected = np.nan_to_num(jensenshannon(table[:, 0], table[:, 1])) ** 2
    found = jensen_shannon(table[:, 0], table[:, 1])
    assert found is not None
    assert found**2 == pytest.approx(expected, abs=1e-12)


def test_jensen_shannon_of_an_empty_sample_is_none() -> None:
    assert jensen_shannon(counts(1, 2), counts(0, 0)) is None


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.floats(-1e6, 1e6), st.integers(0, 9), st.floats(-1e6, 1e6)),
        min_size=1,
        max_size=12,
    )
)
def test_wasserstein_agrees_with_scipy(rows: list[tuple[int, float, int, float]]) -> None:
    n, at, m, now_at = map(np.array, zip(*rows, strict=True))
    assume(n.sum() > 0 and m.sum() > 0)

    expected = wasserstein_distance(at, now_at, n, m)

    assert wasserstein(n, at, m, now_at) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_wasserstein_is_exact_where_every_value_is_a_cell() -> None:
    rng = np.random.default_rng(6)
    reference, current = rng.poisson(3, 400), rng.poisson(4, 90)
    places = np.arange(20.0)

    distance = wasserstein(
        np.bincount(reference, minlength=20), places, np.bincount(current, minlength=20), places
    )

    assert distance == pytest.approx(wasserstein_distance(reference, current), abs=1e-9)


def test_wasserstein_of_an_empty_sample_is_none() -> None:
    assert wasserstein(counts(1), np.zeros(1), counts(0), np.zeros(1)) is None


def test_cell_means_of_many_values_are_numpys() -> None:
    values = np.sort(np.random.default_rng(7).lognormal(9, 3, 100_000))

    means = cell_means(values, counts(70_000, 1, 29_999))

    expected = [part.mean() for part in np.split(values, [70_000, 70_001])]
    assert means.tolist() == pytest.approx(expected, rel=1e-9)


def test_cell_means_by_hand() -> None:
    means = cell_means(np.array([1.0, 3.0, 10.0]), counts(0, 2, 0, 1, 0))

    assert means.tolist() == [0, 2, 0, 10, 0]
    assert cell_means(np.empty(0), counts(0, 0)).tolist() == [0, 0]
