"""The profile of distances: who is far, and when there is none."""

import numpy as np
import pytest

from ml.ordered_cells import OrderedCells
from ml.segment_distances import SegmentDistances


def test_one_in_a_hundred_of_the_reference_is_far() -> None:
    distances = np.random.default_rng(1).exponential(size=5_000)

    found = SegmentDistances.fit(distances)

    assert found is not None
    assert found.n_far == (distances > found.far).sum() == pytest.approx(50, abs=1)
    assert found.median == np.median(distances)
    assert found.n_customers == 5_000


@pytest.mark.parametrize("distances", [None, np.empty(0), np.array([1.0, np.inf])])
def test_distances_that_are_not_known_make_no_profile(distances: np.ndarray | None) -> None:
    assert SegmentDistances.fit(distances) is None


def test_more_far_customers_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match="n_far"):
        SegmentDistances(OrderedCells((), (5,)), 1.0, 2.0, 6)
