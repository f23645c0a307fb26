"""`POST /customers`, `GET` and `DELETE /customers/{customer_id}`."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from audit.models import AuditEntry
from segments.customer_digests import customer_digest
from segments.customers import upsert_customers
from segments.models import Assignment, Customer
from tests.bad_input import BAD_BODIES, BadBody
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import TrainedModels, make_version

ODD_IDS = [
    "a/b", "/", "//a//", "100%", "%41", "%252F", "Zöe", "\U0001f600", " leading", ".", "..",
    "a/../b", "?x=1", "#", "a;b", "a+b", "..%2f", "\u00e9\u0301", "a\\b", "C-1/", "a\tb", "a\nb",
]  # fmt: skip


def post(client: Client, body: Any) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post("/customers", content, content_type="application/json")


def path_of(customer_id: str) -> str:
    return f"/customers/{quote(customer_id, safe='')}"


@pytest.mark.django_db
def test_customers_are_created_updated_or_left_as_they_are(api: Client) -> None:
    upsert_customers({"a": {"x": 1, "y": 2}, "b": {"x": 1}}, at=timezone.now())
    body = [
        {"customer_id": "a", "y": 3},
        {"customer_id": "b", "x": 1},
        {"customer_id": "c", "x": None, "word": "é"},
    ]

    with one_entry(action="customers.stored", n_items=3, status_code=200) as entries:
        response = post(api, body)

    assert response.json() == {"n_created": 1, "n_updated": 1, "n_unchanged": 1}
    stored = Customer.objects.filter(pk__in=["a", "b", "c"])
    assert {c.pk: c.attributes for c in stored} == {
        "a": {"x": 1, "y": 3},
        "b": {"x": 1},
        "c": {"x": None, "word": "é"},
    }
    details = json.loads(entries[0].details)
    assert len(details.pop("sha256")) == 64
    assert details == {"n_created": 1, "n_updated": 1, "n_unchanged": 1}


@pytest.mark.django_db
def test_a_single_customer_is_the_target_of_the_entry_by_a_digest(api: Client) -> None:
    digest = customer_digest("a", secret=settings.SECRET_KEY)

    with one_entry(action="customers.stored", target_type="customer", target_id=digest):
        post(api, [{"customer_id": "a", "x": 1}])
    with one_entry(action="customers.stored", target_type="", target_id=""):
        post(api, [{"customer_id": "a", "x": 2}, {"customer_id": "b", "x": 2}])


@pytest.mark.django_db
@pytest.mark.parametrize("bad", BAD_BODIES, ids=lambda bad: bad.name)
def test_bad_customers_are_refused_as_in_a_prediction(api: Client, bad: BadBody) -> None:
    with one_entry(action="customers.stored", outcome="refused", status_code=400):
        response = post(api, bad.body({"customer_id": "C-1", "orders": 1, "channel": "web"}))

    body = problem_of(response, status=400, code=bad.code)
    if bad.errors:
        assert set(bad.errors) <= set(errors_of(body))
    assert bad.value not in response.text
    assert not Customer.objects.filter(pk="C-1").exists()


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"orders": "12"}, "wrong-type"),
        ({"orders": True}, "wrong-type"),
        ({"newsletter": 1}, "wrong-type"),
        ({"channel": 3}, "wrong-type"),
    ],
)
def test_a_value_of_another_kind_than_the_serving_feature_is_refused_as_in_a_prediction(
    trained: TrainedModels, api: Client, attributes: dict[str, Any], code: str
) -> None:
    whole = trained.records[0] | attributes
    body = [{"customer_id": "new", "orders": 1}, {"customer_id": "bad", **attributes}]

    predicted = api.post("/predict/kmeans", [whole], content_type="application/json")
    with one_entry(action="customers.stored", outcome="refused", status_code=400):
        stored = post(api, body)

    name = next(iter(attributes))
    found = problem_of(stored, status=400, code="invalid-records")
    assert errors_of(found) == [(f"#/1/{name}", code)]
    [expected] = problem_of(predicted, status=400, code="invalid-records")["errors"]
    assert found["errors"][0]["detail"] == expected["detail"]
    assert not Customer.objects.filter(pk__in=["new", "bad"]).exists()


def test_nulls_new_attributes_and_what_is_left_out_are_stored(
    trained: TrainedModels, api: Client
) -> None:
    body = [
        {"customer_id": "a", "orders": None, "brand_new": "12"},
        {"customer_id": "b", "brand_new": 12, "orders": 3.5, "channel": "never seen"},
        {"customer_id": "c"},
    ]

    assert post(api, body).json()["n_created"] == 3


@pytest.mark.django_db
def test_an_id_is_required(api: Client) -> None:
    body = problem_of(post(api, [{"x": 1}]), status=400, code="invalid-records")

    assert errors_of(body) == [("#/0/customer_id", "missing")]


@pytest.mark.django_db
def test_no_more_customers_than_the_limit(api: Client, settings: Any) -> None:
    settings.MAX_RECORDS = 2

    response = post(api, [{"customer_id": str(n)} for n in range(3)])

    assert errors_of(problem_of(response, status=400, code="invalid-records")) == [
        ("#", "too-many")
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("n_customers", [1, 300])
def test_the_statements_do_not_grow_with_the_customers(
    api: Client, django_assert_num_queries: Any, n_customers: int
) -> None:
    with django_assert_num_queries(9):  # what serves, two savepoints, a read, a write, the entry
        post(api, [{"customer_id": str(n)} for n in range(n_customers)])


def test_a_customer_is_shown_with_every_assignment_that_matters(
    trained: TrainedModels, api: Client
) -> None:
    record = dict(trained.records[0])
    customer_id = record.pop("customer_id")
    make_version(active=True)
    make_version()

    with one_entry(
        action="customer.read",
        target_type="customer",
        target_id=customer_digest(customer_id, secret=settings.SECRET_KEY),
        n_items=1,
    ) as entries:
        answer = api.get(path_of(customer_id)).json()

    assert answer["customer_id"] == customer_id
    assert answer["attributes"] == record
    assert [(row["model_type"], row["version"], row["state"]) for row in answer["assignments"]] == [
        ("dbscan", 1, "active"),
        ("kmeans", 3, "candidate"),
        ("kmeans", 2, "active"),
        ("kmeans", 1, "previous"),
    ]
    stored = Assignment.objects.get(version=trained.dbscan, customer=customer_id)
    shown = answer["assignments"][0]
    assert (shown["segment"], shown["distance"]) == (stored.segment_id, stored.distance)
    assert (shown["status"], shown["is_stale"]) == (stored.status, False)
    assert json.loads(entries[0].details)["path"] == "/customers/{customer_id}"
    assert customer_id not in entries[0].details


def test_an_assignment_of_earlier_attributes_is_stale(trained: TrainedModels, api: Client) -> None:
    customer_id = trained.records[0]["customer_id"]
    upsert_customers({customer_id: {"orders": 77}}, at=timezone.now())

    rows = api.get(path_of(customer_id)).json()["assignments"]

    assert [row["is_stale"] for row in rows] == [True, True]


@pytest.mark.django_db
@pytest.mark.parametrize("customer_id", ODD_IDS)
def test_any_id_that_is_stored_is_found_and_erased_by_its_path(
    api: Client, customer_id: str
) -> None:
    upsert_customers({key: {"me": key} for key in ODD_IDS}, at=timezone.now())

    found = api.get(path_of(customer_id))
    with one_entry(action="customer.erased"):
        receipt = api.delete(path_of(customer_id))

    assert found.json()["attributes"] == {"me": customer_id}
    assert receipt.json()["erased"]["customers"] == 1
    assert set(ODD_IDS) - {row.pk for row in Customer.objects.all()} == {customer_id}


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "delete"])
@pytest.mark.parametrize(
    "path", ["nobody", "%00", "a%00b", "%0d%0a", "%FF", "%ED%A0%80", "x" * 201, "%25"]
)
def test_nobody_is_a_404(api: Client, method: str, path: str) -> None:
    action = {"get": "customer.read", "delete": "customer.erased"}[method]

    with one_entry(action=action, outcome="refused", status_code=404):
        response = getattr(api, method)(f"/customers/{path}")

    problem_of(response, status=404, code="not-found")


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "delete"])
def test_bytes_that_are_no_text_are_not_the_id_that_spells_them(api: Client, method: str) -> None:
    upsert_customers({"%FF": {"x": 1}}, at=timezone.now())

    with one_entry(outcome="refused", status_code=404, target_id=""):
        response = getattr(api, method)("/customers/%FF", RAW_URI="/customers/%FF?")

    problem_of(response, status=404, code="not-found")
    assert api.get("/customers/%25FF", RAW_URI="/customers/%25FF").json()["customer_id"] == "%FF"


def test_a_customer_is_erased_once(trained: TrainedModels, api: Client) -> None:
    customer_id = trained.records[5]["customer_id"]

    with one_entry(action="customer.erased", outcome="succeeded", n_items=1):
        first = api.delete(path_of(customer_id))
    with one_entry(action="customer.erased", outcome="refused", status_code=404):
        second = api.delete(path_of(customer_id))

    receipt = first.json()
    assert first.status_code == 200
    assert receipt["erased"]["assignments"] == 2
    assert [each["core_samples_removed"] for each in receipt["versions"]] == [1]
    assert receipt["kept"] and receipt["not_erased_at_once"]
    problem_of(second, status=404, code="not-found")
    problem_of(api.get(path_of(customer_id)), status=404, code="not-found")
    trail = AuditEntry.objects.values_list("target_id", "details")
    assert not any(customer_id in part for entry in trail for part in entry)


def test_nothing_is_erased_that_cannot_be_recorded(
    trained: TrainedModels, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the trail is gone")

    customer_id = trained.records[5]["customer_id"]
    monkeypatch.setattr("segments.erasure.trail.record", fail)

    with pytest.raises(RuntimeError):
        api.delete(path_of(customer_id))

    assert Customer.objects.filter(pk=customer_id).exists()
    trained.dbscan.refresh_from_db()
    assert (settings.MODEL_DIR / trained.dbscan.artifact).exists()


@pytest.mark.django_db
def test_an_erased_id_may_come_back_as_a_new_customer(api: Client) -> None:
    post(api, [{"customer_id": "a", "x": 1, "y": 2}])
    api.delete("/customers/a")

    assert post(api, [{"customer_id": "a", "x": 5}]).json()["n_created"] == 1
    assert Customer.objects.get(pk="a").attributes == {"x": 5}
