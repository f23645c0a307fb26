"""What may go wrong beside drift and quality: no data, no training, a check that cannot run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from modelregistry.models import JobState, ModelType, ModelVersion, TrainingJob
from monitoring.alerts import Condition, Level
from monitoring.models import AlertKind, MonitoringPolicy
from monitoring.schedule import problem_of
from segments.models import Customer

QUIET_INTERVALS = 3
"""Intervals without new customers after which data are missing, where staff set no hours."""
MAX_REASON = 300


def conditions(
    versions: Sequence[ModelVersion],
    *,
    policy: MonitoringPolicy,
    default_hours: int,
    at: datetime,
) -> list[Condition]:
    """How things stand for the versions that serve, and for the monitor; a few small queries."""
    return [
        *_missing_data(versions, policy=policy, default_hours=default_hours, at=at),
        *_failed_trainings(),
        *_overdue_trainings(versions, policy=policy, at=at),
        *_failed_checks(policy),
    ]


def _missing_data(
    versions: Sequence[ModelVersion], *, policy: MonitoringPolicy, default_hours: int, at: datetime
) -> Iterator[Condition]:
    """Nobody was stored or changed for long, while a version serves."""
    if not versions:
        return
    within = QUIET_INTERVALS * policy.interval(default_hours=default_hours)
    if policy.expected_within_hours is not None:
        within = timedelta(hours=policy.expected_within_hours)
    newest = Customer.objects.order_by("-updated_at").values_list("updated_at", flat=True).first()
    is_quiet = bool(within) and (newest is None or at - newest > within)
    since = f"since {newest:%d %b %Y %H:%M} UTC" if newest else "at all"
    yield Condition(
        kind=AlertKind.MISSING_DATA,
        key=AlertKind.MISSING_DATA,
        level=Level.ALARM if is_quiet else Level.OK,
        title="Missing data: no new customers",
        summary=(
            f"No customer was stored or changed {since}; new ones are expected within "
            f"{_in_words(within)}."
        ),
        advice=(
            "Look whether the import, or whoever sends customers, still runs. If this pause is as "
            "it should be, set the hours in which customers are expected in the monitoring policy."
        ),
        needs=1,
    )


def _failed_trainings() -> Iterator[Condition]:
    """The latest training of a type that ended failed; a cancelled one says nothing."""
    ended = TrainingJob.objects.filter(state__in=[JobState.SUCCEEDED, JobState.FAILED])
    for model_type in ModelType.values:
        job = ended.filter(model_type=model_type).order_by("-finished_at", "-pk").first()
        if job is None:
            continue
        yield Condition(
            kind=AlertKind.TRAINING_FAILED,
            key=f"{AlertKind.TRAINING_FAILED}:{model_type}",
            level=Level.ALARM if job.state == JobState.FAILED else Level.OK,
            title=f"Training failed: {model_type}",
            summary=f"Training job {job.pk} of {model_type} failed: {_reason(job)}",
            advice=(
                "The version that serves is not touched by this. The job's page in the admin says "
                "more; mend the cause there named and press Retry."
            ),
            model_type=model_type,
            needs=1,
        )


def _reason(job: TrainingJob) -> str:
    """The first line of it; what nobody foresaw may quote a customer and is not told."""
    first, *traceback = job.error.split("\n", 1)
    return "an unexpected error, see the job." if traceback else first[:MAX_REASON]


def _overdue_trainings(
    versions: Sequence[ModelVersion], *, policy: MonitoringPolicy, at: datetime
) -> Iterator[Condition]:
    """A version serves that was trained long ago."""
    limit = policy.retrain_after_days
    for version in versions:
        days = (at - version.trained_at).days
        yield Condition(
            kind=AlertKind.TRAINING_OVERDUE,
            key=f"{AlertKind.TRAINING_OVERDUE}:{version.model_type}",
            level=Level.ALARM if limit and days >= limit else Level.OK,
            title=f"Training overdue: {version}",
            summary=(
                f"{version} serves and was trained {days:,} days ago; the limit is {limit:,} days."
            ),
            advice="Train a new version, compare it with this one, and activate it if it is good.",
            model_type=version.model_type,
            version=version,
            needs=1,
        )


def _failed_checks(policy: MonitoringPolicy) -> Iterator[Condition]:
    problem = problem_of(policy)
    yield Condition(
        kind=AlertKind.CHECK_FAILED,
        key=AlertKind.CHECK_FAILED,
        level=Level.ALARM if problem else Level.OK,
        title="The scheduled check failed",
        summary=f"The last scheduled check did not end as it should: {problem}",
        advice=(
            "It is tried again each hour. Run `manage.py check_drift` to see what happens; the log "
            "has more."
        ),
        needs=1,
    )


def _in_words(within: timedelta) -> str:
    hours = round(within.total_seconds() / 3600)
    return f"{hours:,} hours" if hours != 1 else "an hour"
