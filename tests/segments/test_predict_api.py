"""`POST /predict/{model_type}`: right answers, or one stated refusal that stores nothing."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from django.test import Client

from modelregistry.activation import load
from segments.models import Assignment, Customer
from tests.bad_input import BAD_BODIES, BAD_FEATURES, LEGAL, BadBody
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import TrainedModels, make_records

MODEL_TYPES = ("kmeans", "dbscan")
JSON = "application/json"


def post(client: Client, model_type: str, body: Any, query: str = "", **more: Any) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(f"/predict/{model_type}{query}", content, content_type=JSON, **more)


def stored() -> tuple[list[Any], list[Any]]:
    """Everything that a prediction may change."""
    return (
        list(Customer.objects.values_list("pk", "attributes_json", "updated_at")),
        list(Assignment.objects.order_by("version_id", "customer_id").values_list()),
    )


def new_records(n: int) -> list[dict[str, Any]]:
    return [
        record | {"customer_id": f"new-{record['customer_id']}"}
        for record in make_records(n_customers=n, random_state=7)
    ]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_known_customers_get_the_segment_they_are_listed_with(
    trained: TrainedModels, api: Client, model_type: str
) -> None:
    answer = post(api, model_type, trained.records).json()

    version = getattr(trained, model_type)
    listed = {
        row.customer_id: row
        for row in Assignment.objects.filter(version=version).select_related("segment")
    }
    assert (answer["model_type"], answer["version"]) == (model_type, version.number)
    assert answer["n_stored"] == len(answer["predictions"]) == len(trained.records)
    for record, row in zip(trained.records, answer["predictions"], strict=True):
        assignment = listed[record["customer_id"]]
        assert row["customer_id"] == record["customer_id"]
        assert row["segment"] == assignment.segment_id
        assert row["segment_name"] == (assignment.segment.name if assignment.segment else None)
        assert row["distance"] == pytest.approx(assignment.distance, rel=1e-12)
        assert row.get("status", "") == assignment.status


def test_kmeans_answers_the_nearest_centre(
    trained: TrainedModels, api: Client, settings: Any
) -> None:
    records = new_records(40)
    model = load(trained.kmeans, directory=settings.MODEL_DIR)
    encoded = model.encoder.encode_records(records)
    distances = np.linalg.norm(encoded[:, None, :] - model.clusters.arrays()["centers"], axis=2)
    segments = dict(trained.kmeans.segments.values_list("cluster", "segment_id"))

    answer = post(api, "kmeans", records).json()["predictions"]

    assert [row["segment"] for row in answer] == [
        segments[cluster] for cluster in distances.argmin(axis=1)
    ]
    np.testing.assert_allclose(
        [row["distance"] for row in answer], distances.min(axis=1), rtol=1e-9
    )


def test_dbscan_says_core_border_or_noise(trained: TrainedModels, api: Client) -> None:
    far_away = trained.records[0] | {"customer_id": "far", "orders": 10**9, "total_spend": 1e12}

    rows = post(api, "dbscan", [*trained.records, far_away]).json()["predictions"]

    assert {row["status"] for row in rows} <= {"core", "border", "noise"}
    assert rows[-1]["status"] == "noise"
    for row in rows:
        assert (row["segment"] is None) == (row["status"] == "noise")
        assert (row["segment_name"] is None) == (row["status"] == "noise")


def test_new_customers_are_stored_and_assigned_with_one_entry(
    trained: TrainedModels, api: Client
) -> None:
    records = new_records(5)

    with one_entry(
        action="segments.predicted", actor_id="bootstrap", outcome="succeeded", status_code=200,
        n_items=5, target_id="kmeans 1",
    ) as entries:  # fmt: skip
        answer = post(api, "kmeans", records)

    assert entries[0].request_id == answer.headers["X-Request-ID"]
    assert not any(record["customer_id"] in entries[0].details for record in records)
    for record, row in zip(records, answer.json()["predictions"], strict=True):
        customer = Customer.objects.get(pk=record["customer_id"])
        assert {"customer_id": customer.pk, **customer.attributes} == record
        assignment = Assignment.objects.get(version=trained.kmeans, customer=customer)
        assert assignment.segment_id == row["segment"]


@pytest.mark.parametrize("query", ["?store=false", ""])
def test_without_an_id_or_on_request_nothing_is_stored(
    trained: TrainedModels, api: Client, query: str
) -> None:
    records = new_records(5)
    if not query:
        for record in records:
            del record["customer_id"]
    before = stored()

    with one_entry(n_items=5, status_code=200):
        answer = post(api, "kmeans", records, query).json()

    assert answer["n_stored"] == 0
    assert [row["customer_id"] for row in answer["predictions"]] == [
        record.get("customer_id") for record in records
    ]
    assert stored() == before


def test_only_the_records_with_an_id_are_stored(trained: TrainedModels, api: Client) -> None:
    records = new_records(3)
    del records[1]["customer_id"]

    answer = post(api, "kmeans", records).json()

    assert answer["n_stored"] == 2
    for i in (0, 2):
        assignment = Assignment.objects.get(
            version=trained.kmeans, customer_id=records[i]["customer_id"]
        )
        assert assignment.segment_id == answer["predictions"][i]["segment"]


def test_attributes_that_are_not_sent_stay_stored(trained: TrainedModels, api: Client) -> None:
    record = trained.records[0]
    post(api, "kmeans", [record | {"shoe_size": 43}])

    post(api, "kmeans", [record | {"orders": 1}])

    attributes = Customer.objects.get(pk=record["customer_id"]).attributes
    assert (attributes["shoe_size"], attributes["orders"]) == (43, 1)


@pytest.mark.parametrize("attributes", LEGAL.values(), ids=LEGAL)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_what_is_unusual_but_legal_is_answered(
    trained: TrainedModels, api: Client, model_type: str, attributes: dict[str, Any]
) -> None:
    record = trained.records[0] | {"customer_id": "unusual"} | attributes

    response = post(api, model_type, [record])

    assert response.status_code == 200, response.content
    assert response.json()["predictions"][0]["customer_id"] == record["customer_id"]
    assert Customer.objects.filter(pk=record["customer_id"]).exists()


@pytest.mark.parametrize("case", BAD_BODIES + BAD_FEATURES, ids=lambda case: case.name)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_bad_body_is_refused_whole_and_never_echoed(
    trained: TrainedModels, api: Client, model_type: str, case: BadBody
) -> None:
    body = case.body(trained.records[0])
    before = stored()

    with one_entry(
        action="segments.predicted", outcome="refused", status_code=400, target_id=model_type
    ) as entries:
        response = post(api, model_type, body)

    answer = problem_of(response, status=400, code=case.code)
    if case.errors:
        assert errors_of(answer) == list(case.errors)
        assert answer["errors_total"] == len(case.errors)
    assert case.value not in response.text
    assert case.value not in entries[0].details
    assert stored() == before


def test_an_empty_body_is_refused(trained: TrainedModels, api: Client) -> None:
    body = problem_of(post(api, "kmeans", b""), status=400, code="invalid-records")

    assert errors_of(body) == [("#", "not-a-list")]


def test_a_hundred_errors_are_shown_and_all_are_counted(
    trained: TrainedModels, api: Client
) -> None:
    bad = {key: value for key, value in trained.records[0].items() if key != "customer_id"}

    body = problem_of(
        post(api, "kmeans", [bad | {"orders": "x", "channel": 1}] * 150),
        status=400,
        code="invalid-records",
    )

    assert len(body["errors"]) == 100
    assert body["errors_total"] == 300
    places = [int(error["pointer"].split("/")[1]) for error in body["errors"]]
    assert places == sorted(places)


def test_the_limit_of_records_is_a_setting_and_the_answer_states_it(
    trained: TrainedModels, api: Client, settings: Any
) -> None:
    settings.MAX_RECORDS = 7

    assert post(api, "kmeans", trained.records[:7]).status_code == 200
    body = problem_of(post(api, "kmeans", trained.records[:8]), status=400, code="invalid-records")

    assert "at most 7" in body["errors"][0]["detail"]


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain", "application/xml", "text/html", "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x", "application/octet-stream", "", "nonsense",
        "application/json; charset=latin-1", "application/json; charset=utf-7",
        "application/json; charset=bz2", "application/json; charset=unicode_escape",
    ],
)  # fmt: skip
def test_any_body_but_json_in_utf_8_is_a_415(
    trained: TrainedModels, api: Client, content_type: str
) -> None:
    sent = json.dumps(trained.records[:1]).encode()
    before = stored()

    with one_entry(outcome="refused", status_code=415):
        response = api.generic("POST", "/predict/kmeans", sent, content_type=content_type)

    body = problem_of(response, status=415, code="unsupported-media-type")
    assert body["detail"] in ("Send the body as application/json.", "The body must be UTF-8.")
    assert stored() == before


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, gzip"])
def test_nothing_is_inflated(trained: TrainedModels, api: Client, encoding: str) -> None:
    with one_entry(outcome="refused", status_code=415):
        response = post(api, "kmeans", trained.records[:1], headers={"Content-Encoding": encoding})

    problem_of(response, status=415, code="unsupported-media-type")
    assert response.headers["Accept-Encoding"] == "identity"


class Endless(io.RawIOBase):
    """A client that never stops sending; counts what is taken in."""

    n_read = 0

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "the whole of an endless body was asked for"
        self.n_read += size
        return b" " * size


def test_a_body_over_the_limit_is_refused_by_its_length_alone(
    trained: TrainedModels, api: Client, settings: Any
) -> None:
    body = Endless()

    with one_entry(outcome="refused", status_code=413, action="segments.predicted"):
        response = post(api, "kmeans", b"", CONTENT_LENGTH="20000001", **{"wsgi.input": body})

    problem = problem_of(response, status=413, code="too-large")
    assert "20,000,000" in problem["detail"]
    assert body.n_read <= 32_000_000


def test_a_chunked_body_is_a_411(trained: TrainedModels, api: Client) -> None:
    sent = io.BytesIO(b"2\r\n[]\r\n0\r\n\r\n")

    with one_entry(outcome="refused", status_code=411, action="segments.predicted"):
        response = post(
            api, "kmeans", b"", headers={"Transfer-Encoding": "chunked"}, CONTENT_LENGTH="",
            **{"wsgi.input": sent},
        )  # fmt: skip

    problem_of(response, status=411, code="length-required")


def test_without_a_key_even_a_refused_body_is_a_401(api: Client, db: None) -> None:
    with one_entry(outcome="refused", status_code=401):
        response = post(
            Client(), "kmeans", b"", headers={"Transfer-Encoding": "chunked"},
            **{"wsgi.input": io.BytesIO()},
        )  # fmt: skip

    problem_of(response, status=401, code="no-key")


@pytest.mark.parametrize("accept", ["text/xml", "text/html", "application/xml;q=1, text/csv"])
def test_only_json_is_served(trained: TrainedModels, api: Client, accept: str) -> None:
    before = stored()

    with one_entry(outcome="refused", status_code=406):
        response = post(api, "kmeans", trained.records[:1], headers={"Accept": accept})

    problem_of(response, status=406, code="not-acceptable")
    assert stored() == before


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, */*;q=0.1", ""])
def test_who_takes_json_gets_it(trained: TrainedModels, api: Client, accept: str) -> None:
    response = post(api, "kmeans", trained.records[:1], headers={"Accept": accept})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_any_other_method_is_a_405_with_allow(db: None, api: Client, method: str) -> None:
    with one_entry(outcome="refused", status_code=405, action="segments.predicted"):
        response = api.generic(method, "/predict/kmeans")

    problem_of(response, status=405, code="method-not-allowed")
    assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("?store=maybe", "#/store"),
        ("?store=True", "#/store"),
        ("?store=", "#/store"),
        ("?store=true&store=false", "#/store"),
        ("?stroe=false", "#/stroe"),
        ("?store=%00", "#/store"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    trained: TrainedModels, api: Client, query: str, pointer: str
) -> None:
    before = stored()

    with one_entry(outcome="refused", status_code=400):
        response = post(api, "kmeans", trained.records[:1], query)

    body = problem_of(response, status=400, code="invalid-parameter")
    assert errors_of(body) == [(pointer, body["errors"][0]["code"])]
    assert stored() == before


@pytest.mark.parametrize("model_type", ["lda", "KMEANS", "kmeans/", "", "kmeans%00"])
def test_an_unknown_model_type_is_a_404(db: None, api: Client, model_type: str) -> None:
    problem_of(post(api, model_type, [{}]), status=404, code="not-found")


def test_without_an_active_version_the_answer_is_503(db: None, api: Client) -> None:
    with one_entry(outcome="failed", status_code=503, target_id="kmeans"):
        response = post(api, "kmeans", [{"customer_id": "c", "orders": 1}])

    problem_of(response, status=503, code="no-active-version")
    assert response.headers["Retry-After"]
    assert not Customer.objects.exists()


def test_a_stored_customer_is_assigned_in_every_version_that_serves(
    trained: TrainedModels, api: Client
) -> None:
    record = {**trained.records[0], "customer_id": "new", "total_spend": 9_000.0}

    api.post("/predict/kmeans", [record], content_type="application/json")

    asked = api.post("/predict/dbscan?store=false", [record], content_type="application/json")
    stored = Assignment.objects.get(version=trained.dbscan, customer="new")
    assert asked.json()["predictions"][0]["distance"] == stored.distance
    assert asked.json()["predictions"][0]["segment"] == stored.segment_id


def test_a_stored_customer_is_assigned_by_all_that_is_stored(
    trained: TrainedModels, api: Client
) -> None:
    whole = {**trained.records[0], "customer_id": "new", "age": 88}
    part = {name: value for name, value in whole.items() if name != "age"}
    first = api.post("/predict/kmeans", [whole], content_type="application/json").json()

    api.post("/predict/kmeans", [part], content_type="application/json")

    stored = Assignment.objects.get(version=trained.kmeans, customer="new")
    assert stored.distance == first["predictions"][0]["distance"]
