"""Records as the columns that checking found: faster, and never another answer."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.encoder import FeatureEncoder
from ml.records import InvalidRecords, check_records, check_table
from ml.schema_learning import learn_schema
from tests.factories import make_records

TRAINING = make_records(n_customers=300, random_state=5)
ENCODER = FeatureEncoder(
    learn_schema(
        pd.DataFrame(TRAINING).drop(columns="customer_id"), as_of=pd.Timestamp("2025-06-30").date()
    )
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**16), 10**16),
    st.integers(10**400, 10**401),
    st.floats(),
    st.sampled_from(["web", "North", "", "12", "2024-05-01", "x\x00", " padded "]),
    st.just([]),
)
RECORDS = st.lists(
    st.dictionaries(
        st.sampled_from(["customer_id", "age", "orders", "channel", "signed_up_on"]), VALUES
    ),
    min_size=1,
    max_size=4,
)


def test_records_that_name_the_same_attributes_in_one_order_become_columns() -> None:
    records: list[Any] = [{"a": 1, "b": "x"}, {"a": 2.5, "b": None}]

    table = check_table(records, max_records=2)

    assert table.records is records
    assert table.columns == {"a": (1, 2.5), "b": ("x", None)}
    assert {name: column.tolist() for name, column in table.numbers.items()} == {"a": [1.0, 2.5]}


@pytest.mark.parametrize(
    "records",
    [
        [{"a": 1, "b": 2}, {"b": 2, "a": 1}],
        [{"a": 1, "b": 2}, {"a": 1}],
        [{"a": 1, "b": 2}, {"a": 1, "c": 2}],
    ],
)
def test_records_that_differ_stay_records(records: list[Any]) -> None:
    table = check_table(records, max_records=2)

    assert (table.columns, table.numbers) == (None, {})


def test_booleans_and_gaps_are_not_numbers() -> None:
    records: list[Any] = [{"a": True, "b": None, "c": 1}, {"a": 1, "b": 2, "c": 2}]

    table = check_table(records, max_records=2)

    assert list(table.numbers) == ["c"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.1e15, -(10**16), 10**400])
def test_a_number_out_of_bounds_is_refused_among_good_ones(value: float) -> None:
    records = [{"a": 1.0, "b": 1}, {"a": 2.0, "b": value}]

    with pytest.raises(InvalidRecords) as caught:
        check_table(records, max_records=2)

    assert [(problem.index, problem.field) for problem in caught.value.problems] == [(1, "b")]


def test_the_table_of_real_looking_customers_encodes_to_the_same_bits() -> None:
    records = make_records(n_customers=500, random_state=8)
    table = check_table(records, max_records=500)

    with_table = ENCODER.encode_records(records, table=table)

    assert table.columns is not None and table.numbers
    assert with_table.tobytes() == ENCODER.encode_records(records).tobytes()


@given(RECORDS)
@settings(max_examples=300, deadline=None)
def test_columns_change_neither_what_is_refused_nor_what_is_read(records: list[Any]) -> None:
    try:
        table = check_table(records, max_records=4)
    except InvalidRecords:
        # One more record with an attribute of its own takes the way without columns.
        with pytest.raises(InvalidRecords):
            check_records([*records, {"another": 1}], max_records=5)
        return
    check_records([*records, {"another": 1}], max_records=5)

    plain = ENCODER.raw_from_records(records, strict=False)
    tabled = ENCODER.raw_from_records(records, table=table, strict=False)

    for name, column in plain.items():
        np.testing.assert_array_equal(tabled[name], column)


@given(RECORDS)
@settings(max_examples=200, deadline=None)
def test_columns_change_no_problem_that_the_encoder_names(records: list[Any]) -> None:
    try:
        table = check_table(records, max_records=4)
    except InvalidRecords:
        return

    assert named_problems(records) == named_problems(records, table=table)


def named_problems(records: list[Any], **more: Any) -> list[Any]:
    try:
        ENCODER.raw_from_records(records, **more)
    except InvalidRecords as error:
        return [error.n_problems, error.problems]
    return []
