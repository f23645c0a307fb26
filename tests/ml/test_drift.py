"""The whole comparison: quiet without a change, awake with one, honest where it cannot know.

DRIFT_DRAWS=all takes twice as many references where the share of false alarms is tested.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from ml.clusterers import KMeansModel
from ml.drift import (
    Check,
    CheckResult,
    DriftResult,
    Floors,
    Reason,
    ReferenceProfile,
    Scored,
    Verdict,
    compare,
)
from ml.encoder import FeatureEncoder
from ml.features import FeatureSchema, RawColumns
from ml.fitting import fit_clusters
from ml.held_out import score_held_out
from ml.schema_learning import learn_schema
from ml.scored import score

Draw = Callable[[np.random.Generator, int], pd.DataFrame]
N_SIMULATED, N_RARE = (20, 50) if os.environ.get("DRIFT_DRAWS") == "all" else (10, 25)
"""References of either kind."""


class Population:
    """A profiled reference of one kind of customer, and comparisons of frames with it."""

    def __init__(self, reference: pd.DataFrame, cut_by: str) -> None:
        self.schema: FeatureSchema = learn_schema(reference, as_of=date(2026, 1, 1))
        self.encoder = FeatureEncoder(self.schema)
        self.cuts = np.nanquantile(reference[cut_by], [0.2, 0.5, 0.9])
        self.cut_by = cut_by
        self.profile = ReferenceProfile.fit(self.schema, *self.read(reference))

    def read(self, frame: pd.DataFrame) -> tuple[RawColumns, Scored]:
        values = frame[self.cut_by].fillna(frame[self.cut_by].median())
        labels = np.searchsorted(self.cuts, values) - 1
        return self.encoder.raw_from_frame(frame), Scored(labels)

    def compare(self, frame: pd.DataFrame, **options) -> DriftResult:
        return compare(self.profile, *self.read(frame), **options)


class Trained(Population):
    """The same with a k-means model, its distances held out as training does."""

    def __init__(self, reference: pd.DataFrame, n_clusters: int = 4) -> None:
        self.schema = learn_schema(reference, as_of=date(2026, 1, 1))
        self.encoder = FeatureEncoder(self.schema)
        raw = self.encoder.raw_from_frame(reference)
        X = self.encoder.encode(raw)
        fit = fit_clusters("kmeans", X, parameters={"n_clusters": n_clusters, "n_init": 2})
        assert isinstance(fit.model, KMeansModel)
        self.model = fit.model
        self.profile = ReferenceProfile.fit(
            self.schema, raw, score_held_out(X, fit), fitted=fit.labels
        )

    def read(self, frame: pd.DataFrame) -> tuple[RawColumns, Scored]:
        raw = self.encoder.raw_from_frame(frame)
        return raw, score(self.encoder, self.model, raw, random_state=0)


def draw(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Customers with a tied, a heavy-tailed and gappy, a rare boolean and a category column."""
    return pd.DataFrame(
        {
            "age": np.round(rng.normal(45, 13, n)),
            "spend_eur": np.where(rng.random(n) < 0.08, np.nan, rng.lognormal(3, 1, n)),
            "rating": rng.choice(5, n, p=[0.05, 0.1, 0.2, 0.35, 0.3]) + 1.0,
            "newsletter": rng.random(n) < 0.4,
            "channel": rng.choice(["web", "store", "app"], n, p=[0.5, 0.3, 0.2]),
        }
    )


def draw_rare(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Customers with complaints of one in a hundred and a list of towns that never closes."""
    town = np.minimum(rng.zipf(1.6, n), 100_000)
    return pd.DataFrame(
        {
            "age": np.round(rng.normal(45, 13, n)),
            "complained": rng.random(n) < 0.01,
            "returns": rng.poisson(0.02, n).astype(float),
            "town": np.char.add("town ", town.astype(str)),
        }
    )


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(draw(np.random.default_rng(1), 4_000), cut_by="age")


@pytest.fixture(scope="module")
def custsim(request: pytest.FixtureRequest) -> ModuleType:
    return load_custsim(request.getfixturevalue("shared_data"))


def load_custsim(shared_data: Path) -> ModuleType:
    path = shared_data.parent / "bench" / "custsim.py"
    spec = importlib.util.spec_from_file_location("custsim", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def simulated(request: pytest.FixtureRequest) -> Trained:
    custsim = load_custsim(request.getfixturevalue("shared_data"))
    return Trained(custsim.make(5_000, np.random.default_rng(0)))


@pytest.fixture(scope="module")
def simulated_references(custsim: ModuleType) -> list[Trained]:
    return [
        Trained(custsim.make(1_500, np.random.default_rng(seed))) for seed in range(N_SIMULATED)
    ]


@cache
def rare_references(n_customers: int) -> list[Population]:
    return [
        Population(draw_rare(np.random.default_rng(seed), n_customers), cut_by="age")
        for seed in range(N_RARE)
    ]


def alarm_share(
    population: Population, sample: Draw, n: int, repetitions: int, *, seed: int = 0
) -> float:
    rng = np.random.default_rng([n, repetitions, seed])
    alarms = [
        population.compare(sample(rng, n)).verdict == Verdict.DRIFT for _ in range(repetitions)
    ]
    return float(np.mean(alarms))


def allowed(repetitions: int) -> float:
    """The level plus two standard errors."""
    return 0.05 + 2 * np.sqrt(0.05 * 0.95 / repetitions)


def checks(result: DriftResult, feature: str | None) -> dict[Check, CheckResult]:
    """The checks of one column alone, or of the clusters."""
    return {
        check.check: check
        for check in result.checks
        if check.feature == feature and check.other is None
    }


@pytest.mark.parametrize("n", [200, 1_000])
def test_false_alarms_keep_the_promised_level_on_simulated_customers(
    custsim: ModuleType, simulated_references: list[Trained], n: int
) -> None:
    # Many references as well, so that one lucky profile cannot hide a bias.
    shares = [
        alarm_share(reference, lambda rng, n: custsim.make(n, rng), n, 6, seed=seed)
        for seed, reference in enumerate(simulated_references)
    ]

    assert np.mean(shares) <= allowed(6 * N_SIMULATED)


@pytest.mark.parametrize(("n_reference", "n"), [(200, 50), (200, 2_000), (2_000, 50), (2_000, 500)])
def test_false_alarms_keep_the_promised_level_on_rare_flags_and_open_lists(
    n_reference: int, n: int
) -> None:
    # Checks of one reference are alike: many references, few checks of each.
    shares = [
        alarm_share(reference, draw_rare, n, 5, seed=seed)
        for seed, reference in enumerate(rare_references(n_reference))
    ]

    assert np.mean(shares) <= allowed(5 * N_RARE)


@pytest.mark.parametrize(
    ("drift", "at_least"),
    [
        ("shift_0.25sd", 0.95),
        ("scale_1.25", 0.9),
        ("cat_5pp", 0.8),
        ("newcat_1pct", 0.9),
        ("miss_+5pp", 0.75),
        ("mix_20pct", 0.95),
        ("corr_half", 0.95),
        ("tail_x3", 0.4),
    ],
)
def test_changes_that_matter_are_found_among_a_thousand(
    custsim: ModuleType, simulated: Trained, drift: str, at_least: float
) -> None:
    found = alarm_share(
        simulated, lambda rng, n: custsim.make(n, rng, custsim.DRIFTS[drift]), 1_000, 30
    )

    assert found >= at_least


def test_a_trifle_is_no_drift_however_many_customers_show_it() -> None:
    rng = np.random.default_rng(12)
    population = Population(draw(rng, 50_000), cut_by="age")
    current = draw(rng, 200_000)
    current["spend_eur"] *= 1.04

    result = population.compare(current)

    check = checks(result, "spend_eur")[Check.DISTRIBUTION]
    assert check.p_adjusted < 1e-3
    assert abs(check.effect) < check.floor
    assert result.verdict == Verdict.OK


def test_a_finding_needs_its_effect_over_the_floor(population: Population) -> None:
    current = draw(np.random.default_rng(13), 2_000)
    current["age"] += 4

    plain = population.compare(current)
    lenient = population.compare(current, floors=Floors(distribution=0.5, tail=1, segments=0.5))

    assert plain.verdict == Verdict.DRIFT
    assert lenient.verdict == Verdict.OK
    assert checks(lenient, "age")[Check.DISTRIBUTION].p_adjusted < 1e-6


def test_a_shift_is_reported_with_its_sign_and_size(population: Population) -> None:
    current = draw(np.random.default_rng(14), 3_000)
    current["age"] -= 13

    result = population.compare(current)

    finding = result.findings[0]
    assert (finding.feature, finding.check) == ("age", Check.DISTRIBUTION)
    assert finding.effect < -0.3
    assert finding.shown.median_shift_sd == pytest.approx(-1, abs=0.1)
    assert finding.sentence.startswith("age: median 45 before, 32 now (-1.00 reference sd)")
    assert f"first: {finding.sentence}." in result.summary
    assert result.drifted_features == ("age",)
    assert set(result.subjects) == {"age", "segments"}


def test_where_the_median_stays_the_mean_tells(population: Population) -> None:
    current = draw(np.random.default_rng(46), 3_000)
    above = (current["spend_eur"] - 20).clip(lower=0)
    current["spend_eur"] += 2 * above

    sentence = checks(population.compare(current), "spend_eur")[Check.DISTRIBUTION].sentence

    assert sentence.startswith("spend_eur: mean ")


def test_more_missing_values_are_found_and_named(population: Population) -> None:
    current = draw(np.random.default_rng(15), 2_000)
    current.loc[:399, "spend_eur"] = np.nan

    result = population.compare(current)

    assert [(f.feature, f.check) for f in result.findings] == [("spend_eur", Check.MISSING)]
    assert result.findings[0].effect == pytest.approx(0.18, abs=0.03)


def test_missing_categories_are_found_among_the_levels(population: Population) -> None:
    current = draw(np.random.default_rng(16), 2_000)
    current["channel"] = current["channel"].where(np.arange(2_000) >= 200, None)

    result = population.compare(current)

    assert [(f.feature, f.check) for f in result.findings] == [("channel", Check.LEVELS)]
    assert "missing from 0.0 % to 10.0 %" in result.findings[0].sentence


def test_a_new_level_is_found_at_one_customer_in_a_hundred(population: Population) -> None:
    current = draw(np.random.default_rng(17), 2_000)
    current.loc[:19, "channel"] = "partner"

    result = population.compare(current)

    assert [(f.feature, f.check) for f in result.findings] == [("channel", Check.UNSEEN)]
    assert result.findings[0].effect == pytest.approx(0.01)


def test_fewer_unseen_levels_than_expected_are_no_drift() -> None:
    rng = np.random.default_rng(18)
    reference = draw_rare(rng, 2_000)
    population = Population(reference, cut_by="age")
    current = draw_rare(rng, 2_000)
    current["town"] = rng.permutation(reference["town"])

    check = checks(population.compare(current), "town")[Check.UNSEEN]

    assert check.effect < -0.02
    assert check.p_adjusted < 0.05
    assert not check.drifted


@pytest.mark.parametrize("feature", ["age", "spend_eur", "newsletter", "channel"])
@pytest.mark.parametrize("n", [50, 1_000])
def test_a_column_that_is_gone_is_a_finding_of_its_own(
    population: Population, feature: str, n: int
) -> None:
    raw, scored = population.read(draw(np.random.default_rng(19), n))
    raw[feature] = np.full(n, np.nan)

    result = compare(population.profile, raw, scored, threshold=1e-9, checks_per_year=365)

    assert result.verdict == Verdict.DRIFT
    assert [(f.feature, f.check) for f in result.findings] == [(feature, Check.GONE)]
    assert sum(check.weight for check in result.checks) == pytest.approx(1)


def test_a_column_nearly_empty_before_may_be_empty_in_a_small_table() -> None:
    rng = np.random.default_rng(20)
    reference = draw(rng, 2_000)
    reference["spend_eur"] = reference["spend_eur"].where(rng.random(2_000) < 0.03)
    population = Population(reference, cut_by="age")
    current = draw(rng, 50)
    current["spend_eur"] = np.nan

    result = population.compare(current)

    assert Check.GONE not in checks(result, "spend_eur")
    assert result.verdict == Verdict.OK


def test_segment_shares_are_compared_noise_and_new_clusters_included() -> None:
    rng = np.random.default_rng(21)
    population = Population(draw(rng, 1_000), cut_by="age")
    raw, scored = population.read(draw(rng, 500))
    labels = np.where(rng.random(500) < 0.3, -1, scored.labels)
    labels[:3] = 9

    result = compare(
        population.profile, raw, Scored(labels), segment_names={0: "Loyal", 1: "Young"}
    )

    assert result.findings[0].check == Check.SEGMENTS
    assert "noise from" in result.findings[0].sentence
    assert [s.cluster for s in result.segments] == [-1, 0, 1, 2, 9]
    assert sum(s.current_share for s in result.segments) == pytest.approx(1)
    assert sum(s.reference_share for s in result.segments) == pytest.approx(1)


def test_noise_is_drift_only_where_neither_old_nor_new_customers_explain_it() -> None:
    rng = np.random.default_rng(45)
    population = Population(draw(rng, 2_000), cut_by="age")
    raw, _ = population.read(draw(rng, 2_000))
    as_new = np.where(rng.random(2_000) < 0.3, -1, 0)
    fitted = np.where(rng.random(2_000) < 0.2, -1, 0)
    profile = ReferenceProfile.fit(population.schema, raw, Scored(as_new), fitted=fitted)

    def drifted(noise_share: float) -> bool:
        labels = np.where(rng.random(2_000) < noise_share, -1, 0)
        return checks(compare(profile, raw, Scored(labels)), None)[Check.SEGMENTS].drifted

    assert not drifted(0.3) and not drifted(0.2)
    assert drifted(0.4) and drifted(0.1)
    assert compare(profile, raw, Scored(as_new)).segments[0].reference_share == pytest.approx(
        np.mean(fitted == -1)
    )


def test_one_cluster_leaves_the_family_to_the_columns(population: Population) -> None:
    raw, _ = population.read(draw(np.random.default_rng(22), 400))
    profile = ReferenceProfile.fit(
        population.schema,
        population.encoder.raw_from_frame(draw(np.random.default_rng(1), 4_000)),
        Scored(np.zeros(4_000, dtype=np.int64)),
    )

    result = compare(profile, raw, Scored(np.zeros(400, dtype=np.int64)))

    assert checks(result, None) == {}
    assert sum(check.weight for check in result.checks) == pytest.approx(1)


@pytest.mark.parametrize("n", [0, 1, 49])
def test_too_few_customers_are_insufficient_data(population: Population, n: int) -> None:
    result = population.compare(draw(np.random.default_rng(23), max(n, 1)).head(n))

    assert result.verdict == Verdict.INSUFFICIENT_DATA
    assert result.findings == result.checks == ()
    assert result.reason == (Reason.FEW_CURRENT if n else Reason.NOTHING_NEW)
    assert (f"{n} current" if n else "Nothing new") in result.summary
    json.dumps(result.to_dict(), allow_nan=False)


def test_two_hundred_reference_customers_are_enough_and_one_fewer_are_not() -> None:
    rng = np.random.default_rng(24)
    current = draw(rng, 100)

    enough = Population(draw(rng, 200), cut_by="age").compare(current)
    too_few = Population(draw(rng, 199), cut_by="age").compare(current)

    assert enough.verdict != Verdict.INSUFFICIENT_DATA
    assert too_few.verdict == Verdict.INSUFFICIENT_DATA
    assert too_few.reason == Reason.FEW_IN_REFERENCE


def test_ok_states_the_smallest_visible_shift() -> None:
    rng = np.random.default_rng(25)
    reference = pd.DataFrame({f"v{i}": rng.normal(size=5_000) for i in range(10)})
    population = Population(reference, cut_by="v0")

    result = population.compare(pd.DataFrame(rng.normal(size=(200, 10)), columns=reference.columns))

    # Ten columns share a half, each 4/6 for its distribution and 1/6 for each tail: w = 1/30.
    # z(1 - .05 / 30 / 2) = 3.1440 by tables; sqrt(1 / 5000 + 1 / 200) = .07211
    assert result.smallest_visible_shift_sd == pytest.approx((3.1440 + 0.84) * 0.07211, abs=1e-3)
    assert "0.29 sd" in result.summary


def test_values_outside_the_range_seen_are_counted(population: Population) -> None:
    current = draw(np.random.default_rng(26), 1_000)
    current.loc[:99, "rating"] = 50.0

    result = population.compare(current)

    check = checks(result, "rating")[Check.DISTRIBUTION]
    assert check.shown.out_of_range_share == pytest.approx(0.1)
    assert check.drifted


def test_a_column_that_turns_constant_is_drift(population: Population) -> None:
    current = draw(np.random.default_rng(27), 300)
    current["rating"] = 4.0

    assert "rating" in population.compare(current).drifted_features


def test_a_profile_read_back_gives_the_very_same_result(population: Population) -> None:
    current = draw(np.random.default_rng(28), 500)
    current["age"] += 2
    again = ReferenceProfile.from_dict(json.loads(json.dumps(population.profile.to_dict())))

    result = compare(again, *population.read(current))

    assert result == population.compare(current)


def test_the_order_of_the_customers_does_not_matter(population: Population) -> None:
    current = draw(np.random.default_rng(29), 500)

    shuffled = population.compare(current.sample(frac=1, random_state=3))

    plain = population.compare(current)
    assert shuffled.verdict == plain.verdict
    assert [c.p_value for c in shuffled.checks] == pytest.approx(
        [c.p_value for c in plain.checks], rel=1e-9
    )


def test_the_result_is_plain_json(population: Population) -> None:
    current = draw(np.random.default_rng(30), 500)
    current["age"] += 5

    plain = json.loads(json.dumps(population.compare(current).to_dict(), allow_nan=False))

    assert plain["verdict"] == "drift"
    assert "age" in {finding["feature"] for finding in plain["findings"]}
    assert set(plain["subjects"]) == {"age", "segments"}
    assert plain["segments"][0]["cluster"] == -1


def test_nonsense_is_refused_by_name(population: Population) -> None:
    raw, scored = population.read(draw(np.random.default_rng(31), 100))

    with pytest.raises(ValueError, match="threshold"):
        compare(population.profile, raw, scored, threshold=0.0)
    with pytest.raises(ValueError, match="checks_per_year"):
        compare(population.profile, raw, scored, checks_per_year=0.5)
    with pytest.raises(ValueError, match="days_since_training"):
        compare(population.profile, raw, scored, days_since_training=-1)
    with pytest.raises(ValueError, match="99 labels for 100 customers"):
        compare(population.profile, raw, Scored(scored.labels[1:]))
    with pytest.raises(ValueError, match="'spend_eur' has shape"):
        compare(population.profile, raw | {"spend_eur": raw["spend_eur"][1:]}, scored)
    with pytest.raises(ValueError, match="'channel' is not among"):
        compare(population.profile, {k: v for k, v in raw.items() if k != "channel"}, scored)
    with pytest.raises(ValueError, match="floor 'missing'"):
        Floors(missing=2)


def test_a_broken_link_is_found_among_two_hundred_and_named(
    custsim: ModuleType, simulated: Trained
) -> None:
    current = custsim.make(200, np.random.default_rng(32), custsim.DRIFTS["corr_half"])

    result = simulated.compare(current)

    finding = result.findings[0]
    assert (finding.feature, finding.other) == ("orders", "monetary")
    assert finding.effect < -0.2
    assert "correlation of ranks +0.8" in finding.sentence
    assert "orders" not in result.drifted_features


def test_a_tail_that_grows_is_found_inside_it(custsim: ModuleType, simulated: Trained) -> None:
    current = custsim.make(4_000, np.random.default_rng(33), custsim.DRIFTS["tail_x3"])

    result = simulated.compare(current)

    tail = checks(result, "monetary")[Check.UPPER_TAIL]
    assert tail.drifted and tail.effect > tail.floor
    assert "the mean of values above" in tail.sentence
    assert not checks(result, "monetary")[Check.DISTRIBUTION].drifted


def test_customers_far_from_every_segment_are_found_and_located(
    custsim: ModuleType, simulated: Trained
) -> None:
    current = custsim.make(1_000, np.random.default_rng(34))
    current.loc[:39, ["age", "orders"]] = [95.0, 60.0]

    far = checks(simulated.compare(current), None)[Check.FAR]

    assert far.drifted
    assert far.effect == pytest.approx(0.04, abs=0.02)
    assert "a new segment may be forming at" in far.sentence and "age +" in far.sentence


def test_fewer_far_customers_are_no_drift(simulated: Trained) -> None:
    columns = {column.name: np.zeros(5_000) for column in simulated.profile.columns}
    near = Scored(np.zeros(5_000, dtype=np.int64), np.zeros(5_000))
    far = checks(compare(simulated.profile, columns, near), None)[Check.FAR]

    assert far.effect < 0 and far.p_adjusted < 1e-3
    assert not far.drifted


def test_customers_closer_to_their_segments_are_no_drift(simulated: Trained) -> None:
    """Those of the training are when they come back, and were held out for the reference."""
    columns = {column.name: np.zeros(5_000) for column in simulated.profile.columns}
    near = Scored(np.zeros(5_000, dtype=np.int64), np.zeros(5_000))

    distance = checks(compare(simulated.profile, columns, near), None)[Check.DISTANCE]

    assert distance.effect < -0.5 and distance.p_adjusted < 1e-9
    assert not distance.drifted


def test_the_segment_that_changed_inside_is_described(
    custsim: ModuleType, simulated: Trained
) -> None:
    current = custsim.make(4_000, np.random.default_rng(35))
    raw, scored = simulated.read(current)
    moved = raw | {"satisfaction": np.where(scored.labels == 1, 1.0, raw["satisfaction"])}

    shifts = compare(simulated.profile, moved, scored, segment_names={1: "Loyal"}).inside

    assert {(shift.cluster, shift.feature) for shift in shifts} == {(1, "satisfaction")}
    assert shifts[0].effect < -0.5
    assert shifts[0].sentence.startswith("Loyal: satisfaction lies lower")
    assert compare(simulated.profile, raw, scored).inside == ()


def test_a_finding_is_a_warning_until_it_is_sure_or_found_again() -> None:
    rng = np.random.default_rng(36)
    population = Population(draw(rng, 4_000), cut_by="age")
    current = draw(rng, 1_000)
    current["rating"] = np.minimum(current["rating"] + (rng.random(1_000) < 0.25), 5)
    alone = population.compare(current)
    assert {finding.feature for finding in alone.findings} == {"rating"}
    strict = 1.0 + 0.5 * (alone.threshold / alone.findings[0].p_adjusted - 1.0)

    warning = population.compare(current, checks_per_year=strict)
    again = population.compare(current, checks_per_year=strict, previous_subjects=warning.subjects)
    other = population.compare(
        current, checks_per_year=strict, previous_subjects=["age", "segments"]
    )

    assert alone.verdict == Verdict.DRIFT
    assert (warning.verdict, again.verdict, other.verdict) == ("warning", "drift", "warning")
    assert warning.alarm_threshold == pytest.approx(0.05 / (3 * strict - 2))
    assert "counts as drift once the next check finds it again" in warning.summary


def test_with_more_checks_a_year_what_repeats_must_be_surer() -> None:
    rng = np.random.default_rng(36)
    population = Population(draw(rng, 4_000), cut_by="age")
    current = draw(rng, 1_000)
    current["rating"] = np.minimum(current["rating"] + (rng.random(1_000) < 0.25), 5)
    found = population.compare(current).findings[0]
    too_many = 2.0 * 52 * (0.05 / found.p_adjusted) ** 2

    weekly = population.compare(current, checks_per_year=52)
    ceaseless = population.compare(current, checks_per_year=too_many, previous_subjects=["rating"])

    assert weekly.repeat_threshold == 0.05
    assert ceaseless.repeat_threshold == pytest.approx(found.p_adjusted / 2**0.5)
    assert (ceaseless.verdict, ceaseless.subjects) == ("warning", ())


@pytest.mark.parametrize("days", [0, 90])
def test_dates_that_stay_or_move_with_the_clock_are_no_drift(days: int) -> None:
    rng = np.random.default_rng(37)
    population = dated(rng, 3_000)
    bought, joined = rng.exponential(60, 1_000), rng.uniform(0, 900, 1_000)
    came_since = rng.random(1_000) < 0.3 * (days > 0)
    joined = np.where(came_since, -rng.uniform(0, days, 1_000), joined)
    raw = {"bought": np.floor(bought) - days, "joined": np.floor(joined), "age": ages(rng, 1_000)}

    result = compare(population, raw, all_alike(1_000), days_since_training=days)

    assert result.verdict == Verdict.OK


@pytest.mark.parametrize("days", [0, 90])
def test_dates_that_neither_stay_nor_move_are_drift(days: int) -> None:
    rng = np.random.default_rng(38)
    population = dated(rng, 3_000)
    epoch = np.full(1_000, 20_000.0)
    raw = {"bought": epoch, "joined": np.floor(rng.uniform(0, 900, 1_000)), "age": ages(rng, 1_000)}

    result = compare(population, raw, all_alike(1_000), days_since_training=days)

    assert result.drifted_features == ("bought",)
    assert "20,000 days before" in result.findings[0].sentence or days == 0


def ages(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.round(rng.normal(45, 13, n))


def all_alike(n: int) -> Scored:
    return Scored(np.zeros(n, dtype=np.int64))


def dated(rng: np.random.Generator, n: int) -> ReferenceProfile:
    """A profile of last purchases and sign-ups, in days before training."""
    day = pd.Timestamp("2026-01-01")
    days = {"bought": np.floor(rng.exponential(60, n)), "joined": np.floor(rng.uniform(0, 900, n))}
    frame = pd.DataFrame(
        {name: (day - pd.to_timedelta(ago, "D")).strftime("%Y-%m-%d") for name, ago in days.items()}
    )
    frame["age"] = ages(rng, n)
    schema = learn_schema(frame, as_of=day.date())
    return ReferenceProfile.fit(schema, FeatureEncoder(schema).raw_from_frame(frame), all_alike(n))


def test_a_column_of_another_type_is_told_from_one_that_is_gone(population: Population) -> None:
    raw, scored = population.read(draw(np.random.default_rng(39), 300))
    raw["spend_eur"] = np.full(300, np.nan)

    result = compare(population.profile, raw, scored, unreadable={"spend_eur": 290})

    assert result.verdict == Verdict.DRIFT
    assert [(f.feature, f.check) for f in result.findings] == [("spend_eur", Check.RETYPED)]
    assert "every value is of another type; 92" in result.findings[0].sentence


def test_some_values_of_another_type_are_mentioned(population: Population) -> None:
    raw, scored = population.read(draw(np.random.default_rng(40), 1_000))
    raw["spend_eur"] = np.where(np.arange(1_000) < 200, np.nan, raw["spend_eur"])

    result = compare(population.profile, raw, scored, unreadable={"spend_eur": 180})

    assert "180 values of another type among them" in result.findings[0].sentence


def test_when_every_column_is_gone_that_is_what_is_said(population: Population) -> None:
    raw, scored = population.read(draw(np.random.default_rng(41), 200))
    nothing = {name: np.full(200, np.nan) for name in raw}

    result = compare(population.profile, nothing, scored)

    assert {finding.check for finding in result.findings} == {Check.GONE}
    assert len(result.findings) == 5
    assert sum(check.weight for check in result.checks) == pytest.approx(1)


def test_a_sample_of_scored_customers_stands_for_all(
    custsim: ModuleType, simulated: Trained
) -> None:
    raw, scored = simulated.read(custsim.make(2_000, np.random.default_rng(42)))
    rows = np.arange(0, 2_000, 4)
    assert scored.distances is not None
    sampled = Scored(scored.labels[rows], scored.distances[rows], rows)

    result = compare(simulated.profile, raw, sampled)

    assert (result.n_current, result.n_scored) == (2_000, 500)
    assert checks(result, None)[Check.SEGMENTS].n_current == 500
    assert result.verdict == Verdict.OK


def test_figures_that_people_know_are_shown_and_decide_nothing(population: Population) -> None:
    current = draw(np.random.default_rng(43), 2_000)
    current["spend_eur"] *= 2

    shown = checks(population.compare(current), "spend_eur")[Check.DISTRIBUTION].shown

    assert shown.mean_before is not None and shown.mean_now is not None
    assert shown.mean_now / shown.mean_before == pytest.approx(2, rel=0.15)
    assert shown.psi is not None and shown.psi > 0.25
    assert shown.jensen_shannon is not None and 0 < shown.jensen_shannon < 0.84
    assert shown.wasserstein_sd is not None and shown.wasserstein_sd > 0.5


def test_a_profile_of_the_first_format_is_still_compared(simulated: Trained) -> None:
    stored = simulated.profile.to_dict()
    for name in ("pairs", "distances", "inside"):
        del stored[name]
    for column in stored["columns"]:
        for name in ("lower_tail", "upper_tail", "means"):
            column.pop(name, None)
    first = ReferenceProfile.from_dict(stored | {"format": 1})
    rng = np.random.default_rng(44)
    raw = {column.name: rng.normal(size=300) for column in first.columns}
    raw |= {"channel": np.zeros(300), "region": np.zeros(300)}

    result = compare(first, raw, Scored(np.zeros(300, dtype=np.int64), np.ones(300)))

    assert {Check.DISTRIBUTION, Check.SEGMENTS} <= {check.check for check in result.checks}
    assert not {Check.CORRELATION, Check.UPPER_TAIL, Check.DISTANCE} & {
        check.check for check in result.checks
    }
    assert sum(check.weight for check in result.checks) == pytest.approx(1)


def test_the_module_loads_without_pandas_or_scikit_learn() -> None:
    probe = "import sys, ml.drift; print({'pandas', 'sklearn', 'scipy.stats'} & set(sys.modules))"

    loaded = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )

    assert loaded.stdout.strip() == "set()"
