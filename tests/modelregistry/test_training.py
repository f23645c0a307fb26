"""A version is a whole artifact first and a row second; what fails leaves a reason, no version."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from modelregistry import training
from modelregistry.activation import load
from modelregistry.models import JobState, ModelVersion, Stage, State, TrainingJob
from modelregistry.training import TrainingRequest, sweep_artifacts
from segments.jobs import train_now
from segments.models import Assignment, Customer
from tests.expectations import one_entry
from tests.factories import BY, PARAMETERS, TrainedModels, make_active, make_version

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
    second = train_now(  # computed anew, which `make_version` need not
        TrainingRequest("kmeans", PARAMETERS["kmeans"]),
        directory=settings.MODEL_DIR, by=BY,
        on_progress=lambda share, step: None,
    )  # fmt: skip

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


def test_what_the_data_cannot_give_leaves_a_reason_and_no_version(trained: TrainedModels) -> None:
    Customer.objects.update(attributes_json='{"age": 40}')
    files = artifact_files()

    with (
        one_entry(action="model_version.training_failed", outcome="failed"),
        pytest.raises(ValueError, match="no usable features"),
    ):
        train_now(TrainingRequest("kmeans", {"n_clusters": 4}), **QUIET)

    job = TrainingJob.objects.first()
    assert job is not None
    assert job.state == JobState.FAILED
    assert job.error and "Traceback" not in job.error
    assert not ModelVersion.objects.filter(number=2).exists()
    assert artifact_files() == files


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


def test_a_training_that_another_overtakes_takes_the_next_number(trained: TrainedModels) -> None:
    others: list[ModelVersion] = []

    def overtaken(share: float, step: str) -> None:
        if not others:
            others.append(make_version(parameters={"n_clusters": 2}))

    version = train_now(
        TrainingRequest("kmeans", PARAMETERS["kmeans"]), **{**QUIET, "on_progress": overtaken}
    )

    assert (others[0].number, version.number) == (2, 3)


def test_only_files_of_no_version_or_a_failed_one_are_swept(trained: TrainedModels) -> None:
    failed, whole = make_version(), make_version()
    ModelVersion.objects.filter(pk=failed.pk).update(stage=Stage.FAILED)
    stray = f"kmeans-{'0' * 32}.safetensors"
    (Path(settings.MODEL_DIR) / stray).touch()

    assert sweep_artifacts(directory=settings.MODEL_DIR) == []
    removed = sweep_artifacts(directory=settings.MODEL_DIR, stray_after=timedelta(0))

    assert {stray, failed.artifact} <= set(removed)
    assert {whole.artifact, trained.kmeans.artifact, trained.dbscan.artifact} <= artifact_files()


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
