"""Why a customer is in its segment: contributions that add up, and the right runner-up."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from ml import explanation
from ml.cluster_fits import fit_dbscan
from ml.clusterers import NOISE, ClusterModel, DBSCANModel, KMeansModel
from ml.explanation import Explainer, explain
from ml.features import Feature, FeatureSchema, Kind

FEW = settings(max_examples=40, deadline=None)


def feature(name: str, *levels: str) -> Feature:
    return Feature(
        name=name,
        kind=Kind.CATEGORY if levels else Kind.NUMBER,
        log=False,
        mean=0.0,
        scale=1.0,
        fill=0.0,
        imputed=False,
        low=0.0,
        high=1.0,
        levels=levels,
    )


def schema_of(*features: Feature) -> FeatureSchema:
    return FeatureSchema(features, (), date(2026, 1, 31), 10)


TWO_NUMBERS = schema_of(feature("spend"), feature("age"))
MIXED = schema_of(feature("spend"), feature("channel", "web", "store", "app"), feature("age"))


def values(rows: int, columns: int) -> st.SearchStrategy[NDArray[np.float64]]:
    numbers = st.floats(-50, 50, allow_subnormal=False)
    return arrays(np.float64, (rows, columns), elements=numbers)


def labelled_cores(n_clusters: int, *, n_rows: int = 60, seed: int = 0) -> DBSCANModel:
    rng = np.random.default_rng(seed)
    labels = np.arange(n_rows) % n_clusters
    samples = rng.normal(size=(n_rows, 2)) + 8.0 * rng.normal(size=(n_clusters, 2))[labels]
    return DBSCANModel(samples, labels.astype(np.int64), 3.0)


def test_a_gap_worked_by_hand() -> None:
    model = KMeansModel(np.array([[0.0, 0.0], [4.0, 1.0]]))
    X = np.array([[1.0, 2.0]])

    explained = explain(model, TWO_NUMBERS, X)

    # spend: 3² - 1² = 8 for the own centre; age: 1² - 2² = -3 against it
    assert explained.contributions.tolist() == [[8.0, -3.0]]
    assert explained.gaps.tolist() == [5.0]
    assert (explained.labels.tolist(), explained.runners_up.tolist()) == ([0], [1])
    assert explained.confidence[0] == pytest.approx(1 - np.sqrt(5 / 10))


def test_the_answer_names_the_largest_contributions_first() -> None:
    model = KMeansModel(np.array([[0.0, 0.0], [4.0, 1.0]]))

    explained = explain(model, TWO_NUMBERS, np.array([[1.0, 2.0]]))

    answer = explained.to_dict(0)
    assert answer["contributions"] == [
        {"feature": "spend", "contribution": 8.0, "share": pytest.approx(8 / 11)},
        {"feature": "age", "contribution": -3.0, "share": pytest.approx(-3 / 11)},
    ]
    assert answer["runner_up"] == 1
    assert explained.to_dict(0, n_top=1)["contributions"] == answer["contributions"][:1]


def test_the_levels_of_a_category_are_one_contribution() -> None:
    centers = np.array([[0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 3.0]])

    explained = explain(KMeansModel(centers), MIXED, np.array([[0.0, 1.0, 0.0, 0.0, 1.0]]))

    assert explained.features == ("spend", "channel", "age")
    assert explained.contributions.tolist() == [[0.0, 2.0, 3.0]]


@FEW
@given(centers=values(4, 5), X=values(9, 5))
def test_contributions_add_up_to_the_gap_between_the_two_nearest_centres(
    centers: NDArray[np.float64], X: NDArray[np.float64]
) -> None:
    squares = np.sort(cdist(X, centers, "sqeuclidean"), axis=1)

    explained = explain(KMeansModel(centers), MIXED, X)

    assert np.array_equal(explained.gaps, explained.contributions.sum(axis=1))
    np.testing.assert_allclose(explained.gaps, squares[:, 1] - squares[:, 0], atol=1e-9)
    assert np.all((explained.confidence >= 0) & (explained.confidence <= 1))


@FEW
@given(n_clusters=st.integers(2, 9), X=values(12, 2), seed=st.integers(0, 50))
def test_dbscan_finds_the_nearest_core_samples_of_two_clusters(
    n_clusters: int, X: NDArray[np.float64], seed: int
) -> None:
    model = labelled_cores(n_clusters, seed=seed)
    distances = cdist(np.vstack([X, model.core_samples]), model.core_samples)
    labels = model.predict(np.vstack([X, model.core_samples])).labels

    explained = explain(model, TWO_NUMBERS, np.vstack([X, model.core_samples]))

    for row in np.flatnonzero(labels != NOISE):
        others = np.where(model.core_labels == labels[row], np.inf, distances[row])
        assert explained.runners_up[row] == model.core_labels[others.argmin()]
        own, other = distances[row].min(), others.min()
        assert explained.gaps[row] == pytest.approx(other**2 - own**2, abs=1e-9)
        assert explained.confidence[row] == pytest.approx(1 - own / other)


@FEW
@given(X=values(12, 2))
def test_noise_is_explained_by_how_far_it_lies_beyond_eps(X: NDArray[np.float64]) -> None:
    model = labelled_cores(3)
    labels = model.predict(X).labels
    distances = cdist(X, model.core_samples)

    explained = explain(model, TWO_NUMBERS, X)

    noise = labels == NOISE
    nearest = distances[noise].min(axis=1)
    np.testing.assert_allclose(explained.gaps[noise], nearest**2 - 3.0**2, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(explained.confidence[noise], 1 - 3.0 / nearest, atol=1e-12)
    runners_up = model.core_labels[distances[noise].argmin(axis=1)]
    assert np.array_equal(explained.runners_up[noise], runners_up)


def test_noise_names_the_feature_that_is_out_of_reach() -> None:
    model = DBSCANModel(np.array([[0.0, 0.0]]), np.array([0]), 1.0)

    explained = explain(model, TWO_NUMBERS, np.array([[4.0, 3.0]]))

    # d² = 16 + 9 = 25, the gap 24 shared out as 16 : 9
    assert explained.contributions[0] == pytest.approx([16 * 24 / 25, 9 * 24 / 25])
    assert explained.runners_up.tolist() == [0]
    assert explained.confidence[0] == pytest.approx(0.8)


def test_on_a_centre_all_is_certain_and_half_way_nothing() -> None:
    model = KMeansModel(np.array([[0.0, 0.0], [4.0, 0.0]]))

    confidence = explain(model, TWO_NUMBERS, np.array([[0.0, 0.0], [2.0, 7.0]])).confidence

    assert confidence.tolist() == [1.0, 0.0]


def test_two_centres_in_one_place_give_no_confidence() -> None:
    model = KMeansModel(np.zeros((2, 2)))

    explained = explain(model, TWO_NUMBERS, np.zeros((1, 2)))

    assert (explained.confidence[0], explained.gaps[0]) == (0.0, 0.0)
    assert explained.to_dict(0)["contributions"] == []


@pytest.mark.parametrize(
    "model",
    [
        KMeansModel(np.array([[1.0, 2.0]])),
        DBSCANModel(np.array([[1.0, 2.0]]), np.array([0]), 1.0),
        DBSCANModel(np.empty((0, 2)), np.empty(0, dtype=np.int64), 1.0),
    ],
    ids=["one centre", "one cluster", "no cluster"],
)
def test_without_another_cluster_there_is_nothing_to_compare(model: ClusterModel) -> None:
    explained = explain(model, TWO_NUMBERS, np.array([[1.0, 2.5]]))

    assert explained.to_dict(0) == {"runner_up": None, "confidence": 1.0, "contributions": []}
    assert explained.gaps.tolist() == [0.0]


@pytest.mark.parametrize(
    "model", [KMeansModel(np.eye(2)), labelled_cores(5)], ids=["kmeans", "dbscan"]
)
def test_a_row_is_explained_alike_alone_and_in_any_batch(
    model: ClusterModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = np.random.default_rng(2).normal(scale=6.0, size=(50, 2))
    whole = explain(model, TWO_NUMBERS, X)
    monkeypatch.setattr(explanation, "CHUNK_ROWS", 7)
    explainer = Explainer(model, TWO_NUMBERS)

    chunked = explainer.explain(X)

    assert np.array_equal(chunked.contributions, whole.contributions)
    assert chunked.to_dicts() == [explainer.explain(X[i : i + 1]).to_dict(0) for i in range(50)]
    assert np.array_equal(explainer.confidence(X), whole.confidence)


def test_labels_are_those_that_predict_gives() -> None:
    X = np.random.default_rng(4).normal(size=(200, 2))
    model, _ = fit_dbscan(X, eps=0.3, min_samples=5)

    assert np.array_equal(explain(model, TWO_NUMBERS, X).labels, model.predict(X).labels)


def test_no_rows_have_no_explanations() -> None:
    for model in (KMeansModel(np.eye(2)), labelled_cores(2)):
        assert explain(model, TWO_NUMBERS, np.empty((0, 2))).to_dicts() == []


def test_answers_are_plain_json() -> None:
    answers = explain(labelled_cores(3), TWO_NUMBERS, np.full((2, 2), 1e6)).to_dicts()

    assert json.loads(json.dumps(answers, allow_nan=False)) == answers


def test_a_schema_of_other_width_is_refused() -> None:
    with pytest.raises(ValueError, match="5 encoded columns, the model 2"):
        Explainer(KMeansModel(np.eye(2)), MIXED)


def test_rows_of_other_width_are_refused() -> None:
    with pytest.raises(ValueError, match="X: expected 2 columns, found 3"):
        explain(KMeansModel(np.eye(2)), TWO_NUMBERS, np.zeros((1, 3)))
