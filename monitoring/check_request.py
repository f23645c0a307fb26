"""A person asks for the scheduled check now: the monitor begins it within seconds."""

from __future__ import annotations

from django.db import transaction

from audit import trail
from modelregistry.models import ActiveModel
from monitoring.models import MonitoringPolicy
from monitoring.schedule import RUNNING


class CheckConflict(Exception):
    """No check can be begun as things stand."""


@transaction.atomic
def request_check(*, by: trail.Actor) -> None:
    """Make the next check due at once, with its audit entry. Raises `CheckConflict`."""
    policy = MonitoringPolicy.current()
    if policy.is_paused:
        raise CheckConflict("Checks are paused: end the pause first.")
    if not ActiveModel.objects.filter(active__isnull=False).exists():
        raise CheckConflict("No version serves yet, so there is nothing to compare with.")
    idle = MonitoringPolicy.objects.filter(pk=policy.pk, is_paused=False)
    if not idle.exclude(last_error=RUNNING).update(last_started_at=None):
        raise CheckConflict("A check is running already.")
    trail.record("monitoring.check_requested", by=by, target=("monitoring_policy", policy.pk))
