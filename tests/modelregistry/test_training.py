"""A version is a whole artifact first and a row second; what fails leaves a reason, no version."""

from __future__ import annotations

import json
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler
from django_q.signing import SignedPackage

from audit.models import AuditEntry
from ml.features import UnknownFeature
from ml.fitting import TooFewCustomers
from modelregistry import training
from modelregistry.activation import load
from modelregistry.models import JobState, ModelVersion, Stage, State, TrainingJob
from modelregistry.training import TrainingRequest
from segments.jobs import fail_lost_jobs, queue_training, run_queued, train_now
from segments.models import Assignment, Customer
from tests.expectations import one_entry
from tests.factories import BY, PARAMETERS, TrainedModels, make_active, make_customers, make_version

QUIET = {"directory": settings.MODEL_DIR, "by": BY, "on_progress": lambda share, step: None}


def artifact_files() -> set[str]:
    return {path.name for path in Path(settings.MODEL_DIR).iterdir()}


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_a_training_ends_as_a_candidate_with_everybody_assigned(
    trained: TrainedModels, model_type: str
) -> None:
    with one_entry(
        action="model_version.trained", target_id=f"{model_type} 2", n_items=300
    ) as entries:
        version = make_version(model_type=model_type)

    assert version.number == 2
    assert version.state == State.CANDIDATE
    assert version.n_assigned == Assignment.objects.filter(version=version).count() == 300
    assert load(version, directory=settings.MODEL_DIR).model_type == model_type
    assert json.loads(entries[0].details)["artifact_sha256"] == version.artifact_sha256
    shares = version.segments.values_list("share", "n_customers")
    for share, n_customers in shares:
        assert share == pytest.approx(n_customers / 300)


def test_the_same_data_and_parameters_give_the_same_labels(trained: TrainedModels) -> None:
    second = make_version()

    def labels(version: ModelVersion) -> list[int]:
        clusters = dict(version.segments.values_list("segment_id", "cluster"))
        rows = Assignment.objects.filter(version=version).order_by("customer_id")
        return [clusters[segment] for segment in rows.values_list("segment_id", flat=True)]

    assert labels(second) == labels(trained.kmeans)
    assert second.parameters == trained.kmeans.parameters


def test_progress_grows_to_one_and_the_job_succeeds(trained: TrainedModels) -> None:
    seen: list[tuple[float, str]] = []

    train_now(
        TrainingRequest("kmeans", PARAMETERS["kmeans"]),
        directory=settings.MODEL_DIR, by=BY,
        on_progress=lambda share, step: seen.append((share, step)),
    )  # fmt: skip

    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert (shares[0], seen[-1]) == (0.0, (1.0, "done"))
    job = TrainingJob.objects.first()
    assert job is not None
    assert (job.state, job.progress, job.error) == (JobState.SUCCEEDED, 1.0, "")


def test_only_the_named_features_are_used(trained: TrainedModels) -> None:
    version = make_version(features=["orders", "total_spend"])

    assert [feature["name"] for feature in version.schema["features"]] == ["orders", "total_spend"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (TrainingRequest("kmeans", {"n_clusters": 4}, ["no_such_column"]), UnknownFeature),
        (TrainingRequest("kmeans", {"n_clusters": 51}), ValueError),
        (TrainingRequest("kmeans", {"eps": 1.0}), ValueError),
        (TrainingRequest("dbscan", {"eps": -1.0}), ValueError),
    ],
)
def test_what_cannot_be_trained_leaves_a_reason_and_no_version(
    trained: TrainedModels, request_: TrainingRequest, error: type[Exception]
) -> None:
    files = artifact_files()

    with one_entry(action="model_version.training_failed", outcome="failed"), pytest.raises(error):
        train_now(request_, **QUIET)

    job = TrainingJob.objects.first()
    assert job is not None
    assert job.state == JobState.FAILED
    assert job.error and "Traceback" not in job.error
    assert not ModelVersion.objects.filter(number=2).exists()
    assert artifact_files() == files


@pytest.mark.parametrize("n_customers", [0, 1, 5])
def test_too_few_customers_are_refused(db: None, n_customers: int) -> None:
    if n_customers:
        make_customers(n_customers=n_customers)

    with pytest.raises((TooFewCustomers, ValueError)):
        train_now(TrainingRequest("kmeans", {"n_clusters": 2}), **QUIET)

    assert not ModelVersion.objects.exists()


def test_a_failure_after_the_artifact_fails_the_version(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("lost the database")

    monkeypatch.setattr("segments.training.assign_stored_customers", crash)

    with pytest.raises(RuntimeError):
        train_now(TrainingRequest("kmeans", PARAMETERS["kmeans"]), **QUIET)

    version = ModelVersion.objects.get(model_type="kmeans", number=2)
    assert (version.stage, version.failure) == (Stage.FAILED, "lost the database")
    assert version.state == State.FAILED


def test_a_crash_before_the_row_leaves_a_stray_file_at_most(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_files, n_versions = len(artifact_files()), ModelVersion.objects.count()

    def crash(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_insert", crash)

    with pytest.raises(KeyboardInterrupt):
        train_now(TrainingRequest("kmeans", PARAMETERS["kmeans"]), **QUIET)

    assert len(artifact_files()) == n_files + 1
    assert ModelVersion.objects.count() == n_versions


def test_a_version_number_is_given_once(trained: TrainedModels) -> None:
    values = {
        field.name: getattr(trained.kmeans, field.name)
        for field in ModelVersion._meta.concrete_fields
        if field.name not in ("id", "artifact")
    }

    with pytest.raises(IntegrityError), transaction.atomic():
        ModelVersion.objects.create(**values, artifact="another")


def test_a_job_that_lost_its_process_fails_with_its_version(trained: TrainedModels) -> None:
    version = make_version()
    long_ago = timezone.now() - timedelta(minutes=5)
    TrainingJob.objects.filter(version=version).update(
        state=JobState.RUNNING, heartbeat_at=long_ago
    )
    ModelVersion.objects.filter(pk=version.pk).update(stage=Stage.TRAINING)

    with one_entry(action="model_version.training_failed", outcome="failed"):
        assert fail_lost_jobs() == 1

    version.refresh_from_db()
    assert (version.stage, TrainingJob.objects.get(version=version).state) == ("failed", "failed")
    assert fail_lost_jobs() == 0


def test_the_worker_looks_for_lost_jobs_every_minute(db: None) -> None:
    migration = import_module("segments.migrations.0002_lost_jobs_schedule")
    migration.create_schedule(apps, None)

    schedule = Schedule.objects.get(func="segments.jobs.fail_lost_jobs")

    assert import_string(schedule.func) is fail_lost_jobs
    assert (schedule.schedule_type, schedule.minutes, schedule.repeats) == ("I", 1, -1)


def test_what_the_schedule_leaves_for_the_worker_can_be_run(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would close the connection that holds the test's transaction.
    monkeypatch.setattr("django_q.scheduler.close_old_django_connections", lambda: None)
    monkeypatch.setattr("django_q.brokers.orm.db.close_old_connections", lambda: None)

    scheduler()

    package = SignedPackage.loads(OrmQ.objects.get().payload)

    assert (package["func"], package["args"], package["kwargs"]) == (
        "segments.jobs.fail_lost_jobs", (), {},
    )  # fmt: skip
    assert package["save"] is False
    assert Schedule.objects.get().next_run > timezone.now()


def test_a_queued_job_is_run_by_one_worker_alone(
    trained: TrainedModels, django_capture_on_commit_callbacks: Any
) -> None:
    with one_entry(action="training.queued", actor_id="tests"), \
            django_capture_on_commit_callbacks() as callbacks:  # fmt: skip
        job = queue_training(TrainingRequest("kmeans", {"n_clusters": 3}, note="why"), by=BY)
    assert (job.state, len(callbacks)) == (JobState.QUEUED, 1)

    run_queued(job.pk)
    run_queued(job.pk)

    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED
    assert job.version is not None
    assert (job.version.number, job.version.note) == (2, "why")
    assert ModelVersion.objects.filter(model_type="kmeans").count() == 2
    assert AuditEntry.objects.filter(action="model_version.trained", actor_id="worker").exists()


def test_customers_who_lack_a_needed_value_are_left_without_a_segment(
    trained: TrainedModels,
) -> None:
    second = make_version()
    Customer.objects.create(
        customer_id="lacking", attributes_json="{}",
        created_at=timezone.now(), updated_at=timezone.now(),
    )  # fmt: skip

    make_active(version=second)

    assert not Assignment.objects.filter(customer_id="lacking").exists()
    assert Assignment.objects.filter(version=second).count() == 300
