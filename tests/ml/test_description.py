"""What sets a cluster apart, on tables small enough to see by eye."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from ml.description import ClusterDescription, describe_clusters
from ml.encoder import FeatureEncoder
from ml.schema_learning import learn_schema

AS_OF = date(2026, 1, 31)


def describe(columns: dict[str, list[object]], labels: list[int]) -> list[ClusterDescription]:
    frame = pd.DataFrame(columns)
    schema = learn_schema(frame, as_of=AS_OF)
    raw = FeatureEncoder(schema).raw_from_frame(frame)
    return describe_clusters(schema, raw, np.array(labels, dtype=np.int64))


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
