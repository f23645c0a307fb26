"""The encoder: what it learns, what it refuses, and that frames and records encode alike."""

import json
import math
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.preprocessing import StandardScaler

from ml import schema_learning
from ml.encoder import FeatureEncoder
from ml.features import FeatureSchema, Kind, NoUsableFeatures, UnknownFeature
from ml.records import InvalidRecords
from ml.schema_learning import CATEGORY_WEIGHT, learn_schema

AS_OF = date(2024, 3, 1)
ROOT = Path(__file__).resolve().parents[2]


def column_schema(values: list[Any], *, name: str = "a") -> FeatureSchema:
    return learn_schema(pd.DataFrame.from_records([{name: v} for v in values]), as_of=AS_OF)


def reason_for(values: list[Any], *, name: str = "a") -> str:
    with pytest.raises(NoUsableFeatures) as caught:
        column_schema(values, name=name)
    return caught.value.omitted[0].reason


def mixed_records(n_records: int, *, random_state: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(random_state)
    return [
        {
            "customer_id": f"C-{number:05d}",
            "age": None if rng.random() < 0.06 else int(rng.integers(18, 90)),
            "spend": float(rng.lognormal(4, 1.2)),
            "balance": float(rng.normal(0, 500)),
            "newsletter": bool(rng.random() < 0.3),
            "channel": str(rng.choice(["web", "shop", "app", "fax"], p=[0.5, 0.3, 0.195, 0.005])),
            "region": None if rng.random() < 0.1 else str(rng.choice(["north", "south"])),
            "joined": (AS_OF - timedelta(days=int(rng.integers(0, 3000)))).isoformat(),
            "born": (AS_OF - timedelta(days=int(rng.integers(7000, 30000)))).strftime("%d-%m-%Y"),
        }
        for number in range(n_records)
    ]


# --- learning numbers -------------------------------------------------------------------------


def test_a_symmetric_column_is_standardised_as_scikit_learn_does() -> None:
    values = np.random.default_rng(1).normal(50, 9, 300)

    encoder = FeatureEncoder(column_schema(values.tolist()))

    expected = StandardScaler().fit_transform(values[:, None])
    np.testing.assert_allclose(
        encoder.encode_records([{"a": v} for v in values.tolist()]), expected
    )


def test_a_skewed_non_negative_column_is_logged_first() -> None:
    values = np.random.default_rng(2).lognormal(3, 1, 300)

    schema = column_schema(values.tolist())

    expected = StandardScaler().fit_transform(np.log1p(values)[:, None])
    assert schema.features[0].log
    encoded = FeatureEncoder(schema).encode_records([{"a": float(v)} for v in values])
    np.testing.assert_allclose(encoded, expected)


def test_a_skewed_column_with_a_negative_value_is_not_logged() -> None:
    values = [*np.random.default_rng(2).lognormal(3, 1, 300), -0.5]

    assert not column_schema(values).features[0].log


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(-(10**9), 10**9), min_size=3, max_size=30))
def test_skewness_equals_scipy(values: list[int]) -> None:
    column = np.sort(np.array(values) / 1000)
    assume(column.std() > 1e-6 * np.abs(column).max())

    assert schema_learning._skewness(column) == pytest.approx(
        stats.skew(column), rel=1e-6, abs=1e-9
    )


def test_missing_numbers_take_the_median_and_are_then_legal() -> None:
    schema = column_schema([1, 2, 10, None, 7])
    feature = schema.features[0]

    encoder = FeatureEncoder(schema)

    assert (feature.fill, feature.imputed, feature.low, feature.high) == (4.5, True, 1.0, 10.0)
    filled = np.array([1, 2, 10, 4.5, 7])
    assert feature.mean == pytest.approx(filled.mean())
    assert feature.scale == pytest.approx(filled.std())
    assert (
        encoder.encode_records([{"a": None}, {}]).tolist()
        == [encoder.encode_records([{"a": 4.5}])[0].tolist()] * 2
    )


def test_a_negative_value_in_a_logged_feature_counts_as_zero_but_stays_in_the_raw_column() -> None:
    encoder = FeatureEncoder(column_schema([0.0, 1.0, 1.0, 2.0, 90.0]))

    raw = encoder.raw_from_records([{"a": -5}])

    assert raw["a"].tolist() == [-5.0]
    assert encoder.encode(raw).tolist() == encoder.encode_records([{"a": 0}]).tolist()


def test_a_boolean_is_one_standardised_column_at_the_weight_of_a_category() -> None:
    schema = column_schema([True, False, False, False])

    encoded = FeatureEncoder(schema).encode_records([{"a": True}, {"a": False}])

    deviation = math.sqrt(0.25 * 0.75)
    assert schema.features[0].kind is Kind.BOOLEAN
    np.testing.assert_allclose(encoded[:, 0], CATEGORY_WEIGHT * np.array([0.75, -0.25]) / deviation)


def test_a_boolean_and_its_two_level_category_lie_equally_far_apart() -> None:
    boolean = FeatureEncoder(column_schema([True] * 30 + [False] * 70))
    category = FeatureEncoder(column_schema(["yes"] * 30 + ["no"] * 70))

    one, two = boolean.encode_records([{"a": True}, {"a": False}])
    yes, no = category.encode_records([{"a": "yes"}, {"a": "no"}])

    assert np.linalg.norm(one - two) == pytest.approx(np.linalg.norm(yes - no))


# --- learning categories ----------------------------------------------------------------------


def test_a_category_block_has_the_variance_worked_by_hand() -> None:
    values = ["a"] * 50 + ["b"] * 30 + [None] * 12 + ["c"] * 5 + ["d"] * 3

    schema = column_schema(values)

    feature = schema.features[0]
    # 5 % of 100 customers: "c" reaches it, "d" does not.
    assert feature.levels == ("a", "b", "c")
    assert feature.rare_levels == ("d",)
    variance = 0.5 * 0.5 + 0.3 * 0.7 + 0.05 * 0.95 + 0.03 * 0.97 + 0.12 * 0.88
    assert feature.scale == pytest.approx(math.sqrt(variance) / 0.7)
    encoded = FeatureEncoder(schema).encode_frame(pd.DataFrame({"a": values}))
    assert encoded.var(axis=0).sum() == pytest.approx(CATEGORY_WEIGHT**2)
    assert schema.column_names == ("a = a", "a = b", "a = c", "a (other)", "a (missing)")


def test_an_unseen_level_counts_as_other_and_is_marked_in_the_raw_column() -> None:
    encoder = FeatureEncoder(column_schema(["a"] * 60 + ["b"] * 39 + ["c"]))

    raw = encoder.raw_from_records([{"a": "zebra"}, {"a": "c"}])

    assert raw["a"].tolist() == [-1.0, 2.0]
    encoded = encoder.encode(raw)
    assert (
        encoded[0].tolist() == encoded[1].tolist() == [0, 0, 1 / encoder.schema.features[0].scale]
    )


def test_an_unseen_level_is_all_zeros_where_training_had_no_rare_levels() -> None:
    encoder = FeatureEncoder(column_schema(["a"] * 60 + ["b"] * 40))

    assert encoder.encode_records([{"a": "zebra"}]).tolist() == [[0.0, 0.0]]


def test_levels_are_kept_by_frequency_then_name_up_to_the_limit() -> None:
    values = [f"level {number:02d}" for number in range(40) for _ in range(100 - number // 2)]

    feature = column_schema(values).features[0]

    assert feature.levels == tuple(f"level {number:02d}" for number in range(25))
    assert feature.rare_levels == tuple(f"level {number:02d}" for number in range(25, 40))


@pytest.mark.parametrize(
    ("n_customers", "least"), [(4, 2), (60, 3), (200, 10), (1_000, 10), (5_000, 50)]
)
def test_the_least_level_count_fits_the_table(n_customers: int, least: int) -> None:
    assert schema_learning._least_level_count(n_customers) == least


# --- learning dates ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "date_format"),
    [
        (["2024-02-28", "2024-01-31", "2023-03-02"], None),
        (["2024-02-28T23:59:59Z", "2024-01-31 10:00", "2023-03-02"], None),
        (["20240228", "20240131", "20230302"], None),
        (["28-02-2024", "31-01-2024", "02-03-2023"], "%d-%m-%Y"),
        (["28/02/2024", "31/1/2024", "2/3/2023"], "%d/%m/%Y"),
        (["28.02.2024", "31.01.2024", "02.03.2023"], "%d.%m.%Y"),
        (["02/28/2024", "1/31/2024 8:26", "03/02/2023"], "%m/%d/%Y"),
        (["2024/02/28", "2024/01/31", "2023/03/02"], "%Y/%m/%d"),
        (["28-02-2024", "2024-01-31", "02-03-2023"], "%d-%m-%Y"),
    ],
)
def test_dates_become_days_before_the_training_date(texts: list[str], date_format: str) -> None:
    schema = column_schema(texts)

    raw = FeatureEncoder(schema).raw_from_records([{"a": text} for text in texts])

    assert (schema.features[0].kind, schema.features[0].date_format) == (Kind.DATE, date_format)
    assert raw["a"].tolist() == [2.0, 30.0, 365.0]


def test_day_first_wins_where_both_orders_read_the_whole_column() -> None:
    assert column_schema(["01/02/2024", "03/04/2023"]).features[0].date_format == "%d/%m/%Y"


def test_serving_reads_iso_and_the_learned_format_and_no_other() -> None:
    encoder = FeatureEncoder(column_schema(["28-02-2024", "31-01-2024"]))

    raw = encoder.raw_from_records([{"a": "2024-02-28"}, {"a": "28-02-2024"}])

    assert raw["a"].tolist() == [2.0, 2.0]
    with pytest.raises(InvalidRecords) as caught:
        encoder.raw_from_records([{"a": "28/02/2024"}, {"a": "31-02-2024"}])
    assert [problem.code for problem in caught.value.problems] == ["not-a-date", "not-a-date"]
    assert "DD-MM-YYYY" in caught.value.problems[0].detail


def test_one_text_that_is_no_date_makes_the_column_a_category() -> None:
    texts = ["2024-02-28", "2024-02-27"] * 20 + ["soon"]

    assert column_schema(texts).features[0].kind is Kind.CATEGORY


def test_eight_digit_codes_outside_plausible_years_are_no_dates() -> None:
    assert column_schema(["10101010", "30010101"] * 20).features[0].kind is Kind.CATEGORY


# --- leaving out ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("a", [None, None], schema_learning.REASON_MISSING),
        ("a", [3, 3, None], schema_learning.REASON_CONSTANT),
        ("a", [True, True], schema_learning.REASON_CONSTANT),
        ("a", ["x", "x"], schema_learning.REASON_CONSTANT),
        ("a", [0.1 + 0.2, 0.3] * 9, schema_learning.REASON_CONSTANT),
        ("a", [1, "x", 2.5], schema_learning.REASON_MIXED),
        ("a", [True, 1, 0], schema_learning.REASON_MIXED),
        ("a", [1.0, 2e15], schema_learning.REASON_RANGE),
        ("a", [1.0, math.inf], schema_learning.REASON_RANGE),
        ("a", [1, 10**400], schema_learning.REASON_RANGE),
        ("a", list(range(100, 130)), schema_learning.REASON_ID),
        ("a", list(range(100, 400, 10)), schema_learning.REASON_ID),
        ("ID", [7, 3, 19, 4], schema_learning.REASON_ID),
        ("CustomerID", [7, 3, 19, 4], schema_learning.REASON_ID),
        ("loyalty_card_number", ["A7", "B3", "C9"], schema_learning.REASON_ID),
        ("customer_id", ["A7", "B3", "A7"], schema_learning.REASON_ID),
        ("a", [f"name {number}" for number in range(50)], schema_learning.REASON_NEAR_UNIQUE),
        ("a", [f"n{number // 2}" for number in range(400)][:390], None),
    ],
)
def test_a_column_without_information_is_left_out_with_its_reason(
    name: str, values: list[Any], reason: str | None
) -> None:
    found = reason_for(values, name=name)

    assert found == (reason or "no text is shared by enough customers (at least 10)")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("amount_paid", [7, 3, 19, 4]),
        ("number_of_orders", [7, 3, 19, 4]),
        ("idle_days", [7, 3, 19, 4]),
        ("age", [31, 32, 33]),
        ("id_score", [0.5, 1.5, 1.25]),
    ],
)
def test_a_number_is_not_mistaken_for_an_identifier(name: str, values: list[float]) -> None:
    assert column_schema(values, name=name).features[0].name == name


def test_named_features_are_exactly_those_and_the_rest_is_reported() -> None:
    frame = pd.DataFrame({"a": [1, 2, 5], "b": [3, 4, 9], "row_id": [4, 9, 7]})

    schema = learn_schema(frame, as_of=AS_OF, features=["row_id", "a"])

    assert [feature.name for feature in schema.features] == ["a", "row_id"]
    assert [(o.name, o.reason) for o in schema.omitted] == [
        ("b", schema_learning.REASON_NOT_CHOSEN)
    ]


def test_an_unknown_feature_is_named_with_its_near_matches() -> None:
    frame = pd.DataFrame({"Income": [1, 2], "age": [3, 4]})

    with pytest.raises(UnknownFeature, match="'incom'.*'Income'") as caught:
        learn_schema(frame, as_of=AS_OF, features=["age", "incom"])

    assert caught.value.near == ("Income",)


def test_a_named_feature_without_information_is_refused_by_name() -> None:
    frame = pd.DataFrame({"a": [1, 2], "flat": [3, 3]})

    with pytest.raises(NoUsableFeatures, match="'flat': the same"):
        learn_schema(frame, as_of=AS_OF, features=["a", "flat"])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": []}), "no customers"),
        (pd.DataFrame({"a": [1, 1]}), "'a'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a': stands 2 times"),
        (pd.DataFrame([[1, 2]], columns=["a", 3]), "3: an attribute name"),
    ],
)
def test_a_table_that_cannot_be_learned_says_why(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learn_schema(frame, as_of=AS_OF)


def test_the_order_of_the_rows_changes_nothing() -> None:
    records = mixed_records(400)
    shuffled = [records[row] for row in np.random.default_rng(5).permutation(400)]

    schema = learn_schema(pd.DataFrame.from_records(records), as_of=AS_OF)

    assert learn_schema(pd.DataFrame.from_records(shuffled), as_of=AS_OF) == schema


# --- the schema as JSON -----------------------------------------------------------------------


def test_a_schema_survives_json_to_the_last_bit() -> None:
    schema = learn_schema(pd.DataFrame.from_records(mixed_records(300)), as_of=AS_OF)

    again = FeatureSchema.from_dict(json.loads(json.dumps(schema.to_dict())))

    assert again == schema


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("features",), [], r"schema\.features"),
        (("as_of",), "1 March", r"schema\.as_of"),
        (("n_customers",), 0, r"schema\.n_customers"),
        (("n_customers",), True, r"schema\.n_customers"),
        (("extra",), 1, r"schema\.extra: is unknown"),
        (("features", 0, "kind"), "colour", r"features\[0\]\.kind"),
        (("features", 0, "scale"), 0.0, r"features\[0\]\.scale"),
        (("features", 0, "mean"), math.nan, r"features\[0\]\.mean"),
        (("features", 0, "mean"), "1", r"features\[0\]\.mean"),
        (("features", 0, "imputed"), 1, r"features\[0\]\.imputed"),
        (("features", 0, "levels"), ["x"], r"features\[0\]\.levels"),
        (("features", 0, "date_format"), "%d-%m-%Y", r"features\[0\]\.date_format"),
        (("features", 0, "name"), "spend", r"schema\.features: .*distinct"),
        (("features", 4, "levels"), [], r"features\[4\]\.levels"),
        (("features", 4, "levels"), ["web", "web"], r"features\[4\]\.levels"),
        (("features", 4, "log"), True, r"features\[4\]\.log"),
        (("omitted", 0), "customer_id", r"omitted\[0\]"),
    ],
)
def test_a_damaged_schema_is_refused_by_the_name_of_the_entry(
    path: tuple[Any, ...], value: object, message: str
) -> None:
    schema = learn_schema(pd.DataFrame.from_records(mixed_records(300)), as_of=AS_OF)
    data = json.loads(json.dumps(schema.to_dict()))
    target = data
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value

    with pytest.raises(ValueError, match=message):
        FeatureSchema.from_dict(data)


def test_a_schema_without_an_entry_is_refused() -> None:
    data = column_schema([1, 2, 5]).to_dict()
    del data["features"][0]["fill"]

    with pytest.raises(ValueError, match=r"features\[0\]\.fill: is missing"):
        FeatureSchema.from_dict(data)


# --- serving ----------------------------------------------------------------------------------


def test_strict_reading_names_every_problem_in_record_order() -> None:
    encoder = FeatureEncoder(
        learn_schema(pd.DataFrame.from_records(mixed_records(300)), as_of=AS_OF)
    )
    good = mixed_records(1, random_state=9)[0]

    with pytest.raises(InvalidRecords) as caught:
        encoder.raw_from_records(
            [
                good | {"spend": "12", "newsletter": 1},
                good | {"age": None, "region": None},
                good | {"balance": True, "channel": 3, "joined": "soon", "born": 20240101},
                {name: value for name, value in good.items() if name != "spend"},
                good | {"spend": 1e16, "balance": 10**400, "age": math.nan},
            ]
        )

    assert [(p.index, p.field, p.code) for p in caught.value.problems] == [
        (0, "spend", "wrong-type"),
        (0, "newsletter", "wrong-type"),
        (2, "balance", "wrong-type"),
        (2, "channel", "wrong-type"),
        (2, "joined", "not-a-date"),
        (2, "born", "wrong-type"),
        (3, "spend", "missing"),
        (4, "age", "not-finite"),
        (4, "spend", "out-of-range"),
        (4, "balance", "out-of-range"),
    ]
    assert caught.value.n_problems == 10


def test_many_problems_are_counted_and_the_first_hundred_kept() -> None:
    encoder = FeatureEncoder(
        learn_schema(pd.DataFrame({"a": [1, 2, 4], "b": [1, 2, 4]}), as_of=AS_OF)
    )

    with pytest.raises(InvalidRecords) as caught:
        encoder.raw_from_records([{"a": 1}] * 20 + [{}] * 300)

    assert caught.value.n_problems == 620
    assert len(caught.value.problems) == 100
    assert [p.index for p in caught.value.problems[:22]] == [*range(20), 20, 20]


def test_lenient_reading_turns_problems_into_missing_values_and_marks_the_rows() -> None:
    records = [{"a": v, "b": w} for v, w in [(1, 4), (2, None), (5, 9)]]
    encoder = FeatureEncoder(learn_schema(pd.DataFrame.from_records(records), as_of=AS_OF))

    raw = encoder.raw_from_records([{"a": "x", "b": 1}, {"a": 1, "b": "x"}], strict=False)

    np.testing.assert_array_equal(raw["a"], [np.nan, 1.0])
    np.testing.assert_array_equal(raw["b"], [1.0, np.nan])
    assert encoder.missing_required(raw).tolist() == [True, False]
    assert np.isfinite(encoder.encode(raw)).all()


def test_raw_columns_that_do_not_fit_are_refused() -> None:
    encoder = FeatureEncoder(
        learn_schema(pd.DataFrame({"a": [1, 2, 4], "b": [1, 2, 4]}), as_of=AS_OF)
    )

    with pytest.raises(ValueError, match="'b' has no raw column"):
        encoder.encode({"a": np.zeros(2)})
    with pytest.raises(ValueError, match="one length"):
        encoder.encode({"a": np.zeros(2), "b": np.zeros(3)})


def test_a_row_encodes_alike_alone_and_among_others() -> None:
    records = mixed_records(257)
    encoder = FeatureEncoder(learn_schema(pd.DataFrame.from_records(records), as_of=AS_OF))

    together = encoder.encode_records(records)

    alone = np.vstack([encoder.encode_records([record]) for record in records])
    assert alone.tobytes() == together.tobytes()
    assert together.flags["C_CONTIGUOUS"]
    assert together.shape == (257, encoder.schema.n_columns)


MIXED_ENCODER = FeatureEncoder(
    learn_schema(pd.DataFrame.from_records(mixed_records(300)), as_of=AS_OF)
)
NUMBERS = st.one_of(
    st.none(),
    st.integers(-(10**15), 10**15),
    st.floats(-1e15, 1e15),
    st.sampled_from([5e-324, -0.0, 1e-9, 1e15, 2**60, 10**300, math.nan]),
)
DATES = st.dates(date(1900, 1, 1), date(2100, 1, 1))
DATE_TEXTS = st.one_of(
    st.none(),
    DATES.map(date.isoformat),
    DATES.map(lambda day: f"{day:%d-%m-%Y}"),
    DATES.map(lambda day: f"{day.isoformat()}T12:30:00+02:00"),
    st.just("never"),
)
TEXTS = st.sampled_from(["web", "shop", "fax", "unseen", "north", "", None])
STRANGE = st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.text(max_size=3))
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "age": NUMBERS,
        "spend": NUMBERS | STRANGE,
        "balance": NUMBERS,
        "newsletter": st.none() | st.booleans() | STRANGE,
        "channel": TEXTS | STRANGE,
        "region": TEXTS,
        "joined": DATE_TEXTS | STRANGE,
        "born": DATE_TEXTS,
    },
)


@settings(max_examples=200, deadline=None)
@given(records=st.lists(RECORDS, min_size=1, max_size=8))
def test_frame_and_records_encode_alike_to_the_last_bit(records: list[dict[str, Any]]) -> None:
    frame = pd.DataFrame.from_records(records, index=range(len(records)))

    by_records = MIXED_ENCODER.encode_records(records, strict=False)

    by_frame = MIXED_ENCODER.encode_frame(frame)
    assert by_frame.tobytes() == by_records.tobytes()
    assert np.isfinite(by_frame).all()


@pytest.mark.parametrize("dtype", ["object", "str", "string", "category"])
def test_the_type_of_a_text_column_does_not_matter(dtype: str) -> None:
    column = pd.Series(["web", None, "fax", "unseen"], dtype=dtype)

    raw = MIXED_ENCODER.raw_from_frame(pd.DataFrame({"channel": column}))

    levels = ("web", "shop", "app", "fax")
    assert raw["channel"][[0, 2, 3]].tolist() == [0.0, float(levels.index("fax")), -1.0]
    assert math.isnan(raw["channel"][1])


@pytest.mark.parametrize("dtype", ["float64", "Float64", "Int64", "object", "float32"])
def test_the_type_of_a_number_column_does_not_matter(dtype: str) -> None:
    column = pd.Series([1, None, 3], dtype=dtype)

    raw = MIXED_ENCODER.raw_from_frame(pd.DataFrame({"age": column}))

    np.testing.assert_array_equal(raw["age"], [1.0, np.nan, 3.0])


def test_the_serving_path_loads_neither_pandas_nor_scikit_learn() -> None:
    program = (
        "import sys, ml.records, ml.encoder;"
        "heavy = {'pandas', 'sklearn', 'scipy', 'django'} & set(sys.modules);"
        "assert not heavy, heavy"
    )

    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


# --- real tables ------------------------------------------------------------------------------


def round_trip(frame: pd.DataFrame, schema: FeatureSchema) -> np.ndarray:
    encoder = FeatureEncoder(schema)
    records = json.loads(frame.to_json(orient="records", double_precision=15))
    encoded = encoder.encode_frame(pd.DataFrame.from_records(records))
    assert encoded.tobytes() == encoder.encode_records(records).tobytes()
    assert np.isfinite(encoded).all()
    return encoded


def test_the_marketing_table_is_understood(shared_data: Path) -> None:
    frame = pd.read_csv(shared_data / "marketing_campaign.csv")

    schema = learn_schema(frame, as_of=date(2014, 7, 1))

    learned = {feature.name: feature for feature in schema.features}
    assert {omission.name: omission.reason for omission in schema.omitted} == {
        "ID": schema_learning.REASON_ID,
        "Z_CostContact": schema_learning.REASON_CONSTANT,
        "Z_Revenue": schema_learning.REASON_CONSTANT,
    }
    assert learned["Dt_Customer"].kind is Kind.DATE
    assert learned["Dt_Customer"].date_format == "%d-%m-%Y"
    assert learned["Income"].imputed
    assert learned["Income"].fill == frame["Income"].median()
    assert learned["MntWines"].log
    assert learned["Education"].levels[0] == "Graduation"
    assert {"YOLO", "Absurd"} <= set(learned["Marital_Status"].rare_levels)
    encoded = round_trip(frame, schema)
    wines = StandardScaler().fit_transform(np.log1p(frame[["MntWines"]]))[:, 0]
    np.testing.assert_allclose(encoded[:, schema.column_names.index("MntWines")], wines)


def test_the_shoppers_table_is_understood(shared_data: Path) -> None:
    frame = pd.read_csv(shared_data / "online_shoppers.csv")

    schema = learn_schema(frame, as_of=AS_OF)

    kinds = {feature.name: feature.kind for feature in schema.features}
    assert schema.omitted == ()
    assert kinds["Weekend"] is Kind.BOOLEAN
    assert {kinds["Month"], kinds["VisitorType"]} == {Kind.CATEGORY}
    variances = round_trip(frame, schema).var(axis=0)
    months = [name.startswith("Month = ") for name in schema.column_names]
    assert variances[months].sum() == pytest.approx(CATEGORY_WEIGHT**2)


def test_the_mall_table_is_understood(shared_data: Path) -> None:
    frame = pd.read_csv(shared_data / "mall_customers.csv")

    schema = learn_schema(frame, as_of=AS_OF)

    assert [omission.name for omission in schema.omitted] == ["CustomerID"]
    assert schema.column_names == (
        "Genre = Female",
        "Genre = Male",
        "Age",
        "Annual Income (k$)",
        "Spending Score (1-100)",
    )
    assert round_trip(frame, schema).shape == (200, 5)


# --- texts as categories ----------------------------------------------------------------------


def as_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """The same texts as codes, with a level that nobody has."""
    coded = {
        name: pd.Categorical(column.astype(object), [*sorted(column.dropna().unique()), "unused"])
        for name, column in frame.items()
        if column.dropna().map(type).eq(str).all()
    }
    return frame.assign(**coded)


def test_texts_as_categories_are_learned_and_encoded_as_texts() -> None:
    plain = pd.DataFrame.from_records(mixed_records(400))
    coded = as_categories(plain)
    assert {str(dtype) for dtype in coded.dtypes} >= {"category"}

    schema = learn_schema(coded, as_of=AS_OF)

    assert schema == learn_schema(plain, as_of=AS_OF)
    encoder = FeatureEncoder(schema)
    assert encoder.encode_frame(coded).tobytes() == encoder.encode_frame(plain).tobytes()


def test_categories_without_a_text_are_missing_throughout() -> None:
    frame = pd.DataFrame({"a": pd.Categorical([None, None], ["x"]), "b": [1.0, 5.0]})

    schema = learn_schema(frame, as_of=AS_OF)

    assert [(o.name, o.reason) for o in schema.omitted] == [("a", schema_learning.REASON_MISSING)]


def test_a_feature_of_another_kind_reads_categories_as_texts() -> None:
    encoder = FeatureEncoder(column_schema([1.0, 2.0, 9.0]))
    frame = pd.DataFrame({"a": pd.Categorical(["web", None, "shop"])})

    assert np.isnan(encoder.raw_from_frame(frame)["a"]).all()
