"""`GET /models`: each type with its active, previous and candidate versions."""

from __future__ import annotations

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.expectations import one_entry
from tests.factories import TrainedModels, make_active, make_version


def test_before_any_training_both_types_are_shown_empty(db: None, api: Client) -> None:
    body = api.get("/models").json()

    assert body["models"] == [
        {"model_type": name, "generation": 0, "active": None, "previous": None, "candidates": []}
        for name in ("dbscan", "kmeans")
    ]


def test_versions_stand_under_their_state(trained: TrainedModels, api: Client) -> None:
    second = make_version()
    make_active(version=second)
    third = make_version(parameters={"n_clusters": 3})

    with one_entry(action="models.read", outcome="succeeded"):
        kmeans = api.get("/models").json()["models"][1]

    assert kmeans["model_type"] == "kmeans"
    assert kmeans["generation"] == 2
    assert kmeans["active"]["version"] == second.number == 2
    assert kmeans["previous"]["version"] == 1
    assert [row["version"] for row in kmeans["candidates"]] == [third.number]
    states = [kmeans["active"]["state"], kmeans["previous"]["state"]]
    assert states + [kmeans["candidates"][0]["state"]] == ["active", "previous", "candidate"]


def test_a_version_is_described(trained: TrainedModels, api: Client) -> None:
    active = api.get("/models").json()["models"][1]["active"]

    assert active["parameters"]["n_clusters"] == 4
    assert "orders" in active["features"]
    assert "loyalty_card_number" not in active["features"]
    assert active["n_customers"] == active["n_assigned"] == 300
    assert active["artifact_sha256"] == trained.kmeans.artifact_sha256
    assert 0 < active["metrics"]["silhouette"] <= 1


def test_the_number_of_queries_does_not_depend_on_the_number_of_versions(
    trained: TrainedModels, api: Client
) -> None:
    with CaptureQueriesContext(connection) as few:
        api.get("/models")
    make_version()
    make_version()

    with CaptureQueriesContext(connection) as many:
        api.get("/models")

    assert len(many) == len(few) <= 8
