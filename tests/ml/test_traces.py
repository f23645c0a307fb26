"""What a version keeps of one customer alone goes, and it encodes everybody else as before."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ml.encoder import FeatureEncoder
from ml.features import FeatureSchema, Kind
from ml.inside_segments import InsideColumn
from ml.ordered_cells import OrderedCells
from ml.reference_profile import OrderedColumn, ReferenceProfile
from ml.schema_learning import learn_schema
from ml.scored import Scored
from ml.traces import Traces, coarse, json_without, profile_without, schema_without

N = 400
HIGH, LOW = 987654.321, -123456.789


def table() -> pd.DataFrame:
    draw = np.random.default_rng(3)
    spend = np.round(draw.normal(100, 20, N), 3)
    spend[:2] = HIGH, LOW
    city = np.where(np.arange(N) % 2, "Bern", "Rome").astype(object)
    city[0], city[1] = "Zanzibar-Q", "Oslo-Q"
    return pd.DataFrame({"spend": spend, "age": draw.integers(18, 80, N), "city": city})


def learned() -> tuple[FeatureSchema, ReferenceProfile, pd.DataFrame]:
    frame = table()
    schema = learn_schema(frame, as_of=date(2026, 1, 1))
    raw = FeatureEncoder(schema).raw_from_frame(frame)
    return schema, ReferenceProfile.fit(schema, raw, Scored(np.zeros(N, dtype=np.int64))), frame


def of_row(frame: pd.DataFrame, row: int) -> Traces:
    return Traces(
        {"spend": {float(frame["spend"][row])}, "age": set()}, {"city": {frame["city"][row]}}
    )


@pytest.mark.parametrize(
    ("value", "towards", "expected"),
    [
        (HIGH, None, 990000.0),
        (HIGH, math.inf, 990000.0),
        (HIGH, -math.inf, 980000.0),
        (LOW, -math.inf, -130000.0),
        (18.0, -math.inf, 17.0),
        (99.0, math.inf, 100.0),
        (0.0, math.inf, 0.0),
        (1e15, math.inf, 1e15),
    ],
)
def test_two_digits_are_left_and_they_are_other_ones(
    value: float, towards: float | None, expected: float
) -> None:
    assert coarse(value, towards=towards) == expected


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([math.inf, -math.inf]))
@example(5e-324, math.inf)
@example(-5e-324, math.inf)
@example(2.2250738585072014e-308, -math.inf)
@example(math.nextafter(1e15, 0.0), math.inf)
@example(1.7976931348623157e308, math.inf)
@example(-0.0, -math.inf)
def test_every_number_moves_to_its_side_alone(value: float, towards: float) -> None:
    moved = coarse(value, towards=towards)

    if 0 < abs(value) < 1e15:
        assert moved > value if towards > 0 else moved < value
        assert coarse(value) != value
    else:
        assert moved == value == coarse(value)
    assert math.isfinite(moved) and abs(moved) <= max(abs(value), 1e15)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([math.inf, -math.inf]),
)
@example(5e-324, 1e-323, math.inf)
def test_numbers_keep_their_order(a: float, b: float, towards: float) -> None:
    low, high = sorted((a, b))

    assert coarse(low, towards=towards) <= coarse(high, towards=towards)


CUTS = st.lists(
    st.one_of(
        st.floats(-1e16, 1e16),
        st.sampled_from([0.0, 5e-324, 1e-323, 1.0, math.nextafter(1.0, 2.0), 1e15, 99.0, 100.0]),
    ),
    min_size=1,
    max_size=8,
    unique=True,
).map(sorted)


@given(CUTS, st.data())
@example([1.0, math.nextafter(1.0, 2.0)], None)
def test_cuts_rise_and_nobody_is_lost_whoever_goes(
    cuts: list[float], data: st.DataObject | None
) -> None:
    gone = data.draw(st.sets(st.sampled_from(cuts))) if data else set(cuts)
    counts = tuple(range(1, len(cuts) + 2))
    column = OrderedColumn(
        "spend",
        Kind.NUMBER,
        0,
        OrderedCells(tuple(cuts), counts),
        1.0,
        1.0,
        0.0,
        2.0,
        means=tuple(count + 0.125 for count in counts),
    )
    inside = InsideColumn("spend", tuple(cuts), (counts, counts))
    profile = ReferenceProfile(sum(counts), (column,), (0, 1), (1, 1), inside=(inside,))

    without = profile_without(profile, Traces({"spend": gone}, {}))

    [own], [rows] = without.columns, without.inside
    assert isinstance(own, OrderedColumn)
    assert [sum(each) for each in (own.cells.counts, *rows.counts)] == 3 * [sum(counts)]
    assert own.mean == pytest.approx(column.mean)
    assert {cut for cut in gone if 0 < abs(cut) < 1e15}.isdisjoint(own.cells.cuts)


def test_ranges_widen_and_a_rare_level_loses_its_name() -> None:
    schema, _, frame = learned()

    one = schema_without(schema, of_row(frame, 0))
    both = schema_without(one, of_row(frame, 1))

    assert (one.features[0].low, one.features[0].high) == (LOW, 990000.0)
    assert (both.features[0].low, both.features[0].high) == (-130000.0, 990000.0)
    assert set(both.features[2].rare_levels) == {"(erased 1)", "(erased 2)"}
    assert FeatureSchema.from_dict(both.to_dict()) == both
    rest = frame[2:]
    np.testing.assert_array_equal(
        FeatureEncoder(both).encode_frame(rest), FeatureEncoder(schema).encode_frame(rest)
    )


def test_no_value_is_left_in_the_reference_and_its_counts_stay() -> None:
    _, profile, frame = learned()

    for row in range(0, N, 7):
        without = profile_without(profile, of_row(frame, row)).to_dict()

        text = repr(without)
        value = float(frame["spend"][row])
        for form in (value, math.nextafter(value, math.inf), math.nextafter(value, -math.inf)):
            assert repr(form) not in text
        assert ReferenceProfile.from_dict(without).n_reference == N
        assert counts(without) == counts(profile.to_dict())


def counts(profile: dict[str, Any]) -> list[Any]:
    return [each.get("cells", each)["counts"] for each in profile["columns"]]


def test_who_left_no_trace_changes_nothing() -> None:
    schema, profile, _ = learned()
    nobody = Traces({"spend": {1.5}, "age": set()}, {"city": {"Paris"}})

    assert schema_without(schema, nobody) == schema
    assert profile_without(profile, nobody) == profile


def test_descriptions_lose_the_value_of_that_feature_alone() -> None:
    traces = Traces({"spend": {41.5}}, {"city": {"Oslo"}})
    described = {
        "medians": {"spend": 41.5, "age": 41.5, "city": "Oslo"},
        "features": [
            {"feature": "spend", "median": 41.5, "share": 0.5},
            {"feature": "city", "median": "Oslo", "levels": [{"level": "Rome"}]},
        ],
        "rule": {"conditions": [[{"feature": "age", "above": 41.5}]]},
    }

    assert json_without(described, traces) == {
        "medians": {"spend": 42.0, "age": 41.5, "city": "(erased)"},
        "features": [
            {"feature": "spend", "median": 42.0, "share": 0.5},
            {"feature": "city", "median": "(erased)", "levels": [{"level": "Rome"}]},
        ],
        "rule": {"conditions": [[{"feature": "age", "above": 41.5}]]},
    }
