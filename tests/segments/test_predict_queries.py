"""`POST /predict` asks the database a constant number of questions, however many customers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from access.scopes import Scope
from segments.models import Segment
from tests.factories import TrainedModels, make_client, make_key, make_records

# The key; the version with its segments; savepoint, audit entry, release.
N_WITHOUT_STORING = 5
# Besides, within that savepoint: savepoint, read what is stored, upsert, release; for each type
# that serves its version and the assignments, on SQLite after those that change.
N_WITH_STORING = N_WITHOUT_STORING + 4 + 2 * (3 if connection.vendor == "sqlite" else 2)


@pytest.fixture
def client(db: None) -> Client:
    return make_client(scopes=[Scope.PREDICT])


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
@pytest.mark.parametrize("n_customers", [1, 1_000])
@pytest.mark.parametrize(
    ("store", "n_queries"), [("false", N_WITHOUT_STORING), ("true", N_WITH_STORING)]
)
def test_the_number_of_queries_does_not_grow_with_the_customers(
    trained: TrainedModels,
    client: Client,
    django_assert_num_queries: Any,
    model_type: str,
    n_customers: int,
    store: str,
    n_queries: int,
) -> None:
    body = json.dumps(make_records(n_customers=n_customers, random_state=3))

    with django_assert_num_queries(n_queries):
        answer = client.post(
            f"/predict/{model_type}?store={store}", body, content_type="application/json"
        )

    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == n_customers


def test_a_key_revoked_between_two_requests_is_refused_at_once(
    trained: TrainedModels, db: None
) -> None:
    key, secret = make_key(scopes=[Scope.PREDICT])
    client = Client(headers={"X-API-Key": secret})
    body = json.dumps(trained.records[:1])
    before = client.post("/predict/kmeans", body, content_type="application/json")

    key.revoked = True
    key.save(update_fields=["revoked"])
    after = client.post("/predict/kmeans", body, content_type="application/json")

    assert (before.status_code, after.status_code) == (200, 401)


def test_a_renamed_segment_shows_its_new_name_in_the_next_answer(
    trained: TrainedModels, client: Client
) -> None:
    body = json.dumps(trained.records[:1])
    url = "/predict/kmeans?store=false"
    before = client.post(url, body, content_type="application/json").json()["predictions"][0]

    Segment.objects.filter(pk=before["segment"]).update(name="Renamed")
    after = client.post(url, body, content_type="application/json").json()["predictions"][0]

    assert before["segment_name"] != "Renamed"
    assert after == before | {"segment_name": "Renamed"}
