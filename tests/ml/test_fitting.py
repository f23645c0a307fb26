"""Parameters as people state them, and a fit of either type from nothing but rows."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from ml.clusterers import NOISE, DBSCANModel, KMeansModel
from ml.fitting import Fit, ParameterError, TooFewCustomers, fit_clusters, parse_parameters


def blobs(*, n_rows: int = 240, seed: int = 0):
    rng = np.random.default_rng(seed)
    truth = np.arange(n_rows) % 3
    centers = np.array([[0.0, 0.0], [12.0, 0.0], [0.0, 12.0]])
    return centers[truth] + rng.normal(size=(n_rows, 2)), truth


@cache
def fit_of_blobs(model_type: str) -> Fit:
    """Everything chosen, which takes seconds."""
    return fit_clusters(model_type, blobs()[0], parameters={}, random_state=3)


@pytest.mark.parametrize(
    "model_type, given, expected",
    [
        ("kmeans", {}, {}),
        ("kmeans", {"k": "4"}, {"n_clusters": 4}),
        ("kmeans", {"n_clusters": 4.0, "n_init": " 3 "}, {"n_clusters": 4, "n_init": 3}),
        ("kmeans", {"random_state": 2**32 - 1}, {"random_state": 2**32 - 1}),
        ("dbscan", {"eps": "0.5", "min_samples": 7}, {"eps": 0.5, "min_samples": 7}),
        ("dbscan", {"eps": 2}, {"eps": 2.0}),
    ],
)
def test_parameters_may_be_texts_or_numbers(model_type, given, expected):
    parsed = parse_parameters(model_type, given)

    assert parsed == expected
    assert [type(value) for value in parsed.values()] == [type(v) for v in expected.values()]


@pytest.mark.parametrize(
    "model_type, given, message",
    [
        ("kmeans", {"n_clusters": 1}, "n_clusters: expected a whole number from 2 to 50"),
        ("kmeans", {"n_clusters": 51}, "from 2 to 50"),
        ("kmeans", {"n_clusters": 2.5}, "n_clusters: expected a whole number"),
        ("kmeans", {"n_clusters": True}, "n_clusters: expected a whole number"),
        ("kmeans", {"n_clusters": None}, "n_clusters: expected a whole number"),
        ("kmeans", {"n_clusters": "four"}, "n_clusters: expected a whole number"),
        ("kmeans", {"n_clusters": float("inf")}, "n_clusters: expected a whole number"),
        ("kmeans", {"n_clusters": float("nan")}, "n_clusters: expected a whole number"),
        ("kmeans", {"n_init": 101}, "n_init: expected a whole number from 1 to 100"),
        ("kmeans", {"random_state": -1}, "random_state: expected a whole number from 0"),
        (
            "kmeans",
            {"eps": 1.0},
            "'eps' is no parameter of kmeans. Allowed are n_clusters (or k): a whole",
        ),
        ("kmeans", {"k": 3, "n_clusters": 3}, "n_clusters is stated twice"),
        ("dbscan", {"k": 3}, "'k' is no parameter of dbscan. Allowed are eps: a number above 0"),
        ("dbscan", {"eps": 0}, "eps: expected a number above 0"),
        ("dbscan", {"eps": "-1"}, "eps: expected a number above 0"),
        ("dbscan", {"eps": "nan"}, "eps: expected a number above 0"),
        ("dbscan", {"eps": "inf"}, "eps: expected a number above 0"),
        ("dbscan", {"eps": 10**400}, "eps: expected a number above 0"),
        ("dbscan", {"min_samples": 0}, "min_samples: expected a whole number from 1 to 10,000"),
        ("forest", {}, "'forest' is no model type. Allowed are kmeans, dbscan."),
    ],
)
def test_bad_parameters_are_refused_with_what_is_allowed(model_type, given, message):
    with pytest.raises(ParameterError) as refusal:
        parse_parameters(model_type, given)

    assert message in str(refusal.value)


@pytest.mark.parametrize(
    "model_type, model_class, chosen, defaults",
    [
        ("kmeans", KMeansModel, {"n_clusters"}, {"n_init", "random_state"}),
        ("dbscan", DBSCANModel, {"eps", "min_samples"}, {"random_state"}),
    ],
)
def test_what_is_not_stated_is_chosen_and_recorded(model_type, model_class, chosen, defaults):
    _, truth = blobs()

    fit = fit_of_blobs(model_type)

    assert isinstance(fit.model, model_class)
    assert adjusted_rand_score(truth, fit.labels) > 0.95
    assert set(fit.selection.chosen) == chosen
    assert set(fit.parameters) == chosen | defaults
    assert fit.parameters["random_state"] == 3
    assert fit.quality.n_clusters == 3
    assert fit.degenerate_reason is None


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_a_fit_repeats_from_its_own_parameters(model_type):
    X, _ = blobs()
    chosen = fit_of_blobs(model_type)

    stated = fit_clusters(model_type, X, parameters=chosen.parameters)

    assert stated.selection is None
    assert stated.parameters == chosen.parameters
    assert stated.labels.tolist() == chosen.labels.tolist()


def test_stated_parameters_are_obeyed():
    X, _ = blobs()

    kmeans = fit_clusters("kmeans", X, parameters={"k": "5", "n_init": 2, "random_state": 9})
    dbscan = fit_clusters("dbscan", X, parameters={"eps": 1.5})
    dense = fit_clusters("dbscan", X, parameters={"min_samples": 8})

    assert kmeans.model.n_clusters == 5
    assert kmeans.parameters == {"n_clusters": 5, "n_init": 2, "random_state": 9}
    assert dbscan.parameters == {"eps": 1.5, "min_samples": 5, "random_state": 0}
    assert dbscan.selection is None
    assert dense.parameters["min_samples"] == 8
    assert dense.selection is not None


def ring():
    """Customers spread evenly over a circle: halves cut in any direction are as good."""
    angles = np.linspace(0.0, 2 * np.pi, 400, endpoint=False)
    return np.column_stack([np.cos(angles), np.sin(angles)])


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 120])
def test_a_retrain_continues_the_initial_centres(degrees):
    X, angle = ring(), np.deg2rad(degrees + 0.1)
    towards = np.array([np.cos(angle), np.sin(angle)])

    fit = fit_clusters(
        "kmeans", X, parameters={"k": 2}, initial_centers=np.array([towards, -towards])
    )

    assert fit.warm_started
    assert abs(adjusted_rand_score(X @ towards > 0, fit.labels)) == 1.0


@pytest.mark.parametrize("n_clusters, n_columns", [(3, 2), (2, 3)])
def test_initial_centres_of_another_shape_are_left_alone(n_clusters, n_columns):
    X = ring()
    centers = np.arange(float(n_clusters * n_columns)).reshape(n_clusters, n_columns)

    fit = fit_clusters("kmeans", X, parameters={"k": 2}, initial_centers=centers)

    assert not fit.warm_started
    assert fit.labels.tolist() == fit_clusters("kmeans", X, parameters={"k": 2}).labels.tolist()


def test_initial_centres_serve_a_chosen_k_too():
    X, _ = blobs()

    fit = fit_clusters("kmeans", X, parameters={}, initial_centers=X[:3].copy())

    assert fit.selection.chosen == {"n_clusters": 3}
    assert fit.warm_started


def test_dbscan_has_no_start():
    X, _ = blobs()

    fit = fit_clusters("dbscan", X, parameters={"eps": 1.5}, initial_centers=X[:3].copy())

    assert not fit.warm_started
    assert fit.quality.n_clusters == 3


def test_initial_centres_that_are_no_numbers_are_refused():
    X, _ = blobs()

    with pytest.raises(ValueError, match="initial_centers: row 0, column 1"):
        fit_clusters("kmeans", X, parameters={}, initial_centers=np.array([[0.0, np.nan]]))


@pytest.mark.parametrize("eps, reason", [(1e-6, "every customer is noise"), (1e3, "Only one")])
def test_a_degenerate_fit_says_so(eps, reason):
    X, _ = blobs()

    fit = fit_clusters("dbscan", X, parameters={"eps": eps})

    assert reason in fit.degenerate_reason
    assert len(fit.labels) == len(X)


def test_more_than_half_noise_is_degenerate():
    rng = np.random.default_rng(0)
    crowds = np.repeat([[0.0, 0.0], [5.0, 5.0]], 20, axis=0)
    X = np.vstack([crowds, rng.uniform(50, 5_000, size=(60, 2))])

    fit = fit_clusters("dbscan", X, parameters={"eps": 0.5})

    assert np.mean(fit.labels == NOISE) > 0.5
    assert "of the customers are noise" in fit.degenerate_reason


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
@pytest.mark.parametrize("model_parameters", [{}, {"random_state": 1}])
def test_progress_rises_to_one_with_words(model_type, model_parameters):
    X, _ = blobs(n_rows=60)
    heard: list[tuple[float, str]] = []

    fit_clusters(
        model_type,
        X,
        parameters=model_parameters,
        on_progress=lambda share, step: heard.append((share, step)),
    )

    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert heard[0][1].startswith("choosing")


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_a_handful_of_customers_is_too_few(model_type):
    with pytest.raises(TooFewCustomers, match="at least 10 customers, found 9"):
        fit_clusters(model_type, blobs(n_rows=9)[0], parameters={})


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_ten_customers_are_enough(model_type):
    fit = fit_clusters(model_type, blobs(n_rows=10)[0], parameters={})

    assert len(fit.labels) == 10


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_a_table_that_is_none_is_refused(model_type):
    X, _ = blobs()
    X[7, 1] = np.nan

    with pytest.raises(ValueError, match="X: row 7, column 1"):
        fit_clusters(model_type, X, parameters={})


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_permuting_customers_permutes_their_labels(model_type):
    X, _ = blobs()
    order = np.random.default_rng(5).permutation(len(X))

    fit = fit_of_blobs(model_type)
    permuted = fit_clusters(model_type, X[order], parameters={}, random_state=3)

    assert permuted.labels.tolist() == fit.labels[order].tolist()
    assert permuted.parameters == fit.parameters
