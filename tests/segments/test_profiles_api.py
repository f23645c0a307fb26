"""`GET /segments/{model_type}/profiles`: each segment described, with its size then and now."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from modelregistry.models import ModelVersion, Stage
from segments.models import Assignment, Segment, VersionSegment
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import TrainedModels, make_records, make_version

MODEL_TYPES = ("kmeans", "dbscan")


def profiles(client: Client, model_type: str, **query: str) -> dict[str, Any]:
    response = client.get(f"/segments/{model_type}/profiles", query)
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.json()
    return body


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_each_segment_is_described_as_training_found_it(
    trained: TrainedModels, api: Client, model_type: str
) -> None:
    body = profiles(api, model_type)

    version = getattr(trained, model_type)
    rows = list(version.segments.select_related("segment"))
    assert (body["model_type"], body["version"]) == (model_type, version.number)
    assert [item["segment"] for item in body["segments"]] == [row.segment_id for row in rows]
    for item, row in zip(body["segments"], rows, strict=True):
        assert item["segment_name"] == row.segment.name
        assert (item["n_customers_trained"], item["share_trained"]) == (row.n_customers, row.share)
        assert item["features"] == row.features
        assert {part["feature"]: part["median"] for part in item["features"]} == row.medians
        assert item["distinguishing"] == row.distinguishing
        assert item["rule"] == {
            name: row.rule[name] for name in ("text", "is_short", "precision", "recall", "coverage")
        }
        assert (item["stability"], item["low_confidence_share"]) == (
            row.stability, row.low_confidence_share,
        )  # fmt: skip
        assert (item["fate"], item["match_score"], item["related_segments"]) == ("new", None, [])


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_sizes_are_those_of_the_assignments(
    trained: TrainedModels, api: Client, model_type: str
) -> None:
    body = profiles(api, model_type)

    assigned = Assignment.objects.filter(version=getattr(trained, model_type))
    for item in body["segments"]:
        assert item["n_customers"] == assigned.filter(segment=item["segment"]).count()
        assert item["share"] == item["n_customers"] / len(trained.records)
    noise = body["noise"]
    counts = [item["n_customers"] for item in body["segments"]]
    assert sum(counts) + (noise["n_customers"] if noise else 0) == body["n_customers"] == 300


def test_noise_is_told_for_dbscan_only(trained: TrainedModels, api: Client) -> None:
    n_noise = Assignment.objects.filter(version=trained.dbscan, segment=None).count()

    assert n_noise > 0
    assert profiles(api, "kmeans")["noise"] is None
    assert profiles(api, "dbscan")["noise"] == {
        "n_customers": n_noise,
        "share": n_noise / 300,
        "n_customers_trained": n_noise,
        "share_trained": trained.dbscan.metrics["noise_share"],
    }


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_customers_who_come_later_count_now_and_not_then(
    trained: TrainedModels, api: Client, model_type: str
) -> None:
    before = {item["segment"]: item for item in profiles(api, model_type)["segments"]}
    record = next(
        record
        for record in trained.records
        if Assignment.objects.get(
            version=getattr(trained, model_type), customer=record["customer_id"]
        ).segment_id
    )
    api.post(
        f"/predict/{model_type}",
        json.dumps([record | {"customer_id": f"new {i}"} for i in range(60)]),
        content_type="application/json",
    )

    after = profiles(api, model_type)

    grown = [
        item for item in after["segments"]
        if item["n_customers"] == before[item["segment"]]["n_customers"] + 60
    ]  # fmt: skip
    assert len(grown) == 1
    assert grown[0]["n_customers_trained"] == before[grown[0]["segment"]]["n_customers_trained"]
    assert after["n_customers"] == 360
    assert grown[0]["share"] == grown[0]["n_customers"] / 360


def test_a_version_without_assignments_has_sizes_without_shares(
    trained: TrainedModels, api: Client
) -> None:
    Assignment.objects.filter(version=trained.dbscan).delete()

    body = profiles(api, "dbscan")

    assert body["n_customers"] == 0
    sizes = [body["noise"], *body["segments"]]
    assert {(size["n_customers"], size["share"]) for size in sizes} == {(0, None)}
    assert all(size["n_customers_trained"] > 0 for size in sizes)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_version_trained_before_segments_were_described_has_nulls(
    trained: TrainedModels, api: Client, model_type: str
) -> None:
    version = getattr(trained, model_type)
    version.segments.update(
        features=[], distinguishing=[], rule=None, stability=None, low_confidence_share=None,
        match_score=None, related_segments=[],
    )  # fmt: skip
    ModelVersion.objects.filter(pk=version.pk).update(metrics={}, identity=None)

    body = profiles(api, model_type)

    for item, row in zip(body["segments"], version.segments.all(), strict=True):
        assert {part["feature"]: part["median"] for part in item["features"]} == row.medians
        assert {part["everyone_median"] for part in item["features"]} == {None}
        assert all(part["levels"] == [] for part in item["features"])
        assert item["rule"] is item["stability"] is item["low_confidence_share"] is None
        assert item["distinguishing"] == []
    if model_type == "dbscan":
        assert body["noise"]["share_trained"] is None


def test_what_became_of_a_segment_names_the_related_ones(
    trained: TrainedModels, api: Client
) -> None:
    first, second = Segment.objects.filter(model_type="kmeans")[:2]
    VersionSegment.objects.filter(version=trained.kmeans, segment=first).update(
        fate="merged", match_score=0.75, related_segments=[second.pk, 999_999]
    )

    item = profiles(api, "kmeans")["segments"][0]

    assert (item["segment"], item["fate"], item["match_score"]) == (first.pk, "merged", 0.75)
    assert item["related_segments"] == [{"segment": second.pk, "segment_name": second.name}]


def test_the_words_of_staff_are_shown(trained: TrainedModels, api: Client) -> None:
    segment = Segment.objects.filter(model_type="kmeans").first()
    assert segment is not None
    Segment.objects.filter(pk=segment.pk).update(name="Regulars", description="Come weekly.")

    item = profiles(api, "kmeans")["segments"][0]

    assert (item["segment_name"], item["description"]) == ("Regulars", "Come weekly.")


def test_a_rule_that_is_not_good_enough_is_not_shown_as_one(
    trained: TrainedModels, api: Client
) -> None:
    row = trained.kmeans.segments.all()[0]
    row.rule |= {"text": "no short rule", "is_short": False, "precision": 0.4}
    row.save()

    rule = profiles(api, "kmeans")["segments"][0]["rule"]

    assert (rule["text"], rule["is_short"], rule["precision"]) == ("no short rule", False, 0.4)


def test_another_version_is_described_by_its_number(trained: TrainedModels, api: Client) -> None:
    candidate = make_version(parameters={"n_clusters": 2})

    assert profiles(api, "kmeans", version="2")["version"] == 2
    assert len(profiles(api, "kmeans", version="2")["segments"]) == 2
    active = profiles(api, "kmeans")
    assert profiles(api, "kmeans", version="1") == active
    assert profiles(api, "kmeans", version="active") == active
    ModelVersion.objects.filter(pk=candidate.pk).update(stage=Stage.FAILED)
    problem_of(api.get("/segments/kmeans/profiles?version=2"), status=404, code="not-found")


@pytest.mark.parametrize("version", ["2", "999999999"])
def test_an_unknown_version_is_a_404(trained: TrainedModels, api: Client, version: str) -> None:
    with one_entry(action="segments.profiles_read", outcome="refused", status_code=404):
        response = api.get("/segments/kmeans/profiles", {"version": version})

    problem = problem_of(response, status=404, code="not-found")
    assert problem["detail"] == f"There is no version {version} of kmeans."


@pytest.mark.parametrize(
    "version",
    ["", "0", "-1", "1.0", "01", "1e3", "Active", "latest", "9" * 10, "1 OR 1=1", "\u0661", "1\0"],
)
def test_a_version_that_makes_no_sense_is_refused(
    trained: TrainedModels, api: Client, version: str
) -> None:
    response = api.get("/segments/kmeans/profiles", {"version": version})

    body = problem_of(response, status=400, code="invalid-parameter")
    assert {pointer for pointer, _ in errors_of(body)} == {"#/version"}


def test_a_reading_leaves_one_entry_with_its_count(trained: TrainedModels, api: Client) -> None:
    with one_entry(
        action="segments.profiles_read", outcome="succeeded", status_code=200, n_items=4,
        target_type="model_version", target_id="kmeans 1",
    ):  # fmt: skip
        profiles(api, "kmeans")


def test_the_number_of_queries_grows_with_neither_customers_nor_segments(
    trained: TrainedModels, api: Client
) -> None:
    counts = []
    for n_customers in (0, 200):
        if n_customers:
            records = make_records(n_customers=n_customers, random_state=4)
            api.post("/predict/kmeans", json.dumps(records), content_type="application/json")
            make_version(parameters={"n_clusters": 7}, active=True)
        with CaptureQueriesContext(connection) as queries:
            profiles(api, "kmeans")
        counts.append(len(queries))

    assert counts[0] <= counts[1] <= counts[0] + 1, "names of related segments are one more"


def test_without_an_active_version_the_answer_is_503(db: None, api: Client) -> None:
    with one_entry(action="segments.profiles_read", outcome="failed", status_code=503):
        response = api.get("/segments/dbscan/profiles")

    problem_of(response, status=503, code="no-active-version")


def test_an_unknown_model_type_is_a_404(db: None, api: Client) -> None:
    problem_of(api.get("/segments/lda/profiles"), status=404, code="not-found")
