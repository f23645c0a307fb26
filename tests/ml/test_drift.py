"""The whole comparison: quiet without a change, awake with one, honest where it cannot know."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from ml.drift import Check, DriftResult, Floors, ReferenceProfile, Verdict, compare
from ml.encoder import FeatureEncoder
from ml.features import FeatureSchema, RawColumns
from ml.schema_learning import learn_schema

Labels = np.ndarray
Draw = Callable[[np.random.Generator, int], pd.DataFrame]


class Population:
    """A profiled reference of one kind of customer, and comparisons of frames with it."""

    def __init__(self, reference: pd.DataFrame, cut_by: str) -> None:
        self.schema: FeatureSchema = learn_schema(reference, as_of=date(2026, 1, 1))
        self.encoder = FeatureEncoder(self.schema)
        self.cuts = np.nanquantile(reference[cut_by], [0.2, 0.5, 0.9])
        self.cut_by = cut_by
        self.profile = ReferenceProfile.fit(self.schema, *self.read(reference))

    def read(self, frame: pd.DataFrame) -> tuple[RawColumns, Labels]:
        values = frame[self.cut_by].fillna(frame[self.cut_by].median())
        return self.encoder.raw_from_frame(frame), np.searchsorted(self.cuts, values) - 1

    def compare(self, frame: pd.DataFrame, **options) -> DriftResult:
        return compare(self.profile, *self.read(frame), **options)


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


@pytest.fixture
def custsim(shared_data: Path) -> ModuleType:
    path = shared_data.parent / "bench" / "custsim.py"
    spec = importlib.util.spec_from_file_location("custsim", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def alarm_share(population: Population, sample: Draw, n: int, repetitions: int) -> float:
    rng = np.random.default_rng(n + repetitions)
    alarms = [
        population.compare(sample(rng, n)).verdict == Verdict.DRIFT for _ in range(repetitions)
    ]
    return float(np.mean(alarms))


def allowed(repetitions: int) -> float:
    """The level plus two standard errors."""
    return 0.05 + 2 * np.sqrt(0.05 * 0.95 / repetitions)


def checks(result: DriftResult, feature: str) -> dict[Check, object]:
    return {check.check: check for check in result.features if check.feature == feature}


@pytest.mark.parametrize("n", [200, 1_000])
def test_false_alarms_keep_the_promised_level_on_simulated_customers(
    custsim: ModuleType, n: int
) -> None:
    # Fresh references as well, so that one lucky profile cannot hide a bias.
    references = [
        Population(custsim.make(5_000, np.random.default_rng(seed)), cut_by="tenure_months")
        for seed in range(4)
    ]

    shares = [
        alarm_share(reference, lambda rng, n: custsim.make(n, rng), n, 50 + i)
        for i, reference in enumerate(references)
    ]

    assert np.mean(shares) <= allowed(206)


@pytest.mark.parametrize(("n_reference", "n"), [(200, 50), (200, 2_000), (2_000, 50), (2_000, 500)])
def test_false_alarms_keep_the_promised_level_on_rare_flags_and_open_lists(
    n_reference: int, n: int
) -> None:
    references = [
        Population(draw_rare(np.random.default_rng(seed), n_reference), cut_by="age")
        for seed in range(20)
    ]

    shares = [
        alarm_share(reference, draw_rare, n, 10 + i) for i, reference in enumerate(references)
    ]

    assert np.mean(shares) <= allowed(390)


@pytest.mark.parametrize(
    ("drift", "at_least"),
    [
        ("shift_0.25sd", 0.95),
        ("scale_1.25", 0.9),
        ("cat_5pp", 0.8),
        ("newcat_1pct", 0.9),
        ("miss_+5pp", 0.85),
        ("mix_20pct", 0.95),
    ],
)
def test_changes_that_matter_are_found_among_a_thousand(
    custsim: ModuleType, drift: str, at_least: float
) -> None:
    population = Population(custsim.make(5_000, np.random.default_rng(0)), cut_by="tenure_months")

    found = alarm_share(
        population, lambda rng, n: custsim.make(n, rng, custsim.DRIFTS[drift]), 1_000, 40
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
    lenient = population.compare(current, floors=Floors(distribution=0.5, segments=0.5))

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
    assert finding.median_shift_sd == pytest.approx(-1, abs=0.1)
    assert finding.sentence.startswith("age: median -")
    assert result.summary.endswith(f"first: {finding.sentence}.")
    assert result.drifted_features == ("age",)


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
    raw, labels = population.read(draw(np.random.default_rng(19), n))
    raw[feature] = np.full(n, np.nan)

    result = compare(population.profile, raw, labels, threshold=1e-9)

    assert result.verdict == Verdict.DRIFT
    assert [(f.feature, f.check) for f in result.findings] == [(feature, Check.GONE)]
    assert sum(c.weight for c in (*result.features, result.segment_drift)) == pytest.approx(1)


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
    raw, labels = population.read(draw(rng, 500))
    labels = np.where(rng.random(500) < 0.3, -1, labels)
    labels[:3] = 9

    result = compare(population.profile, raw, labels)

    assert result.findings[0].check == Check.SEGMENTS
    assert "noise from" in result.findings[0].sentence
    assert [s.cluster for s in result.segments] == [-1, 0, 1, 2, 9]
    assert sum(s.current_share for s in result.segments) == pytest.approx(1)
    assert sum(s.reference_share for s in result.segments) == pytest.approx(1)


def test_one_cluster_leaves_the_family_to_the_columns(population: Population) -> None:
    raw, labels = population.read(draw(np.random.default_rng(22), 400))
    profile = ReferenceProfile.fit(
        population.schema,
        population.encoder.raw_from_frame(draw(np.random.default_rng(1), 4_000)),
        np.zeros(4_000, dtype=np.int64),
    )

    result = compare(profile, raw, np.zeros_like(labels))

    assert result.segment_drift is None
    assert sum(check.weight for check in result.features) == pytest.approx(1)


@pytest.mark.parametrize("n", [0, 1, 49])
def test_too_few_customers_are_insufficient_data(population: Population, n: int) -> None:
    result = population.compare(draw(np.random.default_rng(23), max(n, 1)).head(n))

    assert result.verdict == Verdict.INSUFFICIENT_DATA
    assert result.findings == result.features == ()
    assert f"{n} current" in result.summary
    json.dumps(result.to_dict(), allow_nan=False)


def test_two_hundred_reference_customers_are_enough_and_one_fewer_are_not() -> None:
    rng = np.random.default_rng(24)
    current = draw(rng, 100)

    enough = Population(draw(rng, 200), cut_by="age").compare(current)
    too_few = Population(draw(rng, 199), cut_by="age").compare(current)

    assert enough.verdict != Verdict.INSUFFICIENT_DATA
    assert too_few.verdict == Verdict.INSUFFICIENT_DATA


def test_ok_states_the_smallest_visible_shift() -> None:
    rng = np.random.default_rng(25)
    reference = pd.DataFrame({f"v{i}": rng.normal(size=5_000) for i in range(10)})
    population = Population(reference, cut_by="v0")

    result = population.compare(pd.DataFrame(rng.normal(size=(200, 10)), columns=reference.columns))

    # z(1 - .05 * .075 / 2) = 2.8987 by tables; sqrt(1 / 5000 + 1 / 200) = .07211
    assert result.smallest_visible_shift_sd == pytest.approx((2.8987 + 0.84) * 0.07211, abs=1e-3)
    assert "0.27 sd" in result.summary


def test_values_outside_the_range_seen_are_counted(population: Population) -> None:
    current = draw(np.random.default_rng(26), 1_000)
    current.loc[:99, "rating"] = 50.0

    result = population.compare(current)

    check = checks(result, "rating")[Check.DISTRIBUTION]
    assert check.out_of_range_share == pytest.approx(0.1)
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

    assert shuffled == population.compare(current)


def test_the_result_is_plain_json(population: Population) -> None:
    current = draw(np.random.default_rng(30), 500)
    current["age"] += 5

    plain = json.loads(json.dumps(population.compare(current).to_dict(), allow_nan=False))

    assert plain["verdict"] == "drift"
    assert plain["findings"][0]["feature"] == "age"
    assert plain["segments"][0]["cluster"] == -1


def test_nonsense_is_refused_by_name(population: Population) -> None:
    raw, labels = population.read(draw(np.random.default_rng(31), 100))

    with pytest.raises(ValueError, match="threshold"):
        compare(population.profile, raw, labels, threshold=0.0)
    with pytest.raises(ValueError, match="'age' has shape"):
        compare(population.profile, raw, labels[1:])
    with pytest.raises(ValueError, match="'channel' is not among"):
        compare(population.profile, {k: v for k, v in raw.items() if k != "channel"}, labels)
    with pytest.raises(ValueError, match="floor 'missing'"):
        Floors(missing=2)


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
