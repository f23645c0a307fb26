"""The same POST with the same Idempotency-Key is carried out once, whoever dies or races."""

from __future__ import annotations

import zlib
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from access import idempotency
from access.authentication import BOOTSTRAP_ID
from access.idempotency import Claim, InProgress, forget_answers, key_in, sweep
from access.keys import rotate
from access.models import IdempotentRequest
from access.scopes import ALL_SCOPES
from audit.models import AuditEntry
from modelregistry.models import TrainingJob
from segments.models import Customer
from tests.expectations import one_entry, problem_of
from tests.factories import BY, TrainedModels, make_key

NEW_ID = "idempotent"


def predict(
    client: Client, record: dict[str, Any], *, key: str = "first-key", query: str = ""
) -> HttpResponse:
    return client.post(
        f"/predict/kmeans{query}",
        [record],
        content_type="application/json",
        headers={"Idempotency-Key": key},
    )


@pytest.fixture
def record(trained: TrainedModels) -> dict[str, Any]:
    return trained.records[0] | {"customer_id": NEW_ID}


def test_the_same_request_again_gets_the_first_answer_and_does_nothing(
    api: Client, record: dict[str, Any]
) -> None:
    first = predict(api, record)
    revised = Customer.objects.get(pk=NEW_ID).updated_at
    with one_entry(action="request.replayed", outcome="succeeded", status_code=200) as entries:
        second = predict(api, record, key='"first-key"')

    assert (second.status_code, second.content) == (200, first.content)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert first.headers["X-Request-ID"] in entries[0].details
    assert Customer.objects.get(pk=NEW_ID).updated_at == revised


def test_status_and_location_are_those_of_the_first_answer(
    api: Client, trained: TrainedModels
) -> None:
    answers = [
        api.generic("POST", "/models/kmeans/train", headers={"Idempotency-Key": "train"})
        for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert TrainingJob.objects.filter(state="queued").count() == 1


def test_a_key_and_its_successors_are_one_caller(trained: TrainedModels) -> None:
    key, secret = make_key(scopes=sorted(ALL_SCOPES))
    second, second_secret = rotate(key, by=BY)
    third, third_secret = rotate(second, by=BY)

    jobs = [
        Client(headers={"X-API-Key": each}).generic(
            "POST", "/models/kmeans/train", headers={"Idempotency-Key": "rot-1"}
        )
        for each in (secret, second_secret, third_secret)
    ]

    assert third.lineage == second.lineage == key.pk
    assert [answer.headers.get("Idempotent-Replayed") for answer in jobs] == [None, "true", "true"]
    assert TrainingJob.objects.filter(state="queued").count() == 1


@pytest.mark.parametrize("query", ["", "?store=false"])
def test_another_body_or_query_with_the_key_is_refused(
    api: Client, record: dict[str, Any], query: str
) -> None:
    predict(api, record)
    other = record if query else record | {"orders": 3}

    with one_entry(outcome="refused", status_code=422):
        answer = predict(api, other, query=query)

    problem_of(answer, status=422, code="idempotency-key-reused")


def test_the_key_of_another_caller_or_route_is_another_key(
    api: Client, record: dict[str, Any]
) -> None:
    _, secret = make_key(scopes=sorted(ALL_SCOPES))
    other = Client(headers={"X-API-Key": secret})
    predict(api, record)

    elsewhere = api.post(
        "/predict/dbscan",
        [record | {"orders": 3}],
        content_type="application/json",
        headers={"Idempotency-Key": "first-key"},
    )

    assert predict(other, record | {"orders": 3}).status_code == 200
    assert elsewhere.status_code == 200


def test_while_the_first_runs_the_second_is_told_to_wait(
    api: Client, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Claim, "release", lambda self: None)  # as if its process had died
    predict(api, record | {"orders": "x"})
    row = IdempotentRequest.objects.get()

    busy = predict(api, record | {"orders": "x"})
    IdempotentRequest.objects.update(claimed_until=timezone.now())
    with pytest.raises(InProgress):  # what the first meets when it comes to commit after all
        predict(api, record | {"orders": "x"})
        Claim(row.digest, row.holder).mark_done()

    problem_of(busy, status=409, code="idempotency-in-progress")
    assert busy.headers["Retry-After"] == "1"


@pytest.mark.parametrize("status", [400, 503])
def test_a_request_that_did_nothing_gives_its_key_free(
    api: Client, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with monkeypatch.context() as patch:
        if status == 503:
            patch.setattr("access.api.trail.record", failing)
            patch.setattr("segments.prediction.trail.record", failing)
        first = predict(api, record | ({"orders": "x"} if status == 400 else {}))

    second = predict(api, record)

    assert (first.status_code, second.status_code) == (status, 200)


def failing(*args: Any, **kwargs: Any) -> None:
    raise DatabaseError("no disk")


def test_work_that_was_done_is_not_done_again_when_its_answer_was_lost(
    api: Client, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # as if the process had died before it answered
        patch.setattr(Claim, "keep", lambda self, *answer: None)
        predict(api, record)
    before_the_end = predict(api, record)
    IdempotentRequest.objects.update(claimed_until=timezone.now())
    n_predicted = AuditEntry.objects.filter(action="segments.predicted", outcome="succeeded")
    n_before = n_predicted.count()

    after = predict(api, record)

    problem_of(before_the_end, status=409, code="idempotency-in-progress")
    body = problem_of(after, status=409, code="idempotency-answer-gone")
    assert IdempotentRequest.objects.get().request_id in body["detail"]
    assert n_predicted.count() == n_before


def test_an_answer_that_is_too_large_is_not_kept(
    api: Client, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "MAX_ANSWER_BYTES", 10)
    predict(api, record)

    problem_of(predict(api, record), status=409, code="idempotency-answer-gone")


def test_forgotten_answers_name_nobody_and_are_not_made_anew(
    api: Client, record: dict[str, Any]
) -> None:
    predict(api, record)

    assert forget_answers() == 1
    assert forget_answers() == 0

    assert IdempotentRequest.objects.get().answer is None
    problem_of(predict(api, record), status=409, code="idempotency-answer-gone")


def test_an_erasure_asked_for_again_gets_the_first_receipt(
    api: Client, trained: TrainedModels
) -> None:
    key = trained.records[0]["customer_id"]
    once = {"Idempotency-Key": "erase-once"}
    first = api.delete(f"/customers/{key}", headers=once)
    api.delete(f"/customers/{trained.records[1]['customer_id']}")

    second = api.delete(f"/customers/{key}", headers=once)

    assert (first.status_code, second.status_code) == (200, 200)
    assert second.content == first.content
    assert second.headers["Idempotent-Replayed"] == "true"
    problem_of(api.delete(f"/customers/{key}"), status=404, code="not-found")


def test_a_kept_request_does_not_tell_whom_it_was_about(
    api: Client, trained: TrainedModels, settings: Any
) -> None:
    path = f"/customers/{trained.records[0]['customer_id']}"
    api.delete(path, headers={"Idempotency-Key": "erase-once"})

    [row] = IdempotentRequest.objects.all()

    assert row.digest != idempotency.digest_of(BOOTSTRAP_ID, "DELETE", path, "erase-once")
    assert trained.records[0]["customer_id"].encode() not in zlib.decompress(row.answer)


def test_answers_that_can_name_nobody_outlive_an_erasure(
    api: Client, trained: TrainedModels, record: dict[str, Any]
) -> None:
    def asked() -> list[HttpResponse]:
        return [
            api.post(
                path,
                body,
                content_type="application/json",
                headers={"Idempotency-Key": "before"},
            )
            for path, body in (
                ("/models/kmeans/train", {"note": "weekly"}),
                ("/customers", [{"customer_id": "other", "age": 40}]),
                ("/predict/kmeans", [record]),
            )
        ]

    first = asked()
    receipt = api.delete(f"/customers/{trained.records[1]['customer_id']}").json()
    again = asked()

    assert [answer.status_code for answer in first] == [202, 200, 200]
    assert receipt["erased"]["stored_answers"] == 1
    assert [answer.content for answer in again[:2]] == [answer.content for answer in first[:2]]
    problem_of(again[2], status=409, code="idempotency-answer-gone")


def test_after_a_day_a_key_is_free_swept_or_not(api: Client, record: dict[str, Any]) -> None:
    predict(api, record)
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=24))

    anew = predict(api, record | {"orders": 3})

    assert anew.status_code == 200
    assert "Idempotent-Replayed" not in anew.headers
    assert sweep(at=timezone.now()) == 0
    assert sweep(at=timezone.now() + timedelta(hours=24)) == 1


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("a", "a"),
        ('"a"', "a"),
        (r'"a\"b\\"', r'a"b' + "\\"),
        ("x" * 255, "x" * 255),
        ('"' + "x" * 255 + '"', "x" * 255),
        ("a,b;c=1", "a,b;c=1"),
    ],
)
def test_a_key_is_bare_or_quoted(header: str, key: str) -> None:
    assert key_in(header) == key


@pytest.mark.parametrize(
    "header", ["", '""', '"', '"a', "a b", '"a b"', "\u00e9", "a\tb", "x" * 256, '"a"b"', r'"a\"']
)
@pytest.mark.django_db
def test_any_other_key_is_refused(api: Client, header: str) -> None:
    with one_entry(outcome="refused", status_code=400):
        answer = api.generic("POST", "/models/kmeans/train", headers={"Idempotency-Key": header})

    body = problem_of(answer, status=400, code="invalid-idempotency-key")
    assert len(header) < 3 or header not in str(body)
    assert not IdempotentRequest.objects.exists()


def test_reads_take_no_notice_of_a_key(api: Client, trained: TrainedModels) -> None:
    assert api.get("/models", headers={"Idempotency-Key": "\u00e9"}).status_code == 200


def test_an_answer_that_must_not_be_stored_is_not(api: Client, trained: TrainedModels) -> None:
    answers = [
        api.generic("POST", "/auth/token", headers={"Idempotency-Key": "token"}) for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content != answers[1].content
    assert not IdempotentRequest.objects.exists()
