"""Training as people ask for it: one job, whether a command, the admin or the API asks.

queued -> running -> succeeded, failed or cancelled. Each step is a conditional UPDATE, so whoever
comes second (another worker, a cancel, the watchdog) finds it taken and leaves it. A lost process
is missed on its own machine, elsewhere found by its silent heartbeat; a lost task by the age of its
queued job.
"""

from __future__ import annotations

import logging
import traceback
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django_q.tasks import async_task

from audit import trail
from audit.models import ActorKind, Outcome
from audit.refusals import refusals_recorded
from ml.fitting import TooFewCustomers
from modelregistry.models import JobState, ModelVersion, Stage, TrainingJob
from modelregistry.training import (
    TRAINED,
    Progress,
    TrainingRequest,
    TrainingStopped,
    going_on,
    sweep_artifacts,
)
from segments.erasure import erased_since, finish_erasures
from segments.heartbeat import heartbeat, lost_after
from segments.import_runs import look_after_imports
from segments.leftovers import discard_leftovers, forget_values
from segments.processes import is_running, this_process
from segments.training import train
from segments.training_requests import InvalidRequest, checked

logger = logging.getLogger(__name__)

LOST_REASON = "The process that trained it was stopped."
RETRIABLE = (JobState.FAILED, JobState.CANCELLED)
TARGET = "training_job"


class JobConflict(Exception):
    """The job is no longer in a state that allows this."""


def queue_training(request: TrainingRequest, *, by: trail.Actor) -> TrainingJob:
    """Leave the job to the background worker.

    Raises `InvalidRequest` or `TooFewCustomers`; then nothing is queued.
    """
    return _queue(checked(request), by=by)


def retry(job_id: int, *, by: trail.Actor) -> TrainingJob:
    """A new job for what a failed or cancelled one was asked for.

    Raises `JobConflict`, or as `queue_training`; then nothing is queued.
    """
    request = checked(_request_of(TrainingJob.objects.get(pk=job_id)))
    with transaction.atomic():
        job = TrainingJob.objects.select_for_update().get(pk=job_id)
        if job.state not in RETRIABLE:
            raise JobConflict(f"Job {job_id} cannot be retried: its state is {job.state}.")
        again = job.retries.exclude(state__in=RETRIABLE).first()
        if again is not None:
            raise JobConflict(
                f"Job {job_id} was retried as job {again.pk}, which is {again.state}."
            )
        return _queue(request, by=by, retry_of=job)


@transaction.atomic
def cancel(job_id: int, *, by: trail.Actor) -> TrainingJob:
    """Cancel a queued job at once; ask a running one to stop, which it does at its next step.

    A job that accepted this never succeeds. Raises `JobConflict` when it has ended or was asked.
    """
    job = TrainingJob.objects.select_for_update().get(pk=job_id)
    reason, now = f"Cancelled by {by.label}.", timezone.now()
    if job.state == JobState.QUEUED:
        job.state, job.finished_at, action = JobState.CANCELLED, now, "training.cancelled"
    elif job.state == JobState.RUNNING and job.cancel_requested_at is None:
        action = "training.cancel_requested"
    else:
        state = "stopping" if is_stopping(job) else job.state
        raise JobConflict(f"Job {job_id} cannot be cancelled: its state is {state}.")
    job.cancel_requested_at, job.error = now, reason
    job.save(update_fields=["state", "finished_at", "cancel_requested_at", "error"])
    trail.record(action, by=by, target=(TARGET, job.pk), details={"model_type": job.model_type})
    return job


def run_queued(job_id: int) -> None:
    """The worker's task: run the job unless another worker has it, or it was cancelled.

    What the data or a person did ends the job with its reason; the unexpected is raised as well.
    """
    clean_up(directory=settings.MODEL_DIR)
    job = TrainingJob.objects.get(pk=job_id)
    by = trail.Actor(ActorKind.SYSTEM, id="worker", label=f"worker, for {job.queued_by}")
    if not _claim(job, by=by):
        return
    try:
        _run(job, directory=settings.MODEL_DIR, by=by, on_progress=lambda share, step: None)
    except (ValueError, TrainingStopped) as ended:
        logger.info("Training job %s ended: %s", job_id, ended)


def train_now(
    request: TrainingRequest, *, directory: Path, by: trail.Actor, on_progress: Progress
) -> ModelVersion:
    """Train in this process and return the candidate.

    Raises `InvalidRequest` or `TooFewCustomers` before anything is done, ValueError for data that
    cannot be used, and `TrainingStopped` when the job was cancelled or given up meanwhile.
    """
    target = ("model_type", request.model_type)
    with refusals_recorded(TRAINED, InvalidRequest, TooFewCustomers, by=by, target=target):
        request = checked(request)
    clean_up(directory=directory)
    now = timezone.now()
    job = _create_job(
        request,
        by=by,
        state=JobState.RUNNING,
        started_at=now,
        heartbeat_at=now,
        process=this_process(),
    )
    return _run(job, directory=directory, by=by, on_progress=on_progress)


def look_after_jobs() -> None:
    """Each minute, and when a worker starts: end lost jobs, run those whose task got lost."""
    clean_up(directory=settings.MODEL_DIR)
    look_after_imports()
    left_lying = TrainingJob.objects.filter(
        state=JobState.QUEUED, queued_at__lt=timezone.now() - lost_after()
    )
    job = left_lying.order_by("queued_at", "pk").first()
    if job is not None:
        run_queued(job.pk)


def clean_up(*, directory: Path) -> None:
    """Fail lost jobs; delete what failed trainings and killed erasures left, rows and files."""
    fail_lost_jobs()
    finish_erasures(directory=directory)
    discard_leftovers()
    sweep_artifacts(directory=directory)


def fail_lost_jobs() -> int:
    """Fail jobs whose process is gone, with their half-made versions; returns how many."""
    running = TrainingJob.objects.filter(state=JobState.RUNNING)
    gone = [pk for pk, process in running.values_list("pk", "process") if _is_gone(process)]
    silent = Q(heartbeat_at__lt=timezone.now() - lost_after())
    lost = running.filter(silent | Q(pk__in=gone))
    watchdog = trail.Actor.system("watchdog")
    return sum(
        _end(lost.filter(pk=job_id), TrainingStopped(LOST_REASON), by=watchdog)
        for job_id in lost.values_list("pk", flat=True)
    )


def is_stopping(job: TrainingJob) -> bool:
    return job.state == JobState.RUNNING and job.cancel_requested_at is not None


def notice_of(job: TrainingJob, *, at: datetime) -> str:
    """What a person who waits for the job should know; empty when all is as it should be."""
    if is_stopping(job):
        return f"{job.error} It stops at its next step."
    if job.state == JobState.RUNNING and (_is_gone(job.process) or not _beats(job, at)):
        return "Its process gives no sign of life; the job will soon be marked as failed."
    if job.state != JobState.QUEUED:
        return ""
    running = TrainingJob.objects.filter(state=JobState.RUNNING).order_by("pk")
    ahead = next((each for each in running if _lives(each, at)), None)
    if ahead is not None:
        return f"It waits for job {ahead.pk}, which is running."
    if at - job.queued_at < lost_after():
        return ""
    return "No worker has taken it: `manage.py serve` runs one, `manage.py worker` one alone."


def _beats(job: TrainingJob, at: datetime) -> bool:
    return job.heartbeat_at is not None and at - job.heartbeat_at <= lost_after()


def _is_gone(process: str) -> bool:
    return is_running(process) is False


def _lives(job: TrainingJob, at: datetime) -> bool:
    """By its process, which may be too busy to beat; where that cannot be known by its heart."""
    known = is_running(job.process)
    return _beats(job, at) if known is None else known


@transaction.atomic
def _queue(
    request: TrainingRequest, *, by: trail.Actor, retry_of: TrainingJob | None = None
) -> TrainingJob:
    job = _create_job(request, by=by, retry_of=retry_of)
    trail.record(
        "training.retried" if retry_of else "training.queued",
        by=by,
        target=(TARGET, job.pk),
        details={
            "model_type": job.model_type,
            "parameters": job.parameters,
            "retry_of": retry_of.pk if retry_of else None,
        },
    )
    transaction.on_commit(lambda: async_task("segments.jobs.run_queued", job.pk))
    return job


def _create_job(
    request: TrainingRequest,
    *,
    by: trail.Actor,
    **fields: JobState | datetime | TrainingJob | str | None,
) -> TrainingJob:
    return TrainingJob.objects.create(
        model_type=request.model_type,
        parameters=dict(request.parameters),
        features=list(request.features) if request.features else None,
        note=request.note,
        queued_by=by.label,
        queued_by_id=by.id,
        **fields,
    )


def _request_of(job: TrainingJob) -> TrainingRequest:
    return TrainingRequest(job.model_type, job.parameters, job.features, job.note)


@transaction.atomic
def _claim(job: TrainingJob, *, by: trail.Actor) -> bool:
    """Whether this process now owns the job: one conditional UPDATE."""
    now = timezone.now()
    claimed = TrainingJob.objects.filter(pk=job.pk, state=JobState.QUEUED).update(
        state=JobState.RUNNING, started_at=now, heartbeat_at=now, process=this_process()
    )
    if claimed:
        details = {"model_type": job.model_type}
        trail.record("training.started", by=by, target=(TARGET, job.pk), details=details)
    return claimed == 1


def _run(
    job: TrainingJob, *, directory: Path, by: trail.Actor, on_progress: Progress
) -> ModelVersion:
    def report(share: float, step: str) -> None:
        if not going_on(job).update(progress=round(share, 3), step=step):
            raise TrainingStopped
        on_progress(share, step)

    try:
        with heartbeat(TrainingJob.objects.filter(pk=job.pk)):
            version = train(
                job,
                _request_of(job),
                directory=directory,
                by=by,
                report=report,
                secret=settings.SECRET_KEY,
            )
    except BaseException as error:
        _end(TrainingJob.objects.filter(pk=job.pk), error, by=by)
        discard_leftovers()
        if isinstance(error, TrainingStopped):
            job.refresh_from_db(fields=["error"])
            raise TrainingStopped(job.error) from error
        raise
    on_progress(1.0, "done")
    return version


@transaction.atomic
def _end(found: QuerySet[TrainingJob], error: BaseException, *, by: trail.Actor) -> bool:
    """Close the job found, which did not succeed, with its half-made version.

    False when it runs no more, or is no more found: another process was first.
    """
    job = found.select_for_update().filter(state=JobState.RUNNING).first()
    if job is None:
        return False
    reason = job.error if is_stopping(job) else _reason(error)
    is_cancelled = is_stopping(job) or isinstance(error, KeyboardInterrupt)
    is_unexpected = not isinstance(error, (ValueError, KeyboardInterrupt, TrainingStopped))
    job.state = JobState.CANCELLED if is_cancelled else JobState.FAILED
    job.error = f"{reason}\n{_traceback(error)}" if is_unexpected else reason
    job.finished_at = timezone.now()
    job.save(update_fields=["state", "error", "finished_at"])
    half_made = ModelVersion.objects.filter(trainingjob=job, stage=Stage.TRAINING)
    if erased_since(job.started_at or job.queued_at):
        for version in half_made:
            forget_values(version, directory=settings.MODEL_DIR)
    half_made.update(stage=Stage.FAILED, failure=reason)
    trail.record(
        "training.cancelled" if is_cancelled else "model_version.training_failed",
        by=by,
        target=(TARGET, job.pk),
        outcome=Outcome.SUCCEEDED if is_cancelled else Outcome.FAILED,
        details={"reason": reason[:1000]},
    )
    return True


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted."
    return str(error) or type(error).__name__


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
