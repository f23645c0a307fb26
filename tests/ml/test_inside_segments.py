"""Coarse cells inside clusters: who is counted where, and who is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.inside_segments import MAX_LEVELS, InsideColumn

CLUSTERS = [-1, 0, 1]


def test_values_are_counted_by_cluster_and_decile() -> None:
    values = np.append(np.arange(100.0), np.nan)
    labels = np.append(np.repeat([0, 1], 50), 1).astype(np.int64)

    column = InsideColumn.fit_ordered("age", values, labels, CLUSTERS)

    assert column.cuts == tuple(np.arange(10.0, 100, 10))
    assert column.counts == ((0,) * 10, (10,) * 5 + (0,) * 5, (0,) * 5 + (10,) * 5)
    assert column.count(values, labels, CLUSTERS).tolist() == [list(row) for row in column.counts]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.just(float("nan")), st.integers(-9, 9).map(float), st.floats(-9, 9)),
            st.integers(-1, 3),
        ),
        max_size=80,
    )
)
def test_every_value_is_counted_in_the_cell_and_cluster_it_lies_in(
    customers: list[tuple[float, int]],
) -> None:
    column = InsideColumn("age", (-2.0, 0.0, 3.5), ((0,) * 4,) * 3)
    values = np.array([value for value, _ in customers])
    labels = np.array([label for _, label in customers], dtype=np.int64)

    counted = column.count(values, labels, CLUSTERS)

    for row, cluster in enumerate(CLUSTERS):
        inside = values[(labels == cluster) & ~np.isnan(values)]
        by_numpy = np.histogram(inside, [-np.inf, -2.0, 0.0, 3.5, np.inf])[0]
        assert counted[row].tolist() == by_numpy.tolist()


def test_values_beyond_either_end_and_clusters_never_seen_have_their_place_or_none() -> None:
    column = InsideColumn.fit_ordered(
        "age", np.arange(100.0), np.zeros(100, dtype=np.int64), CLUSTERS
    )

    counted = column.count(np.array([-9.0, 1e9, 5.0]), np.array([0, 1, 7]), CLUSTERS)

    assert counted[1, 0] == 1 and counted[2, -1] == 1
    assert counted.sum() == 2


def test_levels_beyond_the_first_ones_and_unseen_ones_share_a_cell() -> None:
    codes = np.array([0.0, 1.0, 50.0, -1.0, np.nan])
    labels = np.zeros(5, dtype=np.int64)

    column = InsideColumn.fit_levels("town", codes, 60, labels, [0])

    assert column.n_cells == MAX_LEVELS + 1
    assert column.counts[0][:2] == (1, 1)
    assert column.counts[0][-1] == 2


def test_a_constant_and_an_empty_column_have_their_cells() -> None:
    labels = np.zeros(3, dtype=np.int64)

    constant = InsideColumn.fit_ordered("age", np.full(3, 4.0), labels, [0])
    empty = InsideColumn.fit_ordered("age", np.full(3, np.nan), labels, [0])

    assert constant.count(np.array([3.0, 4.0, 5.0]), labels, [0]).tolist() == [[1, 2]]
    assert empty.counts == ((0,),)


@pytest.mark.parametrize(
    ("cuts", "counts"), [((1.0,), ((1,),)), ((2.0, 1.0), ((1, 1, 1),)), (None, ((1,), (1, 2)))]
)
def test_what_does_not_fit_together_is_refused(
    cuts: tuple[float, ...] | None, counts: tuple[tuple[int, ...], ...]
) -> None:
    with pytest.raises(ValueError, match="inside 'age'"):
        InsideColumn("age", cuts, counts)
