"""When the scheduled check is due, who runs it, and how it ended.

Every monitor looks at the same row; the one whose UPDATE finds it unchanged runs the check.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from audit import trail
from audit.models import Outcome
from modelregistry.models import ActiveModel
from monitoring.models import MonitoringPolicy

AUDIT_ACTION = "monitoring.check_failed"
RUNNING = "A check is running."
"""Stands in place of the last error from the claim of a check to its end."""
LOST = "The process of the check was stopped before its end."
RETRY_AFTER = timedelta(hours=1)
"""From one failed check to the next, unless the interval is shorter."""
MAX_ERROR = 500


def is_due(policy: MonitoringPolicy, *, default_hours: int, at: datetime) -> bool:
    """Whether a check is to begin now: there is a version, no pause, and it is time."""
    if policy.is_paused or policy.last_error == RUNNING:
        return False
    wait = policy.interval(default_hours=default_hours)
    if policy.last_error:
        wait = min(wait, RETRY_AFTER)
    is_time = policy.last_started_at is None or at - policy.last_started_at >= wait
    return is_time and ActiveModel.objects.filter(active__isnull=False).exists()


def claim(policy: MonitoringPolicy, *, at: datetime) -> bool:
    """Whether the caller runs the check, and nobody else: one conditional UPDATE."""
    unchanged = MonitoringPolicy.objects.filter(
        pk=policy.pk,
        is_paused=False,
        last_started_at=policy.last_started_at,
        last_error=policy.last_error,
    )
    return unchanged.update(last_started_at=at, last_error=RUNNING) == 1


def succeeded() -> None:
    """The running check ended with a verdict, whatever it says."""
    MonitoringPolicy.objects.filter(pk=1, last_error=RUNNING).update(last_error="")


def given_back() -> None:
    """The running check was stopped by whoever stopped the monitor: the next one begins anew."""
    MonitoringPolicy.objects.filter(pk=1, last_error=RUNNING).update(
        last_started_at=None, last_error=""
    )


def ran(*, at: datetime) -> None:
    """Somebody else checked all stored customers: the next scheduled check is an interval later."""
    idle = MonitoringPolicy.objects.filter(pk=1).exclude(last_error=RUNNING)
    idle.update(last_started_at=at, last_error="")


@transaction.atomic
def failed(reason: str, *, by: trail.Actor) -> bool:
    """Keep why the running check failed, with one entry; False when somebody did so before."""
    reason = reason[:MAX_ERROR]
    running = MonitoringPolicy.objects.filter(pk=1, last_error=RUNNING)
    if not running.update(last_error=reason):
        return False
    trail.record(
        AUDIT_ACTION,
        by=by,
        target=("monitoring_policy", 1),
        outcome=Outcome.FAILED,
        details={"reason": reason},
    )
    return True


def problem_of(policy: MonitoringPolicy) -> str:
    """Why the last check that ended failed; empty when it did not."""
    return "" if policy.last_error == RUNNING else policy.last_error
