"""A readable rule for each cluster: honest figures, round thresholds, every kind of column."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml.cluster_fits import fit_kmeans
from ml.encoder import FeatureEncoder
from ml.features import FeatureSchema, RawColumns
from ml.rule_words import EVERY_CUSTOMER, NO_SHORT_RULE
from ml.rules import MIN_PRECISION, SegmentRule, describe_rules, split_rows
from ml.schema_learning import learn_schema

AS_OF = date(2026, 1, 31)
N_CUSTOMERS = 400


def read(columns: Mapping[str, Sequence[object]]) -> tuple[FeatureSchema, RawColumns]:
    frame = pd.DataFrame({name: list(values) for name, values in columns.items()})
    schema = learn_schema(frame, as_of=AS_OF, features=list(columns))
    return schema, FeatureEncoder(schema).raw_from_frame(frame)


def rules_of(
    columns: Mapping[str, Sequence[object]], labels: NDArray[np.bool_]
) -> tuple[SegmentRule, SegmentRule, RawColumns]:
    """The rules of the others and of the members, with the raw columns."""
    schema, raw = read(columns)
    others, members = describe_rules(schema, raw, labels.astype(np.int64), random_state=0)
    return others, members, raw


def uniform(low: float, high: float, *, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(low, high, size=N_CUSTOMERS)


def test_a_rule_says_which_bounds_hold_together() -> None:
    incomes, scores = [10, 30, 60, 65, 66, 70, 100, 130], [5, 20, 39, 40, 41, 60, 90]
    income = np.repeat(incomes, 70)
    score = np.tile(scores, 80)

    _, rule, raw = rules_of(
        {"Annual Income": income, "Spending_Score": score}, (income > 65) & (score <= 40)
    )

    assert sorted(rule.text.split(" and ")) == ["annual income > 65", "spending score ≤ 40"]
    assert (rule.precision, rule.recall, rule.is_short) == (1.0, 1.0, True)
    assert np.array_equal(rule.matches(raw), (income > 65) & (score <= 40))


def test_stated_precision_and_recall_equal_a_recount_on_unseen_customers() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(-1, 3, size=900)
    columns = {
        "spend": np.exp(rng.normal(labels, 0.8)),
        "age": np.where(rng.random(900) < 0.1, np.nan, rng.normal(40 + 5 * labels, 6)),
        "channel": np.array(["web", "store", "app", None], dtype=object)[
            np.where(rng.random(900) < 0.7, labels, rng.integers(0, 4, 900))
        ],
    }
    schema, raw = read(columns)

    rules = describe_rules(schema, raw, labels, random_state=5, max_rows=600)

    seen, unseen = split_rows(labels, random_state=5, max_rows=600)
    assert len(seen) + len(unseen) == 600
    assert [rule.cluster for rule in rules] == [0, 1, 2]
    for rule in rules:
        matched, members = rule.matches(raw)[unseen], labels[unseen] == rule.cluster
        assert rule.precision == (matched & members).sum() / matched.sum()
        assert rule.recall == (matched & members).sum() / members.sum()
        assert rule.coverage == matched.mean()
        assert rule.is_short is (rule.precision >= MIN_PRECISION)


def test_two_groups_far_apart_need_two_alternatives() -> None:
    spend = uniform(0, 100, seed=4)

    _, rule, _ = rules_of({"spend": spend}, (spend < 20) | (spend > 80))

    assert len(rule.conditions) == 2
    assert sorted(rule.text.split(", or ")) == ["spend > 80", "spend ≤ 20"]
    assert rule.recall >= 0.9


def test_both_bounds_of_one_feature_are_said_as_a_range() -> None:
    spend = np.arange(N_CUSTOMERS) % 100

    _, rule, _ = rules_of({"spend": spend}, (spend > 30) & (spend <= 60))

    assert rule.text == "30 < spend ≤ 60"


def test_thresholds_have_two_significant_digits_where_that_costs_nothing() -> None:
    spend = uniform(0, 10_000, seed=22)

    _, rule, _ = rules_of({"spend": spend}, spend > 4321.987)

    assert rule.text in ("spend > 4,200", "spend > 4,300", "spend > 4,400")


def test_leaves_side_by_side_are_merged() -> None:
    spend, age = uniform(0, 100, seed=6), uniform(20, 70, seed=7)

    _, rule, _ = rules_of({"spend": spend, "age": age}, spend > 50)

    assert [[c.feature for c in alternative] for alternative in rule.conditions] == [["spend"]]


def test_a_threshold_stays_fine_where_rounding_would_cost() -> None:
    spend = 1000 + uniform(0, 1, seed=8)  # two digits make 1,000 of every threshold

    _, rule, raw = rules_of({"spend": spend}, spend > 1000.5)

    assert rule.precision >= 0.95
    assert rule.matches(raw).mean() == pytest.approx(0.5, abs=0.1)


def test_large_and_close_amounts_are_told_apart() -> None:
    account = 1e12 + np.arange(N_CUSTOMERS, dtype=float) % 40  # one step is below float32

    _, rule, raw = rules_of({"account": account}, account >= 1e12 + 20)

    assert (rule.precision, rule.recall) == (1.0, 1.0)
    assert np.array_equal(rule.matches(raw), account >= 1e12 + 20)


def test_whole_numbers_have_whole_thresholds() -> None:
    children = np.arange(N_CUSTOMERS) % 4

    _, rule, _ = rules_of({"children": children, "age": uniform(20, 70, seed=9)}, children >= 2)

    assert rule.text == "children > 1"


def test_a_missing_number_counts_as_the_median_and_the_text_says_so() -> None:
    age = uniform(20, 80, seed=10)
    age[::5] = np.nan

    others, rule, raw = rules_of({"age": age}, ~(age <= 35))  # the median is about 50

    assert rule.text == "age > 35 (or unknown)"
    assert others.text == "age ≤ 35"
    assert rule.matches(raw)[::5].all()
    assert not others.matches(raw)[::5].any()


def test_a_boolean_is_yes_or_no() -> None:
    newsletter = np.arange(N_CUSTOMERS) % 3 == 0

    others, rule, raw = rules_of({"newsletter": newsletter.tolist()}, newsletter)

    assert (others.text, rule.text) == ("newsletter = no", "newsletter = yes")
    assert np.array_equal(rule.matches(raw), newsletter)


def test_a_category_is_one_of_its_levels_or_is_not() -> None:
    channel = np.array(["web", "store", "app", "phone"])[np.arange(N_CUSTOMERS) % 4]

    others, rule, raw = rules_of({"channel": channel}, channel == "app")

    assert (others.text, rule.text) == ("channel is not app", "channel is app")
    assert np.array_equal(rule.matches(raw), channel == "app")


def test_a_missing_level_is_called_unknown() -> None:
    region = np.array(["north", "south", None], dtype=object)[np.arange(N_CUSTOMERS) % 3]

    others, rule, raw = rules_of({"region": region}, np.equal(region, None))

    assert (others.text, rule.text) == ("region is not unknown", "region is unknown")
    assert np.array_equal(rule.matches(raw), np.isnan(raw["region"]))


def test_rare_and_unseen_levels_are_matched_alike() -> None:
    names = [f"village {n}" for n in range(20)]
    town = np.array(["north", "south"], dtype=object)[np.arange(N_CUSTOMERS) % 2]
    town[:60] = (names * 3)[:60]

    _, rule, raw = rules_of({"town": town}, np.arange(N_CUSTOMERS) < 60)

    assert rule.text == "town is a rare value"
    assert rule.matches(raw).sum() == 60
    assert rule.matches({"town": np.array([-1.0, 0.0])}).tolist() == [True, False]


def test_a_date_is_before_or_after_a_day() -> None:
    days = np.random.default_rng(11).integers(1, 2000, size=N_CUSTOMERS)
    joined = np.array([date.fromordinal(AS_OF.toordinal() - int(d)) for d in days])
    texts = [day.isoformat() for day in joined]
    early = joined < date(2024, 1, 1)

    others, rule, raw = rules_of({"joined": texts}, early)

    assert rule.text == "joined before 2024-01-01"
    assert others.text == "joined on or after 2024-01-01"
    assert np.array_equal(rule.matches(raw), early)


def test_a_date_at_the_end_of_time_is_no_obstacle() -> None:
    texts = ["9999-12-31", "2020-05-17", "9999-11-30", "0001-01-01"] * 100
    labels = np.arange(N_CUSTOMERS) % 2 == 0

    _, rule, raw = rules_of({"ends": texts}, labels)

    assert np.array_equal(rule.matches(raw), labels)


def test_without_a_pattern_there_is_no_short_rule() -> None:
    chance = np.random.default_rng(12).random(N_CUSTOMERS) < 0.3

    _, rule, _ = rules_of({"spend": uniform(0, 1, seed=13)}, chance)

    assert rule.text == NO_SHORT_RULE
    assert not rule.is_short
    assert rule.precision < MIN_PRECISION


def test_a_cluster_of_a_few_has_a_rule_that_matches_nobody() -> None:
    members = np.arange(N_CUSTOMERS) < 3

    _, rule, raw = rules_of({"spend": uniform(0, 1, seed=14)}, members)

    assert (rule.text, rule.conditions, rule.is_short) == (NO_SHORT_RULE, (), False)
    assert not rule.matches(raw).any()


def test_a_small_cluster_is_found_below_one_percent() -> None:
    spend = uniform(0, 100, seed=15).repeat(5)
    spend[:16] += 500

    _, rule, _ = rules_of({"spend": spend}, spend > 500)  # .8 % of the customers

    assert rule.precision >= 0.9


def test_a_lone_cluster_is_every_customer() -> None:
    schema, raw = read({"spend": uniform(0, 1, seed=16)})

    (rule,) = describe_rules(schema, raw, np.zeros(N_CUSTOMERS, dtype=np.int64), random_state=0)

    assert (rule.text, rule.precision, rule.recall, rule.coverage) == (EVERY_CUSTOMER, 1, 1, 1)
    assert rule.matches(raw).all()


def test_noise_alone_has_no_rules() -> None:
    schema, raw = read({"spend": uniform(0, 1, seed=17)})

    assert describe_rules(schema, raw, np.full(N_CUSTOMERS, -1), random_state=0) == []


def test_the_same_seed_gives_the_same_rules_and_leaves_the_global_generator_alone() -> None:
    columns = {"spend": uniform(0, 1, seed=18), "age": uniform(0, 1, seed=19)}
    schema, raw = read(columns)
    labels = (columns["spend"] + 0.3 * columns["age"] > 0.6).astype(np.int64)
    before = np.random.get_state()[1].tolist()  # type: ignore[index]

    first = describe_rules(schema, raw, labels, random_state=7, max_rows=300)

    assert describe_rules(schema, raw, labels, random_state=7, max_rows=300) == first
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 3), min_size=1, max_size=80).map(np.array),
    max_rows=st.integers(2, 100),
    seed=st.integers(0, 9),
)
def test_seen_and_unseen_rows_are_disjoint_and_hold_every_cluster(
    labels: NDArray[np.int64], max_rows: int, seed: int
) -> None:
    seen, unseen = split_rows(labels, random_state=seed, max_rows=max_rows)

    assert len(set(seen) | set(unseen)) == len(seen) + len(unseen) == min(len(labels), max_rows)
    assert set(labels[unseen]) <= set(labels[seen])
    for cluster in set(labels[seen]):
        n_seen, n_unseen = (labels[seen] == cluster).sum(), (labels[unseen] == cluster).sum()
        assert n_seen == np.ceil(0.7 * (n_seen + n_unseen))


def test_rules_are_plain_json() -> None:
    columns = {
        "spend": uniform(0, 1, seed=20),
        "channel": np.array(["web", "store"])[np.arange(N_CUSTOMERS) % 2],
    }

    _, rule, _ = rules_of(columns, (columns["spend"] > 0.5) & (columns["channel"] == "web"))

    conditions = json.loads(json.dumps(rule.to_dict(), allow_nan=False))["conditions"]
    assert {condition["feature"] for condition in conditions[0]} == {"spend", "channel"}
    assert {condition["kind"] for condition in conditions[0]} == {"number", "category"}


def test_a_column_that_is_missing_or_too_short_is_named() -> None:
    schema, raw = read({"spend": uniform(0, 1, seed=21)})
    labels = np.zeros(N_CUSTOMERS, dtype=np.int64)

    with pytest.raises(ValueError, match="'spend' has no raw column"):
        describe_rules(schema, {}, labels, random_state=0)
    with pytest.raises(ValueError, match=r"'spend': expected \(400,\) values"):
        describe_rules(schema, {"spend": raw["spend"][:5]}, labels, random_state=0)
    with pytest.raises(ValueError, match="max_rows: expected 2 or more"):
        describe_rules(schema, raw, labels, random_state=0, max_rows=1)


@pytest.mark.parametrize("table", ["mall_customers", "marketing_campaign", "online_shoppers"])
def test_four_segments_of_a_real_table_have_precise_rules(shared_data: Path, table: str) -> None:
    frame = pd.read_csv(shared_data / f"{table}.csv")
    schema = learn_schema(frame, as_of=AS_OF)
    encoder = FeatureEncoder(schema)
    raw = encoder.raw_from_frame(frame)
    _, labels = fit_kmeans(encoder.encode(raw), n_clusters=4, n_init=3, random_state=0)

    rules = describe_rules(schema, raw, labels, random_state=0)

    assert np.mean([rule.precision for rule in rules]) >= 0.8
