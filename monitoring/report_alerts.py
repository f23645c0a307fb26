"""Which alerts a drift report belongs to: those it raised, and those it saw again."""

from __future__ import annotations

from django.db.models import Q

from monitoring.drift_alerts import key_of
from monitoring.models import Alert, AlertKind, DriftReport

ABOUT_CUSTOMERS = (AlertKind.DRIFT, AlertKind.QUALITY)
"""Kinds that a check of customers raises."""
MAX_ALERTS = 20


def alerts_of(report: DriftReport) -> list[Alert]:
    """Alerts about the version's customers that this check raised or that lasted through it.

    Those of a drift check of another source are others: what a file shows says nothing of stored
    customers. Those that are open come first; one query.
    """
    lasted = Q(
        version=report.version_id,
        kind__in=ABOUT_CUSTOMERS,
        raised_at__lte=report.created_at,
        last_seen_at__gte=report.created_at,
    )
    other_source = Q(kind=AlertKind.DRIFT) & ~Q(key__startswith=key_of(report, ""))
    found = Alert.objects.filter(Q(report=report) | (lasted & ~other_source))
    return list(found.order_by("state", "-last_seen_at", "-id")[:MAX_ALERTS])
