"""Cells inside a tail: what they count, and when there are none."""

import numpy as np
import pytest

from ml.tail_cells import TailCells


@pytest.mark.parametrize("upper", [False, True])
def test_a_tail_holds_the_twentieth_beyond_its_bound(upper: bool) -> None:
    values = np.sort(np.random.default_rng(1).lognormal(size=4_000))

    tail = TailCells.fit(values, upper=upper)

    assert tail is not None
    assert sum(tail.cells.counts) == len(tail.values_in(values)) == pytest.approx(200, abs=1)
    assert tail.cells.count(tail.values_in(values)).tolist() == list(tail.cells.counts)
    assert len(tail.cells.counts) == pytest.approx(20, abs=3)


def test_values_at_the_bound_lie_outside() -> None:
    values = np.repeat(np.arange(100.0), 50)

    tail = TailCells.fit(values, upper=True)

    assert tail is not None
    assert tail.bound not in tail.values_in(values)


@pytest.mark.parametrize(
    "values",
    [
        np.empty(0),
        np.full(5_000, 3.0),
        np.sort(np.random.default_rng(2).normal(size=700)),  # 35 in a tail
        np.repeat([0.0, 1.0, 2.0], [4_800, 100, 100]),  # two values in the tail
    ],
)
def test_a_thin_or_flat_tail_is_left_alone(values: np.ndarray) -> None:
    assert TailCells.fit(values, upper=True) is None
