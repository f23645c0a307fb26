"""Training as people ask for it: one job, whether a command, the admin or the API asks.

The background worker or the command runs it; a job that lost its process is found by its
heartbeat and fails with a reason.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from django_q.tasks import async_task

from audit import trail
from audit.models import ActorKind, Outcome
from modelregistry.models import JobState, ModelVersion, Stage, TrainingJob
from modelregistry.training import Progress, TrainingRequest
from segments.training import train

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
LOST_AFTER = timedelta(seconds=60)


def queue_training(request: TrainingRequest, *, by: trail.Actor) -> TrainingJob:
    """Leave the job to the background worker."""
    with transaction.atomic():
        job = _create_job(request, by=by)
        trail.record(
            "training.queued",
            by=by,
            target=("training_job", job.pk),
            details={"model_type": job.model_type, "parameters": job.parameters},
        )
        transaction.on_commit(lambda: async_task("segments.jobs.run_queued", job.pk))
    return job


def run_queued(job_id: int) -> None:
    """The worker's task: run the job unless another worker has it."""
    fail_lost_jobs()
    if not _claim(job_id):
        return
    job = TrainingJob.objects.get(pk=job_id)
    by = trail.Actor(ActorKind.SYSTEM, id="worker", label=f"worker, for {job.queued_by}")
    _run(job, directory=settings.MODEL_DIR, by=by, on_progress=lambda share, step: None)


def train_now(
    request: TrainingRequest, *, directory: Path, by: trail.Actor, on_progress: Progress
) -> ModelVersion:
    """Train in this process and return the candidate. Raises ValueError for unusable data."""
    fail_lost_jobs()
    job = _create_job(request, by=by)
    _claim(job.pk)
    return _run(job, directory=directory, by=by, on_progress=on_progress)


def fail_lost_jobs() -> int:
    """Fail jobs whose process is gone, with their half-made versions; returns how many."""
    now = timezone.now()
    lost = TrainingJob.objects.filter(state=JobState.RUNNING, heartbeat_at__lt=now - LOST_AFTER)
    reason = "The process that trained it was stopped."
    n_lost = 0
    for job in lost:
        with transaction.atomic():
            n_lost += lost.filter(pk=job.pk).update(
                state=JobState.FAILED, error=reason, finished_at=now
            )
            ModelVersion.objects.filter(trainingjob=job, stage=Stage.TRAINING).update(
                stage=Stage.FAILED, failure=reason
            )
            trail.record(
                "model_version.training_failed",
                by=trail.Actor.system("watchdog"),
                target=("training_job", job.pk),
                outcome=Outcome.FAILED,
                details={"reason": reason},
            )
    return n_lost


def _create_job(request: TrainingRequest, *, by: trail.Actor) -> TrainingJob:
    return TrainingJob.objects.create(
        model_type=request.model_type,
        parameters=dict(request.parameters),
        features=list(request.features) if request.features else None,
        note=request.note,
        queued_by=by.label,
        queued_by_id=by.id,
    )


def _claim(job_id: int) -> bool:
    """Whether this process now owns the job: one conditional UPDATE."""
    now = timezone.now()
    claimed = TrainingJob.objects.filter(pk=job_id, state=JobState.QUEUED).update(
        state=JobState.RUNNING, started_at=now, heartbeat_at=now
    )
    return claimed == 1


def _run(
    job: TrainingJob, *, directory: Path, by: trail.Actor, on_progress: Progress
) -> ModelVersion:
    def report(share: float, step: str) -> None:
        TrainingJob.objects.filter(pk=job.pk).update(progress=round(share, 3), step=step)
        on_progress(share, step)

    request = TrainingRequest(job.model_type, job.parameters, job.features, job.note)
    try:
        with heartbeat(job.pk):
            version = train(job, request, directory=directory, by=by, report=report)
    except BaseException as error:
        _fail(job, error, by=by)
        raise
    report(1.0, "done")
    TrainingJob.objects.filter(pk=job.pk).update(
        state=JobState.SUCCEEDED, finished_at=timezone.now()
    )
    return version


def _fail(job: TrainingJob, error: BaseException, *, by: trail.Actor) -> None:
    reason = str(error) or type(error).__name__
    unexpected = not isinstance(error, (ValueError, KeyboardInterrupt))
    now = timezone.now()
    with transaction.atomic():
        TrainingJob.objects.filter(pk=job.pk).update(
            state=JobState.FAILED,
            error=reason if not unexpected else f"{reason}\n{traceback.format_exc()}",
            finished_at=now,
        )
        ModelVersion.objects.filter(trainingjob=job, stage=Stage.TRAINING).update(
            stage=Stage.FAILED, failure=reason
        )
        trail.record(
            "model_version.training_failed",
            by=by,
            target=("training_job", job.pk),
            outcome=Outcome.FAILED,
            details={"reason": reason[:1000]},
        )


@contextmanager
def heartbeat(job_id: int) -> Iterator[None]:
    """Says every few seconds that the job's process lives, also during a long fit."""
    stopped = threading.Event()

    def beat() -> None:
        try:
            while not stopped.wait(HEARTBEAT_SECONDS):
                try:
                    TrainingJob.objects.filter(pk=job_id).update(heartbeat_at=timezone.now())
                except OperationalError as error:  # a busy database: the next beat may pass
                    logger.warning("A heartbeat of training job %s was missed: %s", job_id, error)
        finally:
            connection.close()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
