"""What the monitor does beside checks: look at conditions, sum up serving, thin out."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from audit import trail
from audit.sealer import Sealer
from modelregistry import activation
from monitoring import alerts, outbox, serving
from monitoring.artifact_watch import ArtifactWatch
from monitoring.conditions import conditions
from monitoring.delivery_watch import delivery_conditions
from monitoring.drift_check import CheckTerms
from monitoring.models import Alert, MonitoringPolicy
from monitoring.sealing_watch import sealing_conditions


def look_at_conditions(
    watch: ArtifactWatch,
    *,
    terms: CheckTerms,
    at: datetime,
    by: trail.Actor,
    sealer: Sealer | None = None,
) -> list[Alert]:
    """Carry how things stand over to the alerts, and queue the digest when one changed.

    `sealer` is the one of this process, None when another process seals the trail.
    """
    policy = MonitoringPolicy.current()
    versions = activation.active_versions()
    found = [
        *watch.conditions(versions, directory=terms.directory),
        *conditions(versions, policy=policy, default_hours=terms.default_hours, at=at),
        *delivery_conditions(terms.channels, at=at),
        *sealing_conditions(sealer, at=at),
    ]
    with transaction.atomic():
        changed = alerts.resolve_superseded(at=at, by=by)
        changed += alerts.observe(found, policy=policy, at=at, by=by)
        if changed:  # else what a check with --no-email found would be told of all the same
            outbox.queue_digest(at=at, channels=terms.channels)
    return changed


def sum_up_serving(*, at: datetime) -> None:
    """All settled calls, however many have gathered."""
    while serving.roll_up(at=at) == serving.CHUNK:
        pass
