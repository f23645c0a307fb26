"""What monitoring says on the overview: open alerts, and when customers are checked."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, Count, IntegerField, Q, Value, When
from django.http import HttpRequest
from django.utils import timezone

from monitoring.alert_page import STYLES, shown_state
from monitoring.models import Alert, AlertKind, AlertState, MonitoringPolicy
from monitoring.policy_page import state_words
from monitoring.schedule import problem_of

N_WORST = 3
WORST_FIRST = (
    AlertKind.DAMAGED_ARTIFACT,
    AlertKind.SEALING,
    AlertKind.DRIFT,
    AlertKind.QUALITY,
    AlertKind.TRAINING_FAILED,
    AlertKind.MISSING_DATA,
    AlertKind.CHECK_FAILED,
    AlertKind.DELIVERY,
    AlertKind.TRAINING_OVERDUE,
)
"""A wrong or missing answer, and a trail that nobody vouches for, before a doubtful answer, before
what nobody hears of, before one that grows old."""


def context(request: HttpRequest) -> dict[str, Any]:
    """What the person may see; three queries."""
    shown: dict[str, Any] = {}
    at = timezone.now()
    if request.user.has_perm("monitoring.view_alert"):
        counts = Alert.objects.unresolved().aggregate(
            n_firing=Count("id", filter=Q(state=AlertState.FIRING)),
            n_pending=Count("id", filter=Q(state=AlertState.PENDING)),
        )
        shown["alerts"] = {
            **counts,
            "worst": [
                {
                    "alert": alert,
                    "state": (state := shown_state(alert, at=at)),
                    "style": STYLES[state],
                }
                for alert in worst()
            ],
        }
    if request.user.has_perm("monitoring.view_monitoringpolicy"):
        policy = MonitoringPolicy.current()
        shown["check_problem"] = problem_of(policy)
        shown["check_words"] = state_words(policy, at=at)
    return shown


def worst() -> list[Alert]:
    """The few firing alerts to look at first: those that nobody took note of before others."""
    firing = Alert.objects.filter(state=AlertState.FIRING).annotate(
        rank=Case(
            *(When(kind=kind, then=Value(place)) for place, kind in enumerate(WORST_FIRST)),
            output_field=IntegerField(),
        ),
        is_noted=Case(
            When(
                Q(acknowledged_at__isnull=False) | Q(silenced_until__gt=timezone.now()),
                then=Value(1),
            ),
            default=Value(0),
        ),
    )
    return list(firing.order_by("is_noted", "rank", "-last_seen_at", "-id")[:N_WORST])
