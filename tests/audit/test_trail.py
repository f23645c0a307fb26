"""The trail takes entries in the transaction of what they record, and never in its absence."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from audit import trail
from audit.models import AuditEntry
from audit.trail import MAX_DETAILS, Actor, canonical_json
from monitoring.models import DriftReport
from segments.models import Assignment, Customer
from tests.expectations import problem_of
from tests.factories import TrainedModels, make_records

CALLS = [
    ("GET", "/models"),
    ("POST", "/predict/kmeans"),
    ("POST", "/predict/dbscan"),
    ("POST", "/monitor/drift"),
    ("GET", "/model/status/kmeans"),
    ("GET", "/segments/dbscan"),
    ("GET", "/audit/logs"),
]


def call(client: Client, method: str, path: str) -> Any:
    body = json.dumps(make_records(n_customers=60, random_state=3)) if method == "POST" else ""
    return client.generic(method, path, body, content_type="application/json")


def stored() -> tuple[Any, ...]:
    return (
        list(Customer.objects.values_list()),
        list(Assignment.objects.order_by("version_id", "customer_id").values_list()),
        DriftReport.objects.count(),
        AuditEntry.objects.count(),
    )


def refuse_entries() -> list[str]:
    if connection.vendor == "sqlite":
        return [
            "CREATE TRIGGER refuse_entries BEFORE INSERT ON audit_auditentry "
            "BEGIN SELECT RAISE(ABORT, 'no space'); END"
        ]
    return [
        "CREATE FUNCTION refuse_entries() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no space'; END $$",
        "CREATE TRIGGER refuse_entries BEFORE INSERT ON audit_auditentry "
        "FOR EACH ROW EXECUTE FUNCTION refuse_entries()",
    ]


def allow_entries() -> list[str]:
    if connection.vendor == "sqlite":
        return ["DROP TRIGGER refuse_entries"]
    return ["DROP FUNCTION refuse_entries() CASCADE"]


def execute(statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_what_cannot_be_recorded_is_not_done(
    transactional_db: None, trained: TrainedModels, api: Client
) -> None:
    before = stored()
    execute(refuse_entries())

    try:
        answers = [
            call(client, method, path) for method, path in CALLS for client in (api, Client())
        ]
        answers.append(api.post("/predict/kmeans", [{}], content_type="application/json"))
    finally:
        execute(allow_entries())

    for answer in answers:
        problem_of(answer, status=503, code="audit-unavailable")
    assert stored() == before


@pytest.mark.django_db
def test_an_entry_holds_who_did_what_to_what_and_how_long_it_took() -> None:
    by = Actor.command("train_model")
    by.started = time.monotonic() - 1.5

    entry = trail.record(
        "model_version.trained", by=by, target=("model_version", "kmeans 3"), n_items=7,
        details={"b": 1, "a": None},
    )  # fmt: skip

    entry.refresh_from_db()
    assert (entry.actor_kind, entry.actor_id) == ("command", "train_model")
    assert entry.actor_label.startswith("train_model run by ")
    assert (entry.target_type, entry.target_id) == ("model_version", "kmeans 3")
    assert (entry.outcome, entry.n_items, entry.status_code) == ("succeeded", 7, None)
    assert 1_500 <= entry.duration_ms < 60_000
    assert entry.details == '{"a":null,"b":1}'
    assert by.n_recorded == 1


@pytest.mark.django_db
def test_an_entry_falls_with_its_transaction() -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        trail.record("tests.acted", by=Actor.system("tests"))
        raise RuntimeError

    assert not AuditEntry.objects.filter(action="tests.acted").exists()


@pytest.mark.django_db
def test_texts_from_outside_are_cut_to_the_column() -> None:
    by = Actor.system("n" * 500)

    entry = trail.record("tests.acted", by=by, target=("file", "f" * 500))

    entry.refresh_from_db()
    assert (len(entry.actor_id), len(entry.actor_label), len(entry.target_id)) == (150, 200, 200)


def test_details_are_canonical_and_bounded() -> None:
    assert canonical_json({"b": [1, 2], "a": {"d": None, "c": "\u00e9"}}) == (
        '{"a":{"c":"\\u00e9","d":null},"b":[1,2]}'
    )
    assert canonical_json({"long": "x" * MAX_DETAILS}) == '{"omitted_characters":20011}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": float("nan")})
