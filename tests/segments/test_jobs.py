"""Jobs never lie: each ends once, with a reason, and what did not succeed leaves nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler
from django_q.signing import SignedPackage

from audit.trail import Actor
from ml.fitting import TooFewCustomers
from modelregistry.activation import ActivationRefused
from modelregistry.models import JobState, ModelVersion, Stage, TrainingJob
from modelregistry.training import TrainingRequest, TrainingStopped, sweep_artifacts
from segments.jobs import (
    LOST_REASON,
    JobConflict,
    cancel,
    fail_lost_jobs,
    look_after_jobs,
    lost_after,
    notice_of,
    queue_training,
    retry,
    run_queued,
    train_now,
)
from segments.models import Assignment, Customer, Segment, VersionSegment
from segments.processes import this_process
from segments.training_requests import InvalidRequest
from tests.expectations import one_entry
from tests.factories import BY, PARAMETERS, TrainedModels, make_active, make_customers, make_version
from tests.staff import entries_after, last_entry_id, staff

ANN = Actor.system("ann")
REQUEST = TrainingRequest("kmeans", PARAMETERS["kmeans"])
TRAIN_PERMISSIONS = ("modelregistry.view_modelversion", "modelregistry.train_modelversion")
N_CHUNKS = 3


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 customers are assigned, and deleted, in three chunks."""
    monkeypatch.setattr("segments.assignment.CHUNK", 300 // N_CHUNKS)
    monkeypatch.setattr("segments.leftovers.CHUNK", 300 // N_CHUNKS)


def train(on_progress: Callable[[float, str], None]) -> ModelVersion:
    return train_now(REQUEST, directory=settings.MODEL_DIR, by=BY, on_progress=on_progress)


def steps_of_a_training() -> list[str]:
    seen: list[str] = []
    train(lambda share, step: seen.append(step))
    return seen[:-1]


class AtStep:
    """A progress that does something at one step; `seen` are the steps up to there and beyond."""

    def __init__(self, place: int, act: Callable[[], object]) -> None:
        self.place, self.act = place, act
        self.seen: list[str] = []

    def __call__(self, share: float, step: str) -> None:
        self.seen.append(step)
        if len(self.seen) == self.place + 1:
            self.act()


def interrupt() -> None:
    raise KeyboardInterrupt


def last_job() -> TrainingJob:
    return TrainingJob.objects.select_related("version").latest("pk")


def kept() -> tuple[set[int], set[int], set[int]]:
    """Ids of what only a version that succeeded may add."""
    return (
        set(Segment.objects.values_list("pk", flat=True)),
        set(VersionSegment.objects.values_list("version_id", flat=True)),
        set(Assignment.objects.values_list("version_id", flat=True)),
    )


def silence(job: TrainingJob) -> None:
    long_ago = timezone.now() - 2 * lost_after()
    TrainingJob.objects.filter(pk=job.pk).update(heartbeat_at=long_ago)


# -- what may be asked for ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "paths"),
    [
        (TrainingRequest("kmeans", {"n_clusters": 51}), [("parameters", "n_clusters")]),
        (TrainingRequest("kmeans", {"eps": 1.0}), [("parameters", "eps")]),
        (TrainingRequest("dbscan", {"eps": float("nan")}), [("parameters", "eps")]),
        (TrainingRequest("kmeans", {"k": 3, "n_clusters": 3}), [("parameters",)]),
        (TrainingRequest("kmeans", {}, ["age", "no_such"]), [("features", 1)]),
        (TrainingRequest("kmeans", {}, ["AGE", "Orders"]), [("features", 0), ("features", 1)]),
        (TrainingRequest("kmeans", {}, []), [("features",)]),
        (TrainingRequest("kmeans", {}, ["age", "age"]), [("features", 1)]),
        (TrainingRequest("kmeans", {}, ["a"] * 1_001), [("features",)]),
        (TrainingRequest("kmeans", {}, None, "x" * 501), [("note",)]),
        (
            TrainingRequest("kmeans", {"k": 0, "seed": 1}, ["nope"], "x" * 501),
            [("parameters", "k"), ("parameters", "seed"), ("features", 0), ("note",)],
        ),
    ],
)
def test_what_cannot_be_trained_is_named_before_anything_is_queued(
    trained: TrainedModels, request_: TrainingRequest, paths: list[tuple[str | int, ...]]
) -> None:
    before = last_entry_id(), TrainingJob.objects.count()

    with pytest.raises(InvalidRequest) as queued:
        queue_training(request_, by=BY)

    assert (last_entry_id(), TrainingJob.objects.count()) == before
    with (
        one_entry(action="model_version.trained", outcome="refused"),
        pytest.raises(InvalidRequest) as trained_now,
    ):
        train_now(
            request_, directory=settings.MODEL_DIR, by=BY, on_progress=lambda share, step: None
        )
    assert TrainingJob.objects.count() == before[1]
    for refused in (queued, trained_now):
        assert [problem.path for problem in refused.value.problems] == paths
        details = " ".join(problem.detail for problem in refused.value.problems)
        assert "no_such" not in details and "'age' is" not in details


def test_a_feature_that_nobody_has_is_named_to_a_person_and_not_to_a_client(
    trained: TrainedModels,
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        queue_training(TrainingRequest("kmeans", {}, ["Orders", "age", "age"]), by=BY)

    assert [problem.detail for problem in refused.value.problems] == [
        "the customers have no such attribute; near matches: 'orders'.",
        "named twice.",
    ]
    assert str(refused.value).startswith("'Orders': the customers have no such attribute")


@pytest.mark.parametrize("n_customers", [0, 1, 9])
def test_too_few_customers_are_known_before_anything_is_queued(db: None, n_customers: int) -> None:
    if n_customers:
        make_customers(n_customers=n_customers)

    with pytest.raises(TooFewCustomers, match=f"at least 10 customers, found {n_customers}"):
        queue_training(TrainingRequest("kmeans", {}), by=BY)

    assert not TrainingJob.objects.exists()


def test_an_attribute_that_only_older_customers_have_may_be_named(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segments.customers.N_SAMPLED", 1)
    first = Customer.objects.earliest("customer_id")
    first.attributes_json = '{"half \\"price\\"_%": 1}'
    first.save()

    job = queue_training(TrainingRequest("kmeans", {}, ['half "price"_%']), by=BY)

    assert job.features == ['half "price"_%']
    for name in ["half", 'HALF "price"_%', 'price"_%', '"_%', "1"]:
        with pytest.raises(InvalidRequest):
            queue_training(TrainingRequest("kmeans", {}, [name]), by=BY)


def test_an_attribute_that_only_occurs_in_a_value_cannot_be_named(trained: TrainedModels) -> None:
    Customer.objects.filter(customer_id=trained.records[0]["customer_id"]).update(
        attributes_json='{"city":"{\\"zip\\":1}","x,":1,"zip ":2}'
    )

    for name in ["zip", 'city":', ":1,", '{"zip']:
        with pytest.raises(InvalidRequest):
            queue_training(TrainingRequest("kmeans", {}, [name]), by=BY)


@pytest.mark.parametrize("features", ["", " ", ",", " , "])
def test_a_command_that_names_no_feature_is_refused(trained: TrainedModels, features: str) -> None:
    n_jobs = TrainingJob.objects.count()

    with pytest.raises(CommandError, match="features: name one at least"):
        call_command("train_model", "kmeans", features=features)

    assert TrainingJob.objects.count() == n_jobs


def ask_by_command(api: Client, parameters: dict[str, Any], features: list[str]) -> None:
    pairs = [f"{name}={value}" for name, value in parameters.items()]
    try:
        call_command(
            "train_model", "kmeans", param=pairs, features=",".join(features), note="spring"
        )
    except CommandError as error:
        assert isinstance(error.__cause__, InvalidRequest)


def ask_in_the_admin(api: Client, parameters: dict[str, Any], features: list[str]) -> None:
    staff(*TRAIN_PERMISSIONS).post(
        reverse("admin:modelregistry_modelversion_train"),
        {"model_type": "kmeans", "note": "spring", "features": features, **parameters},
    )


def ask_over_the_api(api: Client, parameters: dict[str, Any], features: list[str]) -> None:
    body = {"parameters": parameters, "features": features, "note": "spring"}
    api.post("/models/kmeans/train", body, content_type="application/json")


DOORS = [ask_by_command, ask_in_the_admin, ask_over_the_api]


@pytest.mark.parametrize("door", DOORS)
def test_the_three_doors_ask_for_the_same_job(
    trained: TrainedModels, api: Client, door: Callable[..., None]
) -> None:
    door(api, {"n_clusters": 3, "random_state": 7}, ["age", "orders"])

    job = last_job()
    assert (job.model_type, job.parameters, job.features, job.note) == (
        "kmeans",
        {"n_clusters": 3, "random_state": 7},
        ["age", "orders"],
        "spring",
    )


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("parameters", "features"), [({"n_clusters": 1}, ["age"]), ({"n_clusters": 3}, ["nope"])]
)
def test_the_three_doors_refuse_the_same(
    trained: TrainedModels,
    api: Client,
    door: Callable[..., None],
    parameters: dict[str, Any],
    features: list[str],
) -> None:
    n_jobs = TrainingJob.objects.count()

    door(api, parameters, features)

    assert TrainingJob.objects.count() == n_jobs


# -- running ------------------------------------------------------------------------------------


def test_a_queued_job_is_run_by_one_worker_alone(
    trained: TrainedModels, django_capture_on_commit_callbacks: Any
) -> None:
    with (
        one_entry(action="training.queued", actor_id="tests"),
        django_capture_on_commit_callbacks() as callbacks,
    ):
        job = queue_training(TrainingRequest("kmeans", {"k": 3}, note="why"), by=BY)
    assert (job.state, len(callbacks)) == (JobState.QUEUED, 1)
    before = last_entry_id()

    run_queued(job.pk)
    run_queued(job.pk)

    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED
    assert job.version is not None
    assert (job.version.number, job.version.note) == (2, "why")
    assert ModelVersion.objects.filter(model_type="kmeans").count() == 2
    assert [(entry.action, entry.actor_id) for entry in entries_after(before)] == [
        ("training.started", "worker"),
        ("model_version.trained", "worker"),
    ]


def test_a_job_that_the_data_fails_is_no_crash_of_the_worker(trained: TrainedModels) -> None:
    job = queue_training(TrainingRequest("kmeans", {"k": 3}, ["age"]), by=BY)
    Customer.objects.update(attributes_json='{"orders": 2}')

    run_queued(job.pk)

    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert "no attribute 'age'" in job.error and "Traceback" not in job.error


def test_a_crash_is_raised_and_its_traceback_kept(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("lost the database")

    monkeypatch.setattr("segments.training.assign_stored_customers", crash)
    job, before = queue_training(REQUEST, by=BY), kept()

    with pytest.raises(RuntimeError):
        run_queued(job.pk)

    job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert job.error.startswith("lost the database\nTraceback")
    assert kept() == before


# -- cancelling ---------------------------------------------------------------------------------


def test_a_queued_job_is_cancelled_at_once_and_never_run(trained: TrainedModels) -> None:
    job = queue_training(REQUEST, by=BY)

    with one_entry(action="training.cancelled", actor_id="ann", target_id=str(job.pk)):
        cancel(job.pk, by=ANN)
    run_queued(job.pk)

    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.CANCELLED, "Cancelled by ann.")
    assert job.finished_at is not None and job.started_at is None


def test_a_running_job_stops_at_the_step_after_and_leaves_nothing(trained: TrainedModels) -> None:
    steps = steps_of_a_training()
    assert steps.count("assigning the customers") == N_CHUNKS
    before = kept()

    for place in range(len(steps)):
        progress = AtStep(place, lambda: cancel(last_job().pk, by=ANN))
        last = last_entry_id()
        with pytest.raises(TrainingStopped, match="^Cancelled by ann\\.$"):
            train(progress)

        job = last_job()
        assert progress.seen == steps[: place + 1]
        assert (job.state, job.error) == (JobState.CANCELLED, "Cancelled by ann.")
        assert [(entry.action, entry.actor_id) for entry in entries_after(last)] == [
            ("training.cancel_requested", "ann"),
            ("training.cancelled", "tests"),
        ]
        assert kept() == before
        if job.version:
            assert (job.version.stage, job.version.failure) == (Stage.FAILED, job.error)
            with pytest.raises(ActivationRefused, match="not trained"):
                make_active(version=job.version)
            assert job.version.artifact in sweep_artifacts(
                directory=settings.MODEL_DIR, stray_after=timedelta(0)
            )


def test_a_job_is_cancelled_once_and_not_after_its_end(trained: TrainedModels) -> None:
    def twice(share: float, step: str) -> None:
        cancel(last_job().pk, by=ANN)
        with pytest.raises(JobConflict, match="stopping"):
            cancel(last_job().pk, by=ANN)

    with pytest.raises(TrainingStopped):
        train(twice)
    for job in TrainingJob.objects.all():
        with pytest.raises(JobConflict, match=job.state):
            cancel(job.pk, by=ANN)


def test_ctrl_c_leaves_a_cancelled_job_and_nothing_of_its_version(trained: TrainedModels) -> None:
    steps, before = steps_of_a_training(), kept()

    for place in (0, len(steps) // 2, len(steps) - 1):
        with one_entry(action="training.cancelled"), pytest.raises(KeyboardInterrupt):
            train(AtStep(place, interrupt))

        assert (last_job().state, last_job().error) == (JobState.CANCELLED, "Interrupted.")
        assert kept()[1:] == before[1:]


# -- lost processes and lost tasks --------------------------------------------------------------


def give_up() -> None:
    """What the watchdog does to a process that was silent for too long."""
    silence(last_job())
    assert fail_lost_jobs() == 1


def half_made(trained: TrainedModels) -> TrainingJob:
    """A job as kill -9 amid the assigning leaves it."""
    version = make_version(parameters={"n_clusters": 5})
    job = TrainingJob.objects.get(version=version)
    Assignment.objects.filter(version=version, customer_id__gt="C-000250").delete()
    ModelVersion.objects.filter(pk=version.pk).update(stage=Stage.TRAINING, n_assigned=0)
    TrainingJob.objects.filter(pk=job.pk).update(state=JobState.RUNNING, finished_at=None)
    return job


def test_a_job_that_lost_its_process_fails_and_nothing_half_made_stays(
    trained: TrainedModels,
) -> None:
    before = kept()
    job = half_made(trained)
    look_after_jobs()
    job.refresh_from_db()
    assert job.state == JobState.RUNNING, "its heart still beats"
    silence(job)

    with (
        one_entry(action="model_version.training_failed", outcome="failed", actor_id="watchdog"),
        CaptureQueriesContext(connection) as queries,
    ):
        look_after_jobs()

    job.refresh_from_db()
    assert job.version is not None
    assert (job.state, job.error) == (JobState.FAILED, LOST_REASON)
    assert (job.version.stage, job.version.failure) == (Stage.FAILED, LOST_REASON)
    assert kept() == before
    deletions = [q for q in queries if 'DELETE FROM "segments_assignment"' in q["sql"]]
    assert len(deletions) == N_CHUNKS
    assert fail_lost_jobs() == 0


needs_proc = pytest.mark.skipif(not this_process(), reason="processes cannot be told apart here")


def ended_process() -> str:
    """What a process that was killed had named itself."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        start = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        process.kill()
    place = this_process().rsplit(" ", 2)[0]
    return f"{place} {process.pid} {start}"


@needs_proc
def test_a_job_whose_process_was_killed_fails_at_once(trained: TrainedModels) -> None:
    job, waiting = half_made(trained), queue_training(REQUEST, by=BY)
    now = timezone.now()
    assert notice_of(waiting, at=now) == f"It waits for job {job.pk}, which is running."
    TrainingJob.objects.filter(pk=job.pk).update(process=ended_process())
    job.refresh_from_db()
    assert "no sign of life" in notice_of(job, at=now)
    assert notice_of(waiting, at=now) == ""

    with one_entry(action="model_version.training_failed", actor_id="watchdog"):
        look_after_jobs()

    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.FAILED, LOST_REASON)
    assert not Assignment.objects.filter(version=job.version).exists()


@pytest.mark.parametrize("process", ["", "another-boot pid:[1] 1 1"])
def test_a_job_of_another_machine_lives_as_long_as_its_heart_beats(
    trained: TrainedModels, process: str
) -> None:
    job = half_made(trained)
    TrainingJob.objects.filter(pk=job.pk).update(process=process)

    assert fail_lost_jobs() == 0
    silence(job)
    assert fail_lost_jobs() == 1


def test_a_job_knows_the_process_that_runs_it(trained: TrainedModels) -> None:
    job = queue_training(REQUEST, by=BY)
    assert job.process == ""

    run_queued(job.pk)
    make_version(parameters=PARAMETERS["kmeans"])

    job.refresh_from_db()
    assert job.process == last_job().process == this_process()


@needs_proc
def test_a_job_waits_for_one_that_is_too_busy_to_beat(trained: TrainedModels) -> None:
    ahead, job = half_made(trained), queue_training(REQUEST, by=BY)
    silence(ahead)

    assert notice_of(job, at=timezone.now() + 2 * lost_after()) == (
        f"It waits for job {ahead.pk}, which is running."
    )


def test_assignments_that_come_after_the_failure_are_deleted_too(trained: TrainedModels) -> None:
    job = half_made(trained)
    silence(job)
    fail_lost_jobs()
    assert Assignment.objects.filter(version=job.version).exists()

    look_after_jobs()

    assert not Assignment.objects.filter(version=job.version).exists()


def test_a_process_that_was_given_up_and_wakes_cannot_finish(trained: TrainedModels) -> None:
    steps, before = steps_of_a_training(), kept()

    for place in range(len(steps)):
        with (
            one_entry(action="model_version.training_failed", actor_id="watchdog"),
            pytest.raises(TrainingStopped, match=LOST_REASON),
        ):
            train(AtStep(place, give_up))

        assert (last_job().state, last_job().error) == (JobState.FAILED, LOST_REASON)
        assert kept() == before


def test_a_job_asked_to_stop_that_lost_its_process_is_cancelled(trained: TrainedModels) -> None:
    job = half_made(trained)
    cancel(job.pk, by=ANN)
    silence(job)

    assert fail_lost_jobs() == 1

    job.refresh_from_db()
    assert (job.state, job.error) == (JobState.CANCELLED, "Cancelled by ann.")


def test_a_queued_job_whose_task_got_lost_is_run_all_the_same(trained: TrainedModels) -> None:
    job = queue_training(REQUEST, by=BY)
    look_after_jobs()
    job.refresh_from_db()
    assert job.state == JobState.QUEUED, "its own task may yet come"

    TrainingJob.objects.filter(pk=job.pk).update(queued_at=timezone.now() - 2 * lost_after())
    look_after_jobs()

    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED


def test_the_oldest_of_the_jobs_left_lying_goes_first(trained: TrainedModels) -> None:
    second, first = (queue_training(REQUEST, by=BY) for _ in range(2))
    for age, job in ((2, second), (3, first)):
        TrainingJob.objects.filter(pk=job.pk).update(queued_at=timezone.now() - age * lost_after())

    look_after_jobs()

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == (JobState.SUCCEEDED, JobState.QUEUED)


def test_the_worker_looks_after_jobs_every_minute(db: None) -> None:
    schedule = Schedule.objects.get(func="segments.jobs.look_after_jobs")

    assert import_string(schedule.func) is look_after_jobs
    assert (schedule.schedule_type, schedule.minutes, schedule.repeats) == ("I", 1, -1)


def test_what_the_schedule_leaves_for_the_worker_can_be_run(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would close the connection that holds the test's transaction.
    monkeypatch.setattr("django_q.scheduler.close_old_django_connections", lambda: None)
    monkeypatch.setattr("django_q.brokers.orm.db.close_old_connections", lambda: None)

    scheduler()

    packages = [SignedPackage.loads(task.payload) for task in OrmQ.objects.all()]
    [package] = [each for each in packages if each["func"] == "segments.jobs.look_after_jobs"]
    assert (package["args"], package["kwargs"], package["save"]) == ((), {}, False)


# -- retrying -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_did_not_succeed_is_tried_again_as_a_new_one(
    trained: TrainedModels, state: JobState
) -> None:
    request = TrainingRequest("kmeans", {"n_clusters": 3}, ["age", "orders"], "spring")
    job = queue_training(request, by=BY)
    TrainingJob.objects.filter(pk=job.pk).update(state=state)

    with one_entry(action="training.retried", actor_id="ann"):
        again = retry(job.pk, by=ANN)
    run_queued(again.pk)

    again.refresh_from_db()
    job.refresh_from_db()
    assert (again.retry_of, job.state, again.state) == (job, state, JobState.SUCCEEDED)
    assert (again.model_type, again.parameters, again.features, again.note) == (
        job.model_type,
        job.parameters,
        job.features,
        job.note,
    )
    with pytest.raises(JobConflict, match=f"retried as job {again.pk}"):
        retry(job.pk, by=ANN)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED])
def test_a_job_that_may_yet_succeed_or_did_is_not_retried(
    trained: TrainedModels, state: JobState
) -> None:
    job = queue_training(REQUEST, by=BY)
    TrainingJob.objects.filter(pk=job.pk).update(state=state)

    with pytest.raises(JobConflict, match=state):
        retry(job.pk, by=ANN)

    assert last_job() == job


def test_what_can_no_longer_be_trained_is_not_queued_again(trained: TrainedModels) -> None:
    job = queue_training(TrainingRequest("kmeans", {}, ["age"]), by=BY)
    cancel(job.pk, by=ANN)
    Customer.objects.update(attributes_json='{"orders": 2}')

    with pytest.raises(InvalidRequest):
        retry(job.pk, by=ANN)


# -- what a person who waits is told ------------------------------------------------------------


def test_a_job_that_waits_says_for_what(trained: TrainedModels) -> None:
    job = queue_training(REQUEST, by=BY)
    now = timezone.now()
    later = now + 2 * lost_after()

    assert notice_of(job, at=now) == ""
    assert "No worker has taken it" in notice_of(job, at=later)

    other = queue_training(REQUEST, by=BY)
    TrainingJob.objects.filter(pk=other.pk).update(state=JobState.RUNNING, heartbeat_at=later)
    assert notice_of(job, at=later) == f"It waits for job {other.pk}, which is running."
    silence(other)
    assert "No worker has taken it" in notice_of(job, at=later)


def test_a_running_job_says_when_it_is_silent_or_stopping(trained: TrainedModels) -> None:
    job = half_made(trained)
    job.refresh_from_db()
    silence(job)
    now = timezone.now()
    assert notice_of(job, at=now) == ""

    job.refresh_from_db()
    assert "no sign of life" in notice_of(job, at=now)

    assert notice_of(cancel(job.pk, by=ANN), at=now) == (
        "Cancelled by ann. It stops at its next step."
    )
