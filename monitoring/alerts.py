"""The life of alerts: what checks say of a condition; `alert_acts` has what staff do about it.

An alert is pending until enough alarming checks confirmed it, then it fires until enough good
checks in a row, or a person, resolve it. A check that could not judge changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import IntegrityError, transaction

from audit import trail
from modelregistry import activation
from modelregistry.models import ModelVersion
from monitoring.models import (
    Alert,
    AlertEvent,
    AlertKind,
    AlertState,
    DriftReport,
    MonitoringPolicy,
)

TARGET = "alert"
"""What the trail calls an alert."""

MAX_TITLE = 200
MAX_LABEL = 200

OBSERVED = (
    *("state", "report", "title", "summary", "advice", "subjects", "facts", "chart"),
    *(
        "counted_at",
        "n_bad",
        "n_good",
        "fired_at",
        "last_seen_at",
        "acknowledged_at",
        "acknowledged_by",
    ),
    *("resolved_at", "resolution"),
)
"""Fields that checks change."""


class Level(StrEnum):
    """What one check says of one condition; `unknown` is that it could not judge."""

    OK = "ok"
    WARNING = "warning"
    ALARM = "alarm"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What one check says of one thing that may go wrong.

    `key` names what may be wrong with what. `needs` is how many alarming checks in a row confirm
    it; None leaves that to the policy. A check that comes less than `apart` after one that counted
    saw much the same, and counts for nothing.
    """

    kind: AlertKind
    key: str
    level: Level
    title: str
    summary: str
    advice: str
    model_type: str = ""
    version: ModelVersion | None = None
    report: DriftReport | None = None
    subjects: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    chart: Mapping[str, Any] = field(default_factory=dict)
    needs: int | None = None
    apart: timedelta = timedelta(0)

    @property
    def is_bad(self) -> bool:
        return self.level in (Level.ALARM, Level.WARNING)

    @property
    def words(self) -> dict[str, Any]:
        """What an alert says of it, by field."""
        return {
            "title": shortened(self.title, MAX_TITLE),
            "summary": self.summary,
            "advice": self.advice,
            "subjects": list(self.subjects),
            "facts": [list(fact) for fact in self.facts],
            "chart": dict(self.chart),
        }


def observe(
    conditions: Sequence[Condition], *, policy: MonitoringPolicy, at: datetime, by: trail.Actor
) -> list[Alert]:
    """Carry conditions over to their alerts, in the caller's transaction; returns those changed.

    A bad condition without an unresolved alert raises one, or reopens the one that was resolved
    within the cool-down.
    """
    if len({condition.key for condition in conditions}) < len(conditions):
        raise ValueError("two conditions have the same key")
    held = _held([condition.key for condition in conditions], policy=policy, at=at)
    steps = _Steps(policy=policy, at=at, by=by)
    touched = []
    for condition in conditions:
        alert = held.get(condition.key)
        if alert is None and condition.is_bad:
            alert = steps.raised(condition)
        if alert is not None and steps.observed(alert, condition):
            touched.append(alert)
    Alert.objects.bulk_update(touched, OBSERVED)
    steps.write()
    return steps.changed


def resolve_superseded(*, at: datetime, by: trail.Actor) -> list[Alert]:
    """Resolve the alerts about what versions that serve no more do with customers."""
    serving = {version.model_type: version for version in activation.active_versions()}
    found = (
        Alert.objects.unresolved()
        .filter(kind__in=[AlertKind.DRIFT, AlertKind.QUALITY], version__isnull=False)
        .filter(model_type__in=list(serving))
        .exclude(version__in=[version.pk for version in serving.values()])
        .order_by("pk")
        .select_for_update()
    )
    steps = _Steps(policy=None, at=at, by=by)
    superseded = list(found)
    for alert in superseded:
        steps.resolve(alert, f"{serving[alert.model_type]} serves now")
    Alert.objects.bulk_update(superseded, OBSERVED)
    steps.write()
    return superseded


def too_soon(alert: Alert, condition: Condition, at: datetime) -> bool:
    """Whether the check comes too soon after one that counted to count too."""
    return alert.counted_at is not None and abs(at - alert.counted_at) < condition.apart


def shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _held(keys: Sequence[str], *, policy: MonitoringPolicy, at: datetime) -> dict[str, Alert]:
    """By key the unresolved alert, or else the last one that still cools down; one query."""
    cooling = Alert.objects.filter(
        state=AlertState.RESOLVED, resolved_at__gt=at - timedelta(hours=policy.cool_down_hours)
    )
    found = (Alert.objects.unresolved() | cooling).filter(key__in=keys)
    locked = list(found.order_by("pk").select_for_update())
    return {
        alert.key: alert
        for alert in sorted(locked, key=lambda each: (each.resolved_at or at, each.pk))
    } | {alert.key: alert for alert in locked if alert.state != AlertState.RESOLVED}


def event_of(
    alert: Alert, kind: AlertEvent.Kind, *, at: datetime, by: trail.Actor, note: str = ""
) -> AlertEvent:
    return AlertEvent(alert=alert, kind=kind, at=at, by=by.label[:MAX_LABEL], note=note)


def record_event(event: AlertEvent, *, by: trail.Actor, details: Mapping[str, Any]) -> None:
    trail.record(
        f"alert.{event.kind}",
        by=by,
        target=(TARGET, event.alert_id),
        details={
            "kind": event.alert.kind,
            "key": event.alert.key,
            **({"note": event.note} if event.note else {}),
            **details,
        },
    )


class _Steps:
    """The steps that the alerts of one check take, written together at the end."""

    def __init__(self, *, policy: MonitoringPolicy | None, at: datetime, by: trail.Actor) -> None:
        self.policy, self.at, self.by = policy, at, by
        self.events: list[AlertEvent] = []

    @property
    def changed(self) -> list[Alert]:
        """Alerts with a step, each once, in order."""
        return list({event.alert_id: event.alert for event in self.events}.values())

    def write(self) -> None:
        """Store the steps, each with one audit entry."""
        for event in AlertEvent.objects.bulk_create(self.events):
            record_event(event, by=self.by, details={})

    def raised(self, condition: Condition) -> Alert:
        """A new pending alert, or the one that another process raised meanwhile."""
        try:
            with transaction.atomic():
                alert = Alert.objects.create(
                    kind=condition.kind,
                    key=condition.key,
                    model_type=condition.model_type,
                    version=condition.version,
                    report=condition.report,
                    raised_at=self.at,
                    last_seen_at=self.at,
                    **condition.words,
                )
        except IntegrityError:
            return Alert.objects.unresolved().select_for_update().get(key=condition.key)
        self.took(alert, AlertEvent.Kind.RAISED)
        return alert

    def observed(self, alert: Alert, condition: Condition) -> bool:
        """Carry one condition over; returns whether anything of the alert is different now."""
        if condition.level == Level.UNKNOWN:
            return False
        if condition.level == Level.OK:
            return self.saw_nothing(alert, condition)
        self.saw_it(alert, condition)
        return True

    def saw_nothing(self, alert: Alert, condition: Condition) -> bool:
        """A good check: a firing alert needs several of them."""
        if alert.state == AlertState.RESOLVED:
            return False
        assert self.policy is not None
        if too_soon(alert, condition, self.at):
            return False
        alert.subjects = list(condition.subjects) or alert.subjects
        alert.n_bad, alert.n_good, alert.counted_at = 0, alert.n_good + 1, self.at
        if alert.state == AlertState.PENDING:
            self.resolve(alert, "It was not confirmed")
        elif alert.n_good >= self.policy.resolutions:
            checks = "check" if alert.n_good == 1 else "checks"
            self.resolve(alert, f"{alert.n_good} good {checks} in a row")
        return True

    def saw_it(self, alert: Alert, condition: Condition) -> None:
        """A bad check: only alarming ones confirm."""
        assert self.policy is not None
        is_alarm = condition.level == Level.ALARM
        if alert.state == AlertState.RESOLVED:
            self.reopen(alert, condition)
        for name, value in condition.words.items():
            setattr(alert, name, value)
        alert.last_seen_at, alert.n_good = self.at, 0
        if is_alarm and not (alert.n_bad and too_soon(alert, condition, self.at)):
            alert.n_bad, alert.counted_at = alert.n_bad + 1, self.at
        needs = self.policy.confirmations if condition.needs is None else condition.needs
        if alert.state == AlertState.PENDING:
            alert.report = condition.report
            if is_alarm and alert.n_bad >= needs:
                alert.state, alert.fired_at = AlertState.FIRING, self.at
                self.took(alert, AlertEvent.Kind.FIRED)

    def reopen(self, alert: Alert, condition: Condition) -> None:
        """Take a resolved alert up again; one that fired needs no confirmation to fire again."""
        fires = condition.level == Level.ALARM and alert.fired_at is not None
        alert.state = AlertState.FIRING if fires else AlertState.PENDING
        alert.resolved_at, alert.resolution, alert.n_bad = None, "", 0
        alert.report = condition.report
        alert.acknowledged_at, alert.acknowledged_by = None, ""
        self.took(alert, AlertEvent.Kind.REOPENED)

    def resolve(self, alert: Alert, reason: str) -> None:
        alert.state, alert.resolved_at = AlertState.RESOLVED, self.at
        alert.resolution = f"{reason}."
        self.took(alert, AlertEvent.Kind.RESOLVED, note=alert.resolution)

    def took(self, alert: Alert, kind: AlertEvent.Kind, *, note: str = "") -> None:
        self.events.append(event_of(alert, kind, at=self.at, by=self.by, note=note))
