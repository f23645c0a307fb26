"""Shares by cell as a person reads them: few cells, all customers, names that say what is in."""

import numpy as np
import pytest

from ml.features import Kind
from ml.ordered_cells import OrderedCells
from ml.reference_profile import LevelColumn, OrderedColumn
from ml.share_tables import MAX_CELLS, ShareTable, share_table


def ordered(values: np.ndarray, *, kind: Kind = Kind.NUMBER, n_missing: int = 0) -> OrderedColumn:
    values = np.sort(values)
    low, high = (values[0], values[-1]) if len(values) else (0.0, 0.0)
    return OrderedColumn("x", kind, n_missing, OrderedCells.fit(values), 0.0, 1.0, low, high)


def table(column: OrderedColumn | LevelColumn, values: np.ndarray) -> ShareTable:
    found = share_table(column, values)
    assert found is not None
    return found


def test_numbers_are_cut_into_about_even_parts_of_the_reference() -> None:
    rng = np.random.default_rng(1)
    reference, current = rng.normal(size=5_000), rng.normal(loc=3, size=400)

    found = table(ordered(reference), current)

    assert len(found.labels) == len(found.before) == len(found.now) == MAX_CELLS
    assert found.before == pytest.approx([1 / MAX_CELLS] * MAX_CELLS, abs=0.02)
    assert sum(found.now) == pytest.approx(1, abs=1e-4)
    assert found.now[-1] > 0.9


def test_whole_numbers_are_called_by_where_they_begin_and_end() -> None:
    found = table(ordered(np.repeat([1.0, 2.0, 3.0, 4.0], 100)), np.array([2.0, 2.0, 9.0, np.nan]))

    assert found.labels == ("≤ 1", "1 – 2", "2 – 4", "4", "> 4", "missing")
    assert found.before == (0.25, 0.25, 0.25, 0.25, 0.0, 0.0)
    assert found.now == (0.0, 0.5, 0.0, 0.0, 0.25, 0.25)


def test_truths_are_false_true_and_missing() -> None:
    reference = np.repeat([0.0, 1.0], [300, 60])

    found = table(
        ordered(reference, kind=Kind.BOOLEAN, n_missing=40), np.array([1.0, 1.0, 0.0, np.nan])
    )

    assert found == ShareTable(
        "x", ("false", "true", "missing"), (0.75, 0.15, 0.1), (0.25, 0.5, 0.25)
    )


def test_levels_are_the_commonest_of_either_sample_then_the_others() -> None:
    levels = tuple(f"level {place}" for place in range(20))
    column = LevelColumn("x", 10, 0, levels, (50,) * 18 + (45, 45))
    current = np.array([19.0] * 8 + [-1.0] + [np.nan])

    found = table(column, current)

    assert found.labels[0] == "level 19"
    assert found.labels[-3:] == ("other levels", "never seen before", "missing")
    assert (found.now[0], found.now[-3:]) == (0.8, (0.0, 0.1, 0.1))
    assert sum(found.before) == pytest.approx(1)


@pytest.mark.parametrize("kind", [Kind.NUMBER, Kind.BOOLEAN])
@pytest.mark.parametrize("reference", [[], [0.0], [1.0] * 50])
def test_a_column_of_one_value_or_none_is_shown_too(kind: Kind, reference: list[float]) -> None:
    column = ordered(np.array(reference), kind=kind, n_missing=5)

    found = table(column, np.array([0.0, 1.0, np.nan]))

    assert len(found.labels) == len(found.now)
    assert sum(found.now) == pytest.approx(1, abs=1e-4)


def test_dates_have_no_table() -> None:
    assert share_table(ordered(np.arange(10.0), kind=Kind.DATE), np.arange(3.0)) is None
