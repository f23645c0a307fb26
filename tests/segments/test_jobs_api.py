"""`POST /models/{model_type}/train`, `GET /jobs/{id}`, cancel and retry."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from modelregistry.models import JobState, TrainingJob
from segments.jobs import lost_after, run_queued
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import TrainedModels, make_customers

TRAIN = "/models/kmeans/train"


def post(api: Client, path: str, body: object = None) -> Any:
    """A POST of JSON; None is no body at all."""
    if body is None:
        return api.generic("POST", path)
    return api.generic("POST", path, json.dumps(body), content_type="application/json")


def asked_for(api: Client, body: object = None) -> dict[str, Any]:
    response = post(api, TRAIN, body)
    assert response.status_code == 202, response.content
    return response.json()


def test_a_training_is_asked_for_watched_and_ends_as_a_version(
    trained: TrainedModels, api: Client
) -> None:
    body = {"parameters": {"k": 3}, "features": ["age", "orders"], "note": "spring"}

    with one_entry(action="training.queued", actor_kind="api_key") as entries:
        response = post(api, TRAIN, body)
    job = response.json()
    waiting = api.get(response.headers["Location"]).json()
    run_queued(job["id"])
    with one_entry(action="training.read", target_id=str(job["id"])):
        done = api.get(response.headers["Location"]).json()

    assert response.status_code == 202
    assert entries[0].target_id == str(job["id"])
    assert waiting == job
    assert (job["state"], job["progress"], job["version"]) == ("queued", 0.0, None)
    assert (job["model_type"], job["parameters"], job["features"], job["note"]) == (
        "kmeans",
        {"n_clusters": 3},
        ["age", "orders"],
        "spring",
    )
    assert (done["state"], done["progress"], done["version"]) == ("succeeded", 1.0, 2)
    assert job["links"] == {"self": f"/jobs/{job['id']}", "version": None}
    assert api.get(done["links"]["version"]).json()["version"] == 2
    assert (done["error"], done["notice"], done["retry_of"]) == ("", "", None)
    moments = [done[name] for name in ("queued_at", "started_at", "finished_at")]
    assert moments == sorted(moments, key=datetime.fromisoformat)


@pytest.mark.parametrize("body", [None, {}, {"features": None}, {"parameters": {}, "note": ""}])
def test_everything_may_be_left_to_the_server(
    trained: TrainedModels, api: Client, body: object
) -> None:
    job = asked_for(api, body)

    assert (job["parameters"], job["features"], job["note"]) == ({}, None, "")


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"parameters": {"k": 1}}, [("#/parameters/k", "invalid")]),
        (
            {"parameters": {"eps": 1, "a/b": 2}, "features": ["age", "nope"]},
            [
                ("#/parameters/eps", "invalid"),
                ("#/parameters/a~1b", "invalid"),
                ("#/features/1", "invalid"),
            ],
        ),
        ({"features": ["AGE", "age"]}, [("#/features/0", "invalid")]),
        ({"parameters": {"k": 3, "n_clusters": 3}}, [("#/parameters", "invalid")]),
        ({"parameters": {"k": 10**400}}, [("#/parameters/k", "invalid")]),
    ],
)
def test_what_cannot_be_trained_is_named_and_not_queued(
    trained: TrainedModels, api: Client, body: object, errors: list[tuple[str, str]]
) -> None:
    n_jobs = TrainingJob.objects.count()

    with one_entry(action="training.queued", outcome="refused", status_code=400):
        response = post(api, TRAIN, body)

    problem = problem_of(response, status=400, code="invalid-training")
    assert errors_of(problem) == errors
    assert TrainingJob.objects.count() == n_jobs


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"parameter": {}}, "#/parameter"),
        ({"parameters": []}, "#/parameters"),
        ({"parameters": None}, "#/parameters"),
        ({"parameters": {"k": "3"}}, "#/parameters/k"),
        ({"parameters": {"k": True}}, "#/parameters/k"),
        ({"features": []}, "#/features"),
        ({"features": "age"}, "#/features"),
        ({"features": [1]}, "#/features/0"),
        ({"features": ["x" * 201]}, "#/features/0"),
        ({"features": ["a\0"]}, "#/features/0"),
        ({"note": 5}, "#/note"),
        ({"note": "x" * 501}, "#/note"),
        ({"a/b~": 1}, "#/a~1b~0"),
        ({"non_field_errors": 1}, "#/non_field_errors"),
        ([], "#"),
        ([{"note": "x"}], "#"),
        ("kmeans", "#"),
        (5, "#"),
    ],
)
def test_a_body_of_another_form_is_refused(
    trained: TrainedModels, api: Client, body: object, pointer: str
) -> None:
    with one_entry(action="training.queued", outcome="refused", status_code=400):
        response = post(api, TRAIN, body)

    problem = problem_of(response, status=400, code="invalid-parameter")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert "x" * 201 not in response.text


def test_too_few_customers_are_a_409_at_once(db: None, api: Client) -> None:
    make_customers(n_customers=5)

    response = post(api, TRAIN)

    problem = problem_of(response, status=409, code="too-few-customers")
    assert "at least 10 customers, found 5" in problem["detail"]
    assert not TrainingJob.objects.exists()


@pytest.mark.parametrize("path", ["/models/lda/train", "/jobs/x", "/jobs/-1", "/jobs/"])
def test_an_unknown_address_is_a_404(trained: TrainedModels, api: Client, path: str) -> None:
    problem_of(post(api, path), status=404, code="not-found")


@pytest.mark.parametrize("job_id", ["0", "123456789", "9" * 30])
def test_a_job_that_never_was_is_a_404(trained: TrainedModels, api: Client, job_id: str) -> None:
    problem_of(api.get(f"/jobs/{job_id}"), status=404, code="not-found")
    for verb in ("cancel", "retry"):
        problem_of(post(api, f"/jobs/{job_id}/{verb}"), status=404, code="not-found")


def test_a_queued_job_is_cancelled_and_tried_again(trained: TrainedModels, api: Client) -> None:
    job = asked_for(api, {"parameters": {"k": 3}, "note": "spring"})

    with one_entry(action="training.cancelled", target_id=str(job["id"])):
        cancelled = post(api, f"/jobs/{job['id']}/cancel")
    with one_entry(action="training.retried"):
        again = post(api, f"/jobs/{job['id']}/retry", {})

    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert cancelled.json()["error"].startswith("Cancelled by ")
    assert again.status_code == 202
    assert again.headers["Location"] == f"/jobs/{again.json()['id']}"
    assert (again.json()["retry_of"], again.json()["note"]) == (job["id"], "spring")
    for verb in ("cancel", "retry"):
        with one_entry(outcome="refused", status_code=409):
            refused = post(api, f"/jobs/{job['id']}/{verb}")
        problem_of(refused, status=409, code="conflict")


def test_a_running_job_is_asked_to_stop(trained: TrainedModels, api: Client) -> None:
    job = asked_for(api)
    TrainingJob.objects.filter(pk=job["id"]).update(
        state=JobState.RUNNING, heartbeat_at=timezone.now()
    )

    with one_entry(action="training.cancel_requested"):
        body = post(api, f"/jobs/{job['id']}/cancel").json()

    assert (body["state"], body["error"]) == ("running", "")
    assert body["cancel_requested_at"] and "stops at its next step" in body["notice"]


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_a_body_where_none_is_asked_for_is_refused(
    trained: TrainedModels, api: Client, verb: str
) -> None:
    job = asked_for(api)

    response = post(api, f"/jobs/{job['id']}/{verb}", {"force": True})

    problem = problem_of(response, status=400, code="invalid-parameter")
    assert errors_of(problem) == [("#/force", "unknown-field")]


def test_a_failure_is_told_without_its_traceback(trained: TrainedModels, api: Client) -> None:
    job = TrainingJob.objects.create(
        model_type="kmeans",
        queued_by="ann",
        state=JobState.FAILED,
        error='lost it\nTraceback (most recent call last):\n  File "/secret.py"',
        finished_at=timezone.now(),
    )

    body = api.get(f"/jobs/{job.pk}")

    assert body.json()["error"] == "lost it"
    assert "Traceback" not in body.text


def test_a_job_that_nobody_takes_says_so(trained: TrainedModels, api: Client) -> None:
    job = asked_for(api)
    long_ago = timezone.now() - 2 * lost_after()
    TrainingJob.objects.filter(pk=job["id"]).update(queued_at=long_ago)

    assert "No worker has taken it" in api.get(f"/jobs/{job['id']}").json()["notice"]


def test_a_job_behind_another_says_which_it_waits_for(trained: TrainedModels, api: Client) -> None:
    ahead, job = asked_for(api), asked_for(api)
    TrainingJob.objects.filter(pk=ahead["id"]).update(
        state=JobState.RUNNING, heartbeat_at=timezone.now()
    )

    notice = api.get(f"/jobs/{job['id']}").json()["notice"]

    assert notice == f"It waits for job {ahead['id']}, which is running."
