"""One training job as a person reads it: where it is, how long it takes, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from access.figures import figure
from modelregistry.models import JobState, TrainingJob
from segments.jobs import LOST_REASON

STAGES = (
    (0.0, "Reading the customers"),
    (0.05, "Learning the features"),
    (0.1, "Choosing the parameters and fitting"),
    (0.6, "Describing the segments"),
    (0.72, "Describing the reference customers"),
    (0.75, "Assigning the customers"),
)
"""From which share of the work on each stage is under way, as trainings report it."""
FEW = "Training needs at least"
NO_FEATURES = "no usable features"
ERASED = "Customers were erased"


@dataclass(frozen=True, slots=True)
class StageState:
    """`state` is done, now or to come; `words` say what is done now."""

    title: str
    state: str
    words: str


def stages(job: TrainingJob) -> list[StageState]:
    """Each stage of a running job; nothing of one that has not begun or is over."""
    if job.state != JobState.RUNNING:
        return []
    ends = [start for start, _ in STAGES[1:]] + [2.0]
    found = []
    for (start, title), end in zip(STAGES, ends, strict=True):
        if job.progress >= end:
            found.append(StageState(title, "done", ""))
        elif job.progress >= start:
            found.append(StageState(title, "now", job.step))
        else:
            found.append(StageState(title, "to come", ""))
    return found


def time_words(job: TrainingJob, *, at: datetime) -> str:
    """How long it has run, and how much longer it takes if it takes as long as the last one."""
    if job.state == JobState.QUEUED:
        return f"Queued {spelled(at - job.queued_at)} ago."
    if job.started_at is None:
        return ""
    if job.state != JobState.RUNNING:
        return f"It took {spelled(job.finished_at - job.started_at)}." if job.finished_at else ""
    elapsed = at - job.started_at
    words = f"Running for {spelled(elapsed)}."
    last = (
        TrainingJob.objects.filter(
            model_type=job.model_type, state=JobState.SUCCEEDED, started_at__isnull=False
        )
        .order_by("-queued_at", "-pk")
        .first()
    )
    if last is None or last.finished_at is None or last.started_at is None:
        return words
    whole = last.finished_at - last.started_at
    words += f" The last one of this type took {spelled(whole)}"
    if elapsed < whole:
        return f"{words}: about {spelled(whole - elapsed)} left if this one is like it."
    return f"{words}."


def spelled(length: timedelta) -> str:
    seconds = max(0, round(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def advice(job: TrainingJob) -> str:
    """What a person can do about a job that failed or was cancelled."""
    reason, _, traceback = job.error.partition("\n")
    if job.state == JobState.CANCELLED:
        return "Nothing of it was kept. Try it again, or change what was asked for."
    if job.state != JobState.FAILED:
        return ""
    if reason.startswith(FEW):
        return "Import more customers, then try it again."
    if NO_FEATURES in reason:
        return "Choose other features, or import customers with more of them filled in."
    if reason.startswith(ERASED):
        return "Try it again: it trains without the customers who were erased."
    if reason == LOST_REASON:
        return "The server or its worker was stopped, perhaps for want of memory. Try it again."
    if traceback:
        return (
            "This was not foreseen; the log of the worker has the details. Try it again, or with "
            "fewer features or stated parameters."
        )
    return "Change what was asked for, and train again."


def facts(job: TrainingJob) -> Sequence[tuple[str, object]]:
    given = [f"{name} = {figure(value)}" for name, value in sorted(job.parameters.items())]
    return [
        ("Model", job.get_model_type_display()),
        ("Parameters", ", ".join(given) or "automatic"),
        ("Features", ", ".join(job.features or []) or "all that inform"),
        ("Note", job.note or "–"),
        ("Asked for", f"{job.queued_at:%d %b %Y %H:%M:%S} by {job.queued_by}"),
        ("Started", job.started_at or "–"),
        ("Finished", job.finished_at or "–"),
    ]
