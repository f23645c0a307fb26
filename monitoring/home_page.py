"""What monitoring says on the overview: open alerts, quality and drift of what serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, Count, IntegerField, Min, Q, Value, When
from django.utils import timezone

from access.figures import figure
from access.sparklines import Sparkline, sparkline
from access.staff import Table
from modelregistry.models import ModelVersion
from monitoring.alert_page import STYLES, shown_state
from monitoring.models import Alert, AlertKind, AlertState, DriftReport, QualityPoint
from monitoring.quality_page import STYLES as LEVEL_STYLES

N_WORST = 3
N_POINTS = 30
"""Checks in a line of the quality, the latest."""
LEAST_RISE = 0.1
"""Of the silhouette, which is from -1 to 1, that fills the height of the line."""
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


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """An alert with its state as staff see it."""

    alert: Alert
    state: str
    style: str


@dataclass(frozen=True, slots=True)
class OpenAlerts:
    """How many there are; `worst` are the few to look at first, `about` what each firing one is of.

    `n_silenced` of the firing ones are silenced, the first to sound again at `silenced_until`.
    `about` holds pairs of a kind and a model type, which is empty where an alert is of none.
    """

    n_firing: int
    n_pending: int
    n_unnoted: int
    n_silenced: int
    silenced_until: datetime | None
    worst: Sequence[ShownAlert]
    about: frozenset[tuple[str, str]]


def open_alerts(*, at: datetime) -> OpenAlerts:
    """Three queries."""
    firing = Q(state=AlertState.FIRING)
    silenced = firing & Q(silenced_until__gt=at)
    counts = Alert.objects.unresolved().aggregate(
        n_firing=Count("id", filter=firing),
        n_pending=Count("id", filter=Q(state=AlertState.PENDING)),
        n_unnoted=Count("id", filter=firing & ~noted(at)),
        n_silenced=Count("id", filter=silenced),
        silenced_until=Min("silenced_until", filter=silenced),
    )
    kinds = Alert.objects.filter(firing).order_by().values_list("kind", "model_type").distinct()
    shown = [
        ShownAlert(each, (state := shown_state(each, at=at)), STYLES[state]) for each in worst()
    ]
    return OpenAlerts(**counts, worst=shown, about=frozenset(kinds))


def n_unnoted(*, at: datetime) -> int:
    """Firing alerts that nobody took note of yet; one query."""
    return Alert.objects.filter(~noted(at), state=AlertState.FIRING).count()


def noted(at: datetime) -> Q:
    """Somebody looks after the alert, or wants to hear nothing of it for now."""
    return Q(acknowledged_at__isnull=False) | Q(silenced_until__isnull=False, silenced_until__gt=at)


@dataclass(frozen=True, slots=True)
class QualityNow:
    """The last point of a version and a line of those before; `table` has the same in figures."""

    point: QualityPoint
    style: str
    words: str
    sparkline: Sparkline | None
    table: Table


def quality_now(version: ModelVersion) -> QualityNow | None:
    """How it does now beside its training, by the silhouette; one query."""
    newest = list(version.quality.order_by("-measured_at", "-id")[:N_POINTS])
    if not newest:
        return None
    trained = version.metrics.get("silhouette")
    words = f"{figure(newest[0].silhouette)} now, {figure(trained)} at training"
    line = sparkline(
        [point.silhouette for point in reversed(newest)],
        level=trained,
        least=LEAST_RISE,
        words=f"Silhouette of {version} at its last {len(newest)} checks: {words}",
    )
    rows = [
        (f"{point.measured_at:%d %b %Y %H:%M}", point.level, figure(point.silhouette))
        for point in newest
    ]
    return QualityNow(
        newest[0],
        LEVEL_STYLES.get(newest[0].level, "info"),
        words,
        line,
        Table(["Check", "Verdict", "Silhouette"], rows, numbers_from=2),
    )


def last_report(version: ModelVersion) -> DriftReport | None:
    """One query; the figures of the report are not read."""
    return DriftReport.objects.in_short().filter(version=version).first()


def worst() -> list[Alert]:
    """The few firing alerts to look at first: those that nobody took note of before others."""
    firing = Alert.objects.filter(state=AlertState.FIRING).annotate(
        rank=Case(
            *(When(kind=kind, then=Value(place)) for place, kind in enumerate(WORST_FIRST)),
            output_field=IntegerField(),
        ),
        is_noted=Case(When(noted(timezone.now()), then=Value(1)), default=Value(0)),
    )
    return list(firing.order_by("is_noted", "rank", "-last_seen_at", "-id")[:N_WORST])
