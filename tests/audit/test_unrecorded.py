"""What cannot be recorded is not done: with a trail that takes no entry, nothing changes."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.db import DatabaseError
from django.test import Client

from modelregistry.models import ModelVersion, Stage, TrainingJob
from modelregistry.training import TrainingRequest
from segments.jobs import cancel, queue_training, run_queued
from tests.audit.admin_acts import ACTS, Scene
from tests.audit.command_runs import carry_out
from tests.audit.no_entries import all_rows, no_entries
from tests.factories import BY, TrainedModels, make_version
from tests.staff import superuser


@pytest.fixture(scope="module")
def scene(trained_once: TrainedModels, django_db_blocker: Any) -> Scene:
    with django_db_blocker.unblock():
        return Scene(trained_once, make_version(parameters={"n_clusters": 3}))


@pytest.fixture(autouse=True)
def in_the_transaction_of_the_scene(scene: Scene, trained: TrainedModels) -> None:
    """Each test's changes are rolled back to the scene."""


def session_of(client: Client) -> str:
    cookie = client.cookies.get(settings.SESSION_COOKIE_NAME)
    return cookie.value if cookie else ""


@pytest.mark.parametrize("name", [name for name, act in ACTS.items() if act.method == "post"])
def test_an_act_in_the_admin(scene: Scene, name: str) -> None:
    act = ACTS[name]
    client = superuser() if act.is_signed_in else Client()
    client.raise_request_exception = False
    args, form = act.prepare(scene)
    form |= act.first(client)
    session = session_of(client)

    before = all_rows()

    with no_entries():
        response = act.send(client, name, args, form)

    assert all_rows() == before
    assert response.status_code == 500
    assert session_of(client) == session
    assert act.send(client, name, args, form).status_code < 400


JOBS = {
    "queued": lambda job: queue_training(TrainingRequest("kmeans", {"k": 3}), by=BY),
    "started": lambda job: run_queued(job.pk),
    "cancelled": lambda job: cancel(job.pk, by=BY),
}


@pytest.mark.parametrize("step", JOBS)
def test_a_step_of_a_job(scene: Scene, step: str) -> None:
    job = TrainingJob.objects.create(model_type="kmeans", queued_by="tests")

    before = all_rows()

    with no_entries(), pytest.raises(DatabaseError):
        JOBS[step](job)

    assert all_rows() == before


def test_a_training_whose_end_cannot_be_recorded_makes_no_candidate(scene: Scene) -> None:
    trained = ModelVersion.objects.filter(stage=Stage.TRAINED)
    before = set(trained.values_list("pk"))

    with no_entries(), pytest.raises(DatabaseError):
        carry_out("train_model", "kmeans", "--param", "k=3", "--activate")

    assert set(trained.values_list("pk")) == before
