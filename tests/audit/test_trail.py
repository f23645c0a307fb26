"""The trail takes entries in the transaction of what they record, and never in its absence."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import DatabaseError, transaction
from django.test import Client
from django.urls import reverse

from audit import trail
from audit.models import AuditEntry
from audit.trail import MAX_DETAILS, Actor, canonical_json
from monitoring.models import MonitoringPolicy
from tests.audit.admin_acts import Scene
from tests.audit.command_runs import RUNS, Place, carry_out, sealing_files
from tests.audit.no_entries import all_rows, no_entries
from tests.expectations import problem_of
from tests.factories import TrainedModels, make_records
from tests.monitoring.test_admin import make_report
from tests.staff import superuser

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


GOES_ON = {"train_model", "verify_audit"}
"""A training is a job, with rows before its end; a verification says its verdict all the same."""


def test_what_cannot_be_recorded_is_not_done(
    transactional_db: None, trained: TrainedModels, api: Client
) -> None:
    MonitoringPolicy.current()  # whoever asks first makes it, with its defaults
    before = all_rows()

    with no_entries():
        answers = [
            call(client, method, path) for method, path in CALLS for client in (api, Client())
        ]
        answers.append(api.post("/predict/kmeans", [{}], content_type="application/json"))

    for answer in answers:
        problem_of(answer, status=503, code="audit-unavailable")
    assert all_rows() == before


def test_neither_is_what_is_refused_or_taken_away_in_the_admin(
    transactional_db: None, trained: TrainedModels
) -> None:
    report = make_report(trained, factor=1.0)
    client, stranger = superuser(), Client(raise_request_exception=False)
    client.raise_request_exception = False
    before = all_rows()

    with no_entries():
        answers = [
            stranger.post("/admin/login/", {"username": "root", "password": "wrong"}),
            client.get(reverse("admin:monitoring_driftreport_export")),
            client.get(reverse("admin:monitoring_driftreport_json", args=[report.pk])),
        ]

    assert [answer.status_code for answer in answers] == [500] * len(answers)
    assert all_rows() == before


def test_neither_is_what_a_command_was_to_do(
    transactional_db: None,
    trained: TrainedModels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    MonitoringPolicy.current()
    changed, done = [], []

    for name in sorted(RUNS.keys() - GOES_ON):
        with monkeypatch.context() as patch:
            place = Place(Scene(trained, trained.kmeans), tmp_path, patch)
            sealing_files(place)
            RUNS[name].around(place)
            arguments = RUNS[name].prepare(place)
            before = all_rows()
            with no_entries(), suppress(DatabaseError, CommandError):
                carry_out(name, *arguments)
                done.append(name)
            if all_rows() != before:
                changed.append(name)

    assert (changed, done) == ([], [])


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
