"""What sets a cluster apart, on tables small enough to see by eye."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ml.cluster_fits import fit_kmeans
from ml.cluster_names import feature_title
from ml.cluster_profiles import ClusterDescription
from ml.clusterers import KMeansModel
from ml.description import describe_clusters
from ml.encoder import FeatureEncoder
from ml.schema_learning import learn_schema
from ml.stability import cluster_stability

AS_OF = date(2026, 1, 31)


def describe(
    columns: dict[str, list[object]],
    labels: list[int],
    *,
    confidence: NDArray[np.float64] | None = None,
) -> list[ClusterDescription]:
    frame = pd.DataFrame(columns)
    schema = learn_schema(frame, as_of=AS_OF)
    raw = FeatureEncoder(schema).raw_from_frame(frame)
    return describe_clusters(schema, raw, np.array(labels, dtype=np.int64), confidence=confidence)


def two_groups(**more: list[object]) -> dict[str, list[object]]:
    return {"spend": [1.0, 2, 3, 2, 21, 22, 23, 22], **more}


def test_a_cluster_has_its_size_share_and_medians() -> None:
    low, high = describe(two_groups(), [0, 0, 0, 0, 1, 1, 1, 1])

    assert (low.n_customers, low.share) == (4, 0.5)
    assert (low.medians["spend"], high.medians["spend"]) == (2.0, 22.0)


def test_the_difference_is_the_standardised_mean_difference() -> None:
    (low, _) = describe(two_groups(), [0, 0, 0, 0, 1, 1, 1, 1])
    spend = np.array(two_groups()["spend"], dtype=float)

    expected = (spend[:4].mean() - spend.mean()) / spend.std()
    assert low.distinguishing[0].difference == pytest.approx(expected)


def test_a_name_says_what_is_high_and_low() -> None:
    low, high = describe(two_groups(), [0, 0, 0, 0, 1, 1, 1, 1])

    assert (low.suggested_name, high.suggested_name) == ("Low spend", "High spend")


def test_a_level_names_the_cluster_that_it_fills() -> None:
    columns = two_groups(channel=["web"] * 4 + ["store"] * 4)

    low, high = describe(columns, [0, 0, 0, 0, 1, 1, 1, 1])

    assert low.medians["channel"] == "web"
    assert "channel store" in high.suggested_name.lower()


def test_a_date_is_shown_as_a_date_and_called_early_or_late() -> None:
    days = ["2020-01-01", "2020-01-02", "2020-01-05", "2020-01-03"]
    late = ["2025-01-01", "2025-01-04", "2025-01-02", "2025-01-07"]

    early, recent = describe({"joined": [*days, *late]}, [0, 0, 0, 0, 1, 1, 1, 1])

    assert early.medians["joined"] in ("2020-01-02", "2020-01-03")
    assert (early.suggested_name, recent.suggested_name) == ("Early joined", "Late joined")


def test_noise_is_not_described_but_counts_among_everyone() -> None:
    (only,) = describe(two_groups(), [-1, -1, -1, -1, 0, 0, 0, 0])

    assert (only.cluster, only.share) == (0, 0.5)


def test_a_cluster_like_everyone_is_typical() -> None:
    (only,) = describe(two_groups(), [0] * 8)

    assert only.suggested_name == "Typical customers"


def test_a_feature_nobody_in_the_cluster_has_is_unknown() -> None:
    columns = two_groups(age=[None, None, None, None, 30.0, 40.0, 50.0, 61.0])

    low, _ = describe(columns, [0, 0, 0, 0, 1, 1, 1, 1])

    assert low.medians["age"] is None


def test_the_robust_difference_is_between_medians_in_units_of_the_mad() -> None:
    low, high = describe(two_groups(), [0, 0, 0, 0, 1, 1, 1, 1])

    (profile,) = high.features
    assert profile.everyone_median == 12.0  # 1 2 2 3 | 21 22 22 23
    assert profile.robust_difference == pytest.approx((22 - 12) / (1.4826 * 10))
    assert low.features[0].robust_difference == pytest.approx((2 - 12) / (1.4826 * 10))


def test_a_feature_that_most_share_is_measured_by_its_mean_deviation() -> None:
    visits = [0.0, 0, 0, 0, 0, 4, 4, 4]

    _, visitors = describe({"visits": visits}, [0, 0, 0, 0, 0, 1, 1, 1])

    (profile,) = visitors.features
    assert profile.robust_difference == pytest.approx(4 / (1.2533 * 1.5))


def test_a_level_has_its_share_ratio() -> None:
    columns = two_groups(channel=["web", "web", "web", "store"] + ["store"] * 4)

    low, _ = describe(columns, [0, 0, 0, 0, 1, 1, 1, 1])

    web, store = low.features[1].levels
    assert (web.level, web.share, web.everyone_share, web.ratio) == ("web", 0.75, 0.375, 2.0)
    assert (store.share, store.ratio) == (0.25, 0.4)


def test_a_boolean_has_the_share_of_yes() -> None:
    columns = two_groups(newsletter=[True, True, True, False, False, False, False, False])

    low, _ = describe(columns, [0, 0, 0, 0, 1, 1, 1, 1])

    (yes,) = low.features[1].levels
    assert (yes.level, yes.share, yes.ratio) == ("yes", 0.75, 2.0)


def test_missing_shares_are_of_the_cluster_and_of_everyone() -> None:
    columns = two_groups(age=[None, None, None, 20.0, 30.0, 40.0, 50.0, 61.0])

    low, high = describe(columns, [0, 0, 0, 0, 1, 1, 1, 1])

    assert (low.features[1].missing_share, high.features[1].missing_share) == (0.75, 0.0)
    assert low.features[1].everyone_missing_share == 0.375


def test_the_low_confidence_share_is_of_the_own_cluster() -> None:
    confidence = np.array([0.09, 0.1, 0.5, 0.9, 0.0, 0.05, 0.02, 0.9])

    low, high = describe(two_groups(), [0, 0, 0, 0, 1, 1, 1, 1], confidence=confidence)

    assert (low.low_confidence_share, high.low_confidence_share) == (0.25, 0.75)


def test_without_confidence_there_is_no_share_of_it() -> None:
    low, _ = describe(two_groups(), [0, 0, 0, 0, 1, 1, 1, 1])

    assert low.low_confidence_share is None


def test_a_description_is_plain_json() -> None:
    columns = two_groups(channel=["web", None] * 4, joined=["2020-01-01", "2021-01-01"] * 4)

    for description in describe(columns, [0, 0, 0, 0, 1, 1, 1, 1]):
        assert json.loads(json.dumps(description.to_dict(), allow_nan=False))


def test_clusters_that_would_share_a_name_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    spend = [*rng.normal(90, 1, 40), *rng.normal(10, 1, 80)]
    age = [*rng.normal(40, 1, 40), *rng.normal(43, 1, 40), *rng.normal(37, 1, 40)]
    columns = {"spend": spend, "age": [float(a) for a in age]}

    names = [d.suggested_name for d in describe(columns, [0] * 40 + [1] * 40 + [2] * 40)]

    assert len(set(names)) == 3
    assert names[1:] == ["High age, low spend", "Low age, low spend"]


def test_clusters_near_everyone_differ_by_what_sets_them_apart() -> None:
    columns = {
        "spend": [1.0, 2, 3, 4, 5, 6, 7, 8] * 2,
        "age": [30.0, 31, 32, 33, 34, 35, 36, 37, 31, 32, 33, 34, 35, 36, 37, 38],
    }

    names = [d.suggested_name for d in describe(columns, [0] * 8 + [1] * 8)]

    assert names == ["Typical customers, lower age", "Typical customers, higher age"]


def test_with_one_feature_the_value_tells_them_apart() -> None:
    spend = [1.0, 2, 1, 2, 3, 4, 3, 4, 40, 50, 45, 60]

    names = [d.suggested_name for d in describe({"spend": spend}, [0] * 4 + [1] * 4 + [2] * 4)]

    assert names == ["Low spend, around 1.5", "Low spend, around 3.5", "Very high spend"]


def test_a_name_does_not_say_the_same_thing_twice() -> None:
    columns = {
        "page visits": [1.0, 2, 3, 2, 21, 22, 23, 22],
        "page minutes": [10.0, 20, 30, 21, 211, 222, 233, 220],
        "age": [20.0, 35, 25, 30, 40, 31, 45, 50],
    }

    low, high = describe(columns, [0, 0, 0, 0, 1, 1, 1, 1])

    assert high.distinguishing[1].feature == "page minutes"
    assert (low.suggested_name, high.suggested_name) == (
        "Low page visits, low age",
        "High page visits, high age",
    )


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Annual_Income (k$)", "annual income (k$)"),
        ("MntWines", "mnt wines"),
        ("recency_days", "recency days"),
        ("RFM", "RFM"),
        ("_", "_"),
    ],
)
def test_a_title_is_what_a_person_would_say(name: str, title: str) -> None:
    assert feature_title(name) == title


def test_clear_clusters_are_stable_and_a_cut_through_one_is_not() -> None:
    rng = np.random.default_rng(3)
    clear = rng.normal(scale=0.1, size=(150, 2)) + 30.0
    round_ = rng.normal(size=(150, 2))
    X = np.vstack([clear, round_])
    labels = np.concatenate([np.zeros(150), 1 + (round_[:, 0] > 0)]).astype(np.int64)

    stability = cluster_stability(
        lambda rows: fit_kmeans(rows, n_clusters=3, n_init=3, random_state=0)[0],
        X,
        labels,
        random_state=0,
        n_bootstraps=8,
    )

    assert stability[0] == pytest.approx(1.0)
    assert max(stability[1], stability[2]) < 0.8


def test_a_stability_is_the_best_jaccard() -> None:
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    model = KMeansModel(np.array([[0.0], [3.0]]))  # finds {0, 1} and {2, 3}

    stability = cluster_stability(
        lambda rows: model, X, np.array([0, 1, 1, -1]), random_state=0, n_bootstraps=2
    )

    assert stability == {0: 0.5, 1: pytest.approx(1 / 3)}
