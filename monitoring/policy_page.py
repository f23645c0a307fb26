"""When customers were and will be checked, in words."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.http import HttpRequest

from monitoring.models import MonitoringPolicy
from monitoring.schedule import RETRY_AFTER, RUNNING, problem_of

RUN = ("monitoring.view_monitoringpolicy", "monitoring.run_driftcheck")
"""What it takes to have customers checked now."""


def may_check(request: HttpRequest, policy: MonitoringPolicy) -> bool:
    """Whether this person can begin a check as things stand."""
    is_idle = not policy.is_paused and policy.last_error != RUNNING
    return is_idle and request.user.has_perms(RUN)


def interval_words(policy: MonitoringPolicy) -> str:
    """The interval of the checks in hours, as it is in force."""
    interval = policy.interval(default_hours=settings.MONITORING_INTERVAL)
    hours = round(interval.total_seconds() / 3600)
    return f"{hours:,} hours" if hours != 1 else "hour"


def first_check_words(policy: MonitoringPolicy) -> str:
    """When customers are checked, before they ever were."""
    if policy.is_paused:
        return "Checks are paused."
    every = interval_words(policy)
    return f"Customers are checked by the system itself, every {every} once a version serves."


def next_check_at(policy: MonitoringPolicy) -> datetime | None:
    """When the next check is due; None when none is, or when it is due at once."""
    if policy.is_paused or policy.last_started_at is None:
        return None
    wait = policy.interval(default_hours=settings.MONITORING_INTERVAL)
    return policy.last_started_at + (min(wait, RETRY_AFTER) if problem_of(policy) else wait)


def state_words(policy: MonitoringPolicy, *, at: datetime) -> str:
    """The last and the next check in one sentence."""
    last = policy.last_started_at
    if policy.last_error == RUNNING:
        return f"A check is running since {last:%d %b %H:%M}." if last else RUNNING
    if last is None:
        return "Checks are paused." if policy.is_paused else "The next check is due now."
    before = f"The last check began {last:%d %b %H:%M}"
    if policy.is_paused:
        return f"{before}. Checks are paused."
    due = next_check_at(policy)
    if due is None or due <= at:
        return f"{before}; the next one is due now."
    hours = (due - at).total_seconds() / 3600
    return f"{before}; the next one is due {due:%d %b %H:%M}, in {hours:.1f} h."
