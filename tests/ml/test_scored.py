"""Customers as a version sees them: all of them, or a seeded sample."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from ml.clusterers import DBSCANModel, KMeansModel
from ml.encoder import FeatureEncoder
from ml.row_samples import sample_rows
from ml.schema_learning import learn_schema
from ml.scored import MAX_SCORED_DBSCAN, Scored, score


def test_a_sample_is_spread_over_the_table_and_repeats_itself() -> None:
    rows = sample_rows(1_003, 100, random_state=5)

    assert rows is not None
    assert len(np.unique(rows)) == 100
    assert (np.abs(rows - np.arange(100) * 10.03) <= 11).all()
    np.testing.assert_array_equal(rows, sample_rows(1_003, 100, random_state=5))
    assert sample_rows(100, 100, random_state=5) is None


def test_every_row_is_as_likely_in_a_sample() -> None:
    drawn = [sample_rows(10, 4, random_state=seed) for seed in range(4_000)]

    shares = np.bincount(np.concatenate(drawn), minlength=10) / 4_000

    np.testing.assert_allclose(shares.sum(), 4)
    assert shares.min() > 0.3 and shares.max() < 0.55  # stretches of 2 and 3 rows


def test_few_customers_are_all_scored_and_many_in_a_sample() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"age": rng.normal(size=300), "spend": rng.normal(size=300)})
    encoder = FeatureEncoder(learn_schema(frame, as_of=date(2026, 1, 1)))
    many = {name: rng.normal(size=MAX_SCORED_DBSCAN + 1) for name in ("age", "spend")}
    core = DBSCANModel(np.zeros((1, 2)), np.zeros(1, dtype=np.int64), 1.0)

    everyone = score(encoder, KMeansModel(np.zeros((1, 2))), many, random_state=0)
    sampled = score(encoder, core, many, random_state=0)

    assert everyone.rows is None and len(everyone.labels) == MAX_SCORED_DBSCAN + 1
    assert sampled.rows is not None and len(sampled.labels) == MAX_SCORED_DBSCAN
    expected = core.predict(encoder.encode({k: v[sampled.rows] for k, v in many.items()}))
    np.testing.assert_array_equal(sampled.labels, expected.labels)


def test_what_does_not_fit_together_is_refused() -> None:
    labels = np.zeros(3, dtype=np.int64)

    with pytest.raises(ValueError, match="one distance a label"):
        Scored(labels, np.zeros(2))
    with pytest.raises(ValueError, match="one row a label"):
        Scored(labels, None, np.arange(2))
    with pytest.raises(ValueError, match="3 labels for 4 customers"):
        Scored(labels).n_customers({"age": np.zeros(4)})
    with pytest.raises(ValueError, match="beyond the customers"):
        Scored(labels, None, np.array([0, 1, 4])).n_customers({"age": np.zeros(4)})
