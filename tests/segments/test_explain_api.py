"""`POST /predict/{model_type}?explain=true`: the same answers, and why."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from ml.clusterers import NOISE
from modelregistry.activation import load
from modelregistry.models import ModelVersion
from segments.models import Assignment, Segment
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import TrainedModels, make_records, make_version

MODEL_TYPES = ("kmeans", "dbscan")
FAR = {"orders": 10**9, "total_spend": 1e12}
THREE = ["age", "orders", "total_spend"]


def post(client: Client, model_type: str, body: Any, query: str = "?explain=true") -> Any:
    return client.post(
        f"/predict/{model_type}{query}", json.dumps(body), content_type="application/json"
    )


def explanations(client: Client, model_type: str, body: Any) -> list[dict[str, Any]]:
    answer = post(client, model_type, body, "?explain=true&store=false").json()
    return [row["explanation"] for row in answer["predictions"]]


def encoded(version: ModelVersion, records: list[dict[str, Any]], settings: Any) -> NDArray[Any]:
    return load(version, directory=settings.MODEL_DIR).encoder.encode_records(records)


def by_feature(version: ModelVersion, parts: NDArray[Any], settings: Any) -> dict[str, float]:
    """Parts of the encoded columns of one row, added up for each feature."""
    features = load(version, directory=settings.MODEL_DIR).encoder.schema.features
    ends = np.cumsum([feature.n_columns for feature in features])
    return {
        feature.name: float(parts[end - feature.n_columns : end].sum())
        for feature, end in zip(features, ends, strict=True)
    }


def segments_of(version: ModelVersion) -> dict[int, int]:
    return dict(version.segments.values_list("cluster", "segment_id"))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("store", ["true", "false"])
def test_explaining_changes_nothing_else(
    trained: TrainedModels, api: Client, model_type: str, store: str
) -> None:
    records = [*trained.records[:40], trained.records[0] | {"customer_id": "far"} | FAR]
    plain = post(api, model_type, records, f"?store={store}").json()

    told = post(api, model_type, records, f"?store={store}&explain=true").json()

    assert all(row.pop("explanation") for row in told["predictions"])
    assert told == plain
    assert told["n_stored"] == (len(records) if store == "true" else 0)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_without_being_asked_the_answer_has_no_explanation(
    trained: TrainedModels, api: Client, model_type: str
) -> None:
    unsaid = post(api, model_type, trained.records, "?store=false")
    denied = post(api, model_type, trained.records, "?store=false&explain=false")

    assert unsaid.content == denied.content
    assert b"explanation" not in unsaid.content


def test_an_explained_customer_is_stored_and_assigned(trained: TrainedModels, api: Client) -> None:
    record = trained.records[0] | {"customer_id": "new"}

    with one_entry(action="segments.predicted", n_items=1, target_id="kmeans 1"):
        answer = post(api, "kmeans", [record]).json()

    assert answer["n_stored"] == 1
    assigned = Assignment.objects.get(version=trained.kmeans, customer="new")
    assert assigned.segment_id == answer["predictions"][0]["segment"]


def test_kmeans_contributions_are_those_worked_out_by_hand(
    trained: TrainedModels, api: Client, settings: Any
) -> None:
    records = make_records(n_customers=25, random_state=5)
    X = encoded(trained.kmeans, records, settings)
    model = load(trained.kmeans, directory=settings.MODEL_DIR).clusters
    centers, ids = model.arrays()["centers"], segments_of(trained.kmeans)
    names = dict(Segment.objects.values_list("id", "name"))

    told = explanations(api, "kmeans", records)

    for row, why in zip(X, told, strict=True):
        distances = np.linalg.norm(row - centers, axis=1)
        own, other = np.argsort(distances)[:2]
        parts = by_feature(
            trained.kmeans, (row - centers[other]) ** 2 - (row - centers[own]) ** 2, settings
        )
        largest = sorted(parts.items(), key=lambda item: -abs(item[1]))[:3]
        total = sum(map(abs, parts.values()))
        assert why["runner_up"] == ids[int(other)]
        assert why["runner_up_name"] == names[ids[int(other)]]
        assert why["confidence"] == pytest.approx(1 - distances[own] / distances[other])
        assert [part["feature"] for part in why["contributions"]] == [name for name, _ in largest]
        for part, (_, value) in zip(why["contributions"], largest, strict=True):
            assert part["contribution"] == pytest.approx(value)
            assert part["share"] == pytest.approx(value / total)


def test_the_contributions_of_three_features_add_up_to_the_gap(
    trained: TrainedModels, api: Client, settings: Any
) -> None:
    version = make_version(features=THREE, active=True)
    records = make_records(n_customers=60, random_state=5)
    centers = load(version, directory=settings.MODEL_DIR).clusters.arrays()["centers"]
    squares = np.sort(cdist(encoded(version, records, settings), centers, "sqeuclidean"), axis=1)

    told = explanations(api, "kmeans", records)

    sums = [sum(part["contribution"] for part in why["contributions"]) for why in told]
    np.testing.assert_allclose(sums, squares[:, 1] - squares[:, 0], atol=1e-9)
    parts = [part for why in told for part in why["contributions"]]
    assert {np.sign(part["contribution"]) for part in parts} == {-1.0, 1.0}
    assert all(part["contribution"] * part["share"] > 0 for part in parts)


def test_dbscan_names_the_nearest_other_segment(
    trained: TrainedModels, api: Client, settings: Any
) -> None:
    arrays = load(trained.dbscan, directory=settings.MODEL_DIR).clusters.arrays()
    ids = segments_of(trained.dbscan)
    X = encoded(trained.dbscan, trained.records, settings)
    distances = cdist(X, arrays["core_samples"])

    rows = post(api, "dbscan", trained.records).json()["predictions"]

    segments = np.array([ids[label] for label in arrays["core_labels"]])
    assert len(ids) > 1
    for row, own in zip(rows, distances, strict=True):
        why, is_noise = row["explanation"], row["segment"] is None
        candidates = own if is_noise else np.where(segments == row["segment"], np.inf, own)
        assert why["runner_up"] == segments[candidates.argmin()]
        inner = arrays["eps"][0] if is_noise else own[segments == row["segment"]].min()
        assert why["confidence"] == pytest.approx(1 - inner / candidates.min(), abs=1e-9)


def test_noise_is_explained_by_what_holds_it_away(trained: TrainedModels, api: Client) -> None:
    (why,) = explanations(api, "dbscan", [trained.records[0] | FAR])

    assert why["runner_up"] is not None
    assert why["confidence"] > 0.5
    assert {part["feature"] for part in why["contributions"][:2]} == set(FAR)
    assert all(part["contribution"] > 0 for part in why["contributions"])


def test_the_only_segment_has_no_runner_up(
    trained: TrainedModels, api: Client, settings: Any
) -> None:
    version = make_version(
        model_type="dbscan", parameters={"eps": 50.0, "min_samples": 5}, active=True
    )
    labels = load(version, directory=settings.MODEL_DIR).clusters.arrays()["core_labels"]

    (why,) = explanations(api, "dbscan", trained.records[:1])

    assert set(labels.tolist()) == {0} != {NOISE}
    assert why == {
        "runner_up": None, "runner_up_name": None, "confidence": 1.0, "contributions": []
    }  # fmt: skip


def test_noise_of_a_version_without_segments_is_neither_near_nor_sure(
    trained: TrainedModels, api: Client
) -> None:
    version = make_version(
        model_type="dbscan", parameters={"eps": 1e-6, "min_samples": 8}, active=True
    )

    answer = post(api, "dbscan", trained.records[:2])

    assert not version.segments.exists()
    for row in answer.json()["predictions"]:
        assert (row["segment"], row["status"], row["distance"]) == (None, "noise", None)
        assert row["explanation"] == {
            "runner_up": None, "runner_up_name": None, "confidence": None, "contributions": []
        }  # fmt: skip
    listed = api.get("/segments/dbscan").json()["results"]
    assert {row["distance"] for row in listed} == {None}


def test_the_schema_says_what_may_be_unknown(api: Client) -> None:
    headers = {"accept": "application/vnd.oai.openapi+json"}
    schemas = json.loads(api.get("/schema", headers=headers).content)["components"]["schemas"]

    for name, field in [
        ("Explanation", "confidence"), ("Prediction", "distance"), ("AssignedCustomer", "distance")
    ]:  # fmt: skip
        assert "null" in schemas[name]["properties"][field]["type"]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_customer_is_explained_alike_alone_and_among_others(
    trained: TrainedModels, api: Client, model_type: str
) -> None:
    told = explanations(api, model_type, trained.records[:30])

    assert explanations(api, model_type, trained.records[7:8]) == told[7:8]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_explaining_asks_the_database_nothing_more(
    trained: TrainedModels, api: Client, model_type: str
) -> None:
    counts = []
    for query in ("?explain=false", "?explain=true"):
        with CaptureQueriesContext(connection) as queries:
            post(api, model_type, trained.records, query)
        counts.append(len(queries))

    assert counts[0] == counts[1]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_only_so_many_customers_are_explained_at_once(
    trained: TrainedModels, api: Client, settings: Any, model_type: str
) -> None:
    settings.MAX_EXPLAINED_RECORDS = 7
    n_before = Assignment.objects.count()
    records = make_records(n_customers=8, random_state=9)

    assert post(api, model_type, trained.records[:7]).status_code == 200
    assert post(api, model_type, records, "?store=false").status_code == 200
    with one_entry(action="segments.predicted", outcome="refused", status_code=400):
        refused = post(api, model_type, records)

    body = problem_of(refused, status=400, code="invalid-records")
    assert errors_of(body) == [("#", "too-many")]
    assert "explain=true" in body["errors"][0]["detail"]
    assert "at most 7" in body["errors"][0]["detail"]
    assert Assignment.objects.count() == n_before


def test_the_smaller_limit_is_the_one_that_counts(
    trained: TrainedModels, api: Client, settings: Any
) -> None:
    settings.MAX_RECORDS = 3

    body = problem_of(post(api, "kmeans", trained.records[:4]), status=400, code="invalid-records")

    assert "at most 3" in body["errors"][0]["detail"]


@pytest.mark.parametrize("value", ["", "True", "1", "yes", "null", "true,false", "tru\u00e9", "\0"])
def test_an_explain_that_makes_no_sense_is_refused(
    trained: TrainedModels, api: Client, value: str
) -> None:
    response = api.post(
        "/predict/kmeans",
        json.dumps(trained.records[:1]),
        content_type="application/json",
        query_params={"explain": value},
    )

    body = problem_of(response, status=400, code="invalid-parameter")
    assert {pointer for pointer, _ in errors_of(body)} == {"#/explain"}


def test_explain_given_twice_is_refused(trained: TrainedModels, api: Client) -> None:
    response = post(api, "kmeans", trained.records[:1], "?explain=true&explain=false")

    assert errors_of(problem_of(response, status=400, code="invalid-parameter"))[0][0] == (
        "#/explain"
    )
