"""Training customers scored as if they were new: without the model's own bias towards them."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from ml.cluster_fits import fit_dbscan
from ml.clusterers import NOISE, DBSCANModel
from ml.encoder import FeatureEncoder
from ml.evaluation import evaluate
from ml.fitting import Fit, fit_clusters
from ml.held_out import score_held_out
from ml.schema_learning import learn_schema
from ml.scored import score


def blobs(rng: np.random.Generator, n: int) -> np.ndarray:
    centres = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]])
    return centres[rng.integers(3, size=n)] + rng.normal(size=(n, 3))


def dbscan(X: np.ndarray, eps: float, min_samples: int) -> Fit:
    model, labels = fit_dbscan(X, eps=eps, min_samples=min_samples)
    return Fit(
        model=model,
        labels=labels,
        parameters={"eps": eps, "min_samples": min_samples, "random_state": 0},
        selection=None,
        quality=evaluate(X, labels, random_state=0),
        degenerate_reason=None,
    )


def test_centres_lie_no_closer_to_held_out_customers_than_to_new_ones() -> None:
    rng = np.random.default_rng(1)
    within, held_out, new = [], [], []
    for _ in range(12):
        X = blobs(rng, 120)
        fit = fit_clusters("kmeans", X, parameters={"n_clusters": 6, "n_init": 1})
        within.append(fit.model.predict(X).distances.mean())
        held_out.append(score_held_out(X, fit).distances.mean())
        new.append(fit.model.predict(blobs(rng, 2_000)).distances.mean())

    # The centres themselves are chosen among the same customers, so a little of the bias stays.
    bias, before = np.mean(new) - np.mean(held_out), np.mean(new) - np.mean(within)
    assert before > 0.1
    assert abs(bias) < before / 3


def test_held_out_customers_are_noise_as_often_as_new_ones() -> None:
    rng = np.random.default_rng(2)
    within, held_out, new = [], [], []
    for _ in range(8):
        X = blobs(rng, 250)
        fit = dbscan(X, eps=0.8, min_samples=6)
        within.append(np.mean(fit.labels == NOISE))
        held_out.append(np.mean(score_held_out(X, fit).labels == NOISE))
        new.append(np.mean(fit.model.predict(blobs(rng, 1_000)).labels == NOISE))

    assert np.mean(within) < np.mean(new) - 0.03
    assert np.mean(held_out) == pytest.approx(np.mean(new), abs=0.03)


def test_without_itself_is_what_dbscan_says_when_the_row_is_left_out() -> None:
    X = blobs(np.random.default_rng(3), 90)
    fit = dbscan(X, eps=0.9, min_samples=5)

    scored = score_held_out(X, fit)

    for row in range(len(X)):
        model, _ = fit_dbscan(np.delete(X, row, axis=0), eps=0.9, min_samples=5)
        expected = model.predict(X[row : row + 1])
        assert (scored.labels[row] == NOISE) == (expected.labels[0] == NOISE)
        if expected.labels[0] != NOISE:
            assert scored.distances[row] == pytest.approx(expected.distances[0])
        else:
            assert scored.distances[row] >= 0.9


def test_distances_of_customers_who_were_there_at_training_are_those_of_others() -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(blobs(rng, 600), columns=["a", "b", "c"])
    encoder = FeatureEncoder(learn_schema(frame, as_of=date(2026, 1, 1)))
    raw = encoder.raw_from_frame(frame)
    X = encoder.encode(raw)
    fit = dbscan(X, eps=0.35, min_samples=8)
    held_out = score_held_out(X, fit)
    assert held_out.ignores_own_place

    again = score(encoder, fit.model, raw, random_state=0, ignores_own_place=True)

    assert (score(encoder, fit.model, raw, random_state=0).distances == 0).mean() > 0.2
    assert np.median(again.distances) == pytest.approx(np.median(held_out.distances), rel=0.1)
    np.testing.assert_array_equal(again.labels, fit.model.predict(X).labels)


def test_a_customer_with_a_twin_is_not_alone() -> None:
    X = np.repeat([[0.0, 0.0], [9.0, 9.0]], [4, 1], axis=0)

    scored = score_held_out(X, dbscan(X, eps=1.0, min_samples=3))

    assert scored.labels.tolist() == [0, 0, 0, 0, NOISE]
    assert scored.distances[:4].tolist() == [0, 0, 0, 0]
    assert not scored.ignores_own_place


def test_nothing_but_noise_is_infinitely_far() -> None:
    X = np.arange(10.0)[:, None] * 100
    fit = dbscan(X, eps=1.0, min_samples=3)
    assert isinstance(fit.model, DBSCANModel) and not len(fit.model.core_samples)

    scored = score_held_out(X, fit)

    assert set(scored.labels.tolist()) == {NOISE}
    assert np.isinf(scored.distances).all()


def test_the_same_training_is_scored_the_same() -> None:
    X = blobs(np.random.default_rng(4), 200)
    fit = fit_clusters("kmeans", X, parameters={"n_clusters": 3})

    first, second = score_held_out(X, fit), score_held_out(X, fit)

    np.testing.assert_array_equal(first.distances, second.distances)


def test_where_a_sample_was_fitted_the_others_are_new_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ml.cluster_fits.MAX_DENSITY_ROWS", 200)
    X = blobs(np.random.default_rng(3), 600)

    fit = fit_clusters("dbscan", X, parameters={"eps": 0.8, "min_samples": 18})
    scored = score_held_out(X, fit)

    predicted = fit.model.predict(X)
    assert fit.n_fitted == 200
    assert np.array_equal(scored.labels, predicted.labels)
    assert np.array_equal(scored.distances, predicted.distances)
