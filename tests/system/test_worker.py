"""Real workers: killed, doubled, cancelled; each job ends once, with a reason, and leaves nothing.

SYSTEM_KILLS sets how many moments of a training a process of the worker is killed at.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.databases import database_url, databases
from tests.system.server import Installation, ask, fill, fill_once, make_installation
from tests.system.workers import command, processes_of, serving, waited_for, worker_of

N_KILLS = int(os.environ.get("SYSTEM_KILLS", "1"))
N_CUSTOMERS = 11_000
"""Enough for two chunks of assignments."""
N_JOBS = 4
N_DELIVERIES = 3
VICTIMS = ("trainer", "trainer", "trainer", "main", "sentinel", "pusher", "monitor")
"""Whom a kill may hit; mostly the process that trains."""
FILL = f"""
import django; django.setup()
from django.core.management import call_command
from monitoring.models import MonitoringPolicy
from tests.factories import make_customers, make_version
call_command("migrate", verbosity=0)
MonitoringPolicy.objects.create(is_paused=True)
make_customers(n_customers={N_CUSTOMERS})
make_version(parameters={{"n_clusters": 4, "n_init": 1}}, active=True)
"""
QUICK = {"parameters": {"n_clusters": 3, "n_init": 1}}
QUEUE_TWICE = f"""
import django; django.setup()
from django_q.tasks import async_task
from audit.trail import Actor
from modelregistry.training import TrainingRequest
from segments.jobs import queue_training
for n in range({N_JOBS}):
    request = TrainingRequest("kmeans", {QUICK["parameters"]})
    job = queue_training(request, by=Actor.system("tests"))
    for again in range({N_DELIVERIES} - 1):
        async_task("segments.jobs.run_queued", job.pk)
"""
SWEEP_ALL = """
import django; django.setup()
from datetime import timedelta
from django.conf import settings
from modelregistry.training import sweep_artifacts
sweep_artifacts(directory=settings.MODEL_DIR, stray_after=timedelta(0))
"""
ACTIVATE_FAILED = """
import django; django.setup()
from django.conf import settings
from django.utils import timezone
from audit.trail import Actor
from modelregistry.activation import ActivationRefused
from modelregistry.models import ModelVersion
from segments.assignment import activate
for version in ModelVersion.objects.filter(stage="failed"):
    try:
        activate(version, reason="test", by=Actor.system("tests"), at=timezone.now(),
                 directory=settings.MODEL_DIR, force=True)
        raise SystemExit(f"{version} was activated")
    except ActivationRefused:
        pass
"""


@pytest.fixture(params=databases("postgresql"))
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    with database_url(request.param) as url:
        yield make_installation(
            tmp_path, DATABASE_URL=url, JOB_LOST_AFTER_SECONDS="3", API_WORKERS="1"
        )


def fill_with_many(installation: Installation) -> None:
    fill_once(installation, FILL, lambda: installation.python("-c", FILL))


def train(installation: Installation) -> int:
    """Ask for a training; the id of its job."""
    answer = post(installation, "/models/kmeans/train", QUICK)
    assert answer["state"] == "queued"
    return int(answer["id"])


def post(installation: Installation, path: str, body: object = None) -> dict:
    answer = ask(installation.port, "POST", path, key=installation.api_key, body=body)
    assert answer.status == 202, answer.content
    assert answer.headers["Location"] == f"/jobs/{answer.body['id']}"
    return answer.body


def job(installation: Installation, job_id: int) -> dict:
    answer = ask(installation.port, "GET", f"/jobs/{job_id}", key=installation.api_key)
    assert answer.status == 200, answer.content
    return answer.body


def ended(installation: Installation, job_id: int) -> dict:
    def look() -> dict | None:
        found = job(installation, job_id)
        return found if found["finished_at"] else None

    return waited_for(look, f"the end of job {job_id}", installation)


def once_done(installation: Installation, job_id: int, share: float) -> str:
    """Where the job is once this share of its work is done, or its process is gone."""

    def look() -> str | None:
        [(state, progress, step)] = installation.rows(
            "SELECT state, progress, step FROM modelregistry_trainingjob WHERE id = ?", job_id
        )
        is_there = progress >= share or state in ("succeeded", "failed")
        return f"{progress:.2f}: {state}, {step}" if is_there else None

    return waited_for(look, f"{share:.0%} of job {job_id}", installation, seconds_between=0.002)


def count(installation: Installation, sql: str, *values: object) -> int:
    [(n,)] = installation.rows(f"SELECT COUNT(*) FROM {sql}", *values)
    return n


def assert_nothing_of_failed_versions_is_left(installation: Installation) -> None:
    for table in ("segments_assignment", "segments_versionsegment"):
        of_failed = (
            f"{table} t JOIN modelregistry_modelversion v ON v.id = t.version_id WHERE v.stage <> ?"
        )
        assert count(installation, of_failed, "trained") == 0
    orphans = (
        "segments_segment s WHERE NOT EXISTS"
        " (SELECT 1 FROM segments_versionsegment t WHERE t.segment_id = s.id)"
    )
    assert count(installation, orphans) == 0


def assert_files_are_those_of_trained_versions(installation: Installation) -> None:
    installation.python("-c", SWEEP_ALL)
    named = installation.rows(
        "SELECT artifact FROM modelregistry_modelversion WHERE stage = ?", "trained"
    )
    assert sorted(path.name for path in installation.models.iterdir()) == sorted(
        name for (name,) in named
    )


def assert_what_serves_is_whole(installation: Installation) -> None:
    path, n_seen = "/segments/kmeans?limit=1000", 0
    while path:
        answer = ask(installation.port, "GET", path, key=installation.api_key)
        assert answer.status == 200, answer.content
        n_seen += len(answer.body["results"])
        path = (answer.body["next"] or "").partition(str(installation.port))[2]
    assert n_seen == N_CUSTOMERS


def test_killed_anywhere_the_worker_comes_back_and_every_job_ends(
    installation: Installation,
) -> None:
    chance = random.Random(N_KILLS)
    fill_with_many(installation)
    with serving(installation) as server:
        hit = []
        for kill in range(N_KILLS):
            victim = VICTIMS[0] if kill == 0 else chance.choice(VICTIMS)
            job_id = train(installation)
            seen = once_done(installation, job_id, (kill + chance.random()) / N_KILLS)
            os.kill(getattr(worker_of(installation), victim), signal.SIGKILL)
            hit.append(f"{victim} at {seen}")
        states = Counter()
        for (job_id,) in installation.rows("SELECT id FROM modelregistry_trainingjob"):
            end = ended(installation, job_id)
            assert bool(end["error"]) == (end["state"] == "failed"), end
            states[end["state"]] += 1
        print(*hit, dict(states), sep="\n")
        waited_for(
            lambda: (
                count(
                    installation,
                    "segments_assignment a JOIN modelregistry_modelversion v"
                    " ON v.id = a.version_id WHERE v.stage <> ?",
                    "trained",
                )
                == 0
            ),
            "the deletion of half-made assignments",
            installation,
        )

        assert server.poll() is None
        assert states.keys() <= {"succeeded", "failed"} and states["failed"]
        assert count(installation, "modelregistry_modelversion WHERE stage = ?", "training") == 0
        assert_nothing_of_failed_versions_is_left(installation)
        assert_what_serves_is_whole(installation)
        installation.python("-c", ACTIVATE_FAILED)
        assert_files_are_those_of_trained_versions(installation)
    assert processes_of(installation) == []


def test_an_idle_worker_that_lost_a_process_is_replaced(tmp_path: Path) -> None:
    installation = make_installation(tmp_path, JOB_LOST_AFTER_SECONDS="3", API_WORKERS="1")
    fill(installation)
    with serving(installation):
        for victim in dict.fromkeys(VICTIMS[-N_KILLS - 1 :]):
            assert ended(installation, train(installation))["state"] == "succeeded"
            before = worker_of(installation)

            os.kill(getattr(before, victim), signal.SIGKILL)
            waited_for(
                lambda before=before: worker_of(installation).main != before.main,
                f"another worker after the {victim}'s end",
                installation,
            )

            assert ended(installation, train(installation))["state"] == "succeeded"
            left = {process.pid for process in processes_of(installation)}
            assert left.isdisjoint(vars(before).values()), victim


def test_two_workers_and_repeated_deliveries_train_each_job_once(
    installation: Installation,
) -> None:
    fill(installation)
    n_before = count(installation, "modelregistry_modelversion")

    with command(installation, "worker"), command(installation, "worker"):
        installation.python("-c", QUEUE_TWICE)

        def all_ended() -> bool:
            n_open = count(installation, "modelregistry_trainingjob WHERE finished_at IS NULL")
            return n_open == 0 and count(installation, "django_q_ormq") == 0

        waited_for(all_ended, "the end of all jobs and tasks", installation)

    started = "audit_auditentry WHERE action = ?"
    assert count(installation, started, "training.started") == N_JOBS
    assert count(installation, "modelregistry_modelversion") == n_before + N_JOBS
    numbers = installation.rows(
        "SELECT number FROM modelregistry_modelversion WHERE model_type = ? ORDER BY number",
        "kmeans",
    )
    assert [number for (number,) in numbers] == list(range(1, len(numbers) + 1))
    assert count(installation, "modelregistry_trainingjob WHERE state <> ?", "succeeded") == 0


def test_a_running_training_is_cancelled_over_the_api_and_tried_again(tmp_path: Path) -> None:
    installation = make_installation(tmp_path, API_WORKERS="1")
    fill_with_many(installation)
    with serving(installation):
        job_id = train(installation)
        waited_for(
            lambda: job(installation, job_id)["state"] == "running", "the start", installation
        )

        post(installation, f"/jobs/{job_id}/cancel")
        end = ended(installation, job_id)
        again = post(installation, f"/jobs/{job_id}/retry")

        assert (end["state"], end["error"].partition(" ")[0]) == ("cancelled", "Cancelled")
        assert again["retry_of"] == job_id
        assert ended(installation, again["id"])["state"] == "succeeded"
        assert_nothing_of_failed_versions_is_left(installation)


def test_ctrl_c_of_a_training_command_leaves_a_cancelled_job(tmp_path: Path) -> None:
    installation = make_installation(tmp_path, API_WORKERS="1")
    fill_with_many(installation)
    n_jobs = count(installation, "modelregistry_trainingjob")
    with command(installation, "train_model", "kmeans", "--param", "n_init=1") as process:
        waited_for(
            lambda: count(installation, "modelregistry_trainingjob WHERE progress > 0") > n_jobs,
            "the first step",
            installation,
        )

        process.send_signal(signal.SIGINT)
        code = process.wait(60)

    assert code == 130
    assert "Traceback" not in (installation.directory / "commands.log").read_text()
    [(state, error)] = installation.rows(
        "SELECT state, error FROM modelregistry_trainingjob WHERE state <> ?", "succeeded"
    )
    assert (state, error) == ("cancelled", "Interrupted.")
    assert_nothing_of_failed_versions_is_left(installation)
