"""From a drift report to alerts: one trouble, one alert; another trouble, another alert.

One cause shows in many troubles at once, so what a check finds beside an alert joins it. A trouble
is another one when it alone is drift and is worse than when the alert fired, and not because what
the alert is about has grown and spreads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from django.db.models import Q

from audit import trail
from modelregistry.models import ModelVersion
from monitoring import drift_alert_wording as wording
from monitoring.alerts import Condition, Level, observe
from monitoring.drift_troubles import (
    SPREADING,
    Sort,
    Trouble,
    could_see,
    has_grown,
    troubles_in,
    unjudged,
)
from monitoring.models import (
    Alert,
    AlertKind,
    AlertState,
    DriftReport,
    MonitoringPolicy,
    Verdict,
)

YEAR = timedelta(days=365)


def observe_drift(
    report: DriftReport, *, policy: MonitoringPolicy, at: datetime, by: trail.Actor
) -> list[Alert]:
    """Carry a report over to the alerts of its version and source; returns those changed.

    In the caller's transaction. Checks of one version wait for each other here, or two of them
    would raise an alert each for the same trouble.
    """
    if report.verdict == Verdict.INSUFFICIENT_DATA:
        return []
    ModelVersion.objects.select_for_update(no_key=True).get(pk=report.version_id)
    known = _known_alerts(report, policy=policy, at=at)
    shared = _share_out(troubles_in(report.report), known)
    return observe(_conditions(report, known, shared), policy=policy, at=at, by=by)


@dataclass(frozen=True, slots=True)
class _Known:
    """An alert with what it was about when it fired, its `lead`; other subjects joined later."""

    alert: Alert
    lead: frozenset[str]

    @classmethod
    def of(cls, alert: Alert) -> Self:
        subjects = frozenset(alert.subjects)
        if alert.report is None:  # thinned out since
            return cls(alert, subjects)
        return cls(alert, subjects & {trouble.name for trouble in troubles_in(alert.report.report)})

    @property
    def is_open(self) -> bool:
        return self.alert.state != AlertState.RESOLVED

    def among(self, troubles: Iterable[Trouble]) -> list[Trouble]:
        """Those that it is about."""
        return [trouble for trouble in troubles if trouble.name in self.alert.subjects]

    def would_show_in(self, report: Mapping[str, Any]) -> bool:
        """Whether a report of so few customers says anything of it by not showing it."""
        if self.alert.report is None:
            return True
        then = self.alert.report.report
        lead = [trouble for trouble in troubles_in(then) if trouble.name in self.lead]
        return not lead or any(could_see(trouble, then, report) for trouble in lead)

    def explains(self, trouble: Trouble, seen: Sequence[Trouble]) -> bool:
        """Whether a trouble is what the alert is about, or came of it; `seen` are its own now."""
        if trouble.name in self.lead:
            return True
        if self.alert.report is None:
            return False
        since = self.alert.report.report
        if not has_grown(trouble, since):
            return True
        return (
            self.is_open
            and trouble.sort in SPREADING
            and any(
                each.sort in SPREADING or trouble.sort != Sort.VALUES
                for each in seen
                if each.name in self.lead and has_grown(each, since)
            )
        )


@dataclass(slots=True)
class _Shared:
    """The troubles of one report by alert, and those that no alert tells of yet."""

    by_alert: dict[int, list[Trouble]] = field(default_factory=dict)
    untold: list[Trouble] = field(default_factory=list)


def _known_alerts(report: DriftReport, *, policy: MonitoringPolicy, at: datetime) -> list[_Known]:
    """Alerts of the version and source, open or cooling down, the latest first."""
    cooling = Q(resolved_at__gt=at - timedelta(hours=policy.cool_down_hours))
    found = (
        Alert.objects.filter(
            ~Q(state=AlertState.RESOLVED) | cooling,
            kind=AlertKind.DRIFT,
            version=report.version_id,
            key__startswith=key_of(report, ""),
        )
        .select_related("report")
        .order_by("-raised_at", "-pk")
    )
    return [_Known.of(alert) for alert in found]


def _share_out(troubles: Sequence[Trouble], known: Sequence[_Known]) -> _Shared:
    """Say which alert each trouble belongs to."""
    is_open = [each for each in known if each.is_open]
    shared = _Shared({each.alert.pk: each.among(troubles) for each in is_open})
    told = {trouble.name for own in shared.by_alert.values() for trouble in own}
    fresh = [trouble for trouble in troubles if trouble.name not in told]
    seen = [each for each in is_open if shared.by_alert[each.alert.pk]]
    for each in seen:
        if each.alert.state == AlertState.PENDING:  # nobody knows of it yet
            shared.by_alert[each.alert.pk] += fresh
            return shared
    back = [each for each in known if not each.is_open and each.among(fresh)]
    others = [
        trouble
        for trouble in troubles
        if trouble.is_sure
        and not any(each.explains(trouble, each.among(troubles)) for each in seen + back)
    ]
    if others:
        _move(others, shared)
        shared.untold = [*others, *(trouble for trouble in fresh if trouble not in others)]
    elif fresh:
        surely_back = [
            each for each in back if any(trouble.is_sure for trouble in each.among(fresh))
        ]
        takers = surely_back or seen or back
        if takers:
            shared.by_alert.setdefault(takers[0].alert.pk, []).extend(fresh)
        else:
            shared.untold = fresh
    return shared


def _move(troubles: Sequence[Trouble], shared: _Shared) -> None:
    """Take troubles that had joined an alert out of it."""
    for pk, own in shared.by_alert.items():
        shared.by_alert[pk] = [trouble for trouble in own if trouble not in troubles]


def _conditions(report: DriftReport, known: Sequence[_Known], shared: _Shared) -> list[Condition]:
    """What the report says of each alert, and of the troubles that none tells of."""
    silent = unjudged(report.report)
    moved = {trouble.name for trouble in shared.untold}
    conditions = []
    for each in known:
        troubles = shared.by_alert.get(each.alert.pk)
        if troubles is None:
            continue
        kept = [name for name in each.alert.subjects if name not in moved]
        subjects = tuple(dict.fromkeys([*kept, *(trouble.name for trouble in troubles)]))
        if troubles:
            conditions.append(_bad(report, each.alert.key, troubles, subjects))
        else:
            is_judged = silent.isdisjoint(each.lead) and each.would_show_in(report.report)
            level = Level.OK if is_judged else Level.UNKNOWN
            conditions.append(_good(report, each.alert, subjects, level))
    if shared.untold:
        names = tuple(trouble.name for trouble in shared.untold)
        conditions.append(_bad(report, key_of(report, report.pk), shared.untold, names))
    return conditions


def _bad(
    report: DriftReport, key: str, troubles: Sequence[Trouble], subjects: tuple[str, ...]
) -> Condition:
    ordered = wording.in_order(troubles)
    return Condition(
        kind=AlertKind.DRIFT,
        key=key,
        level=Level.ALARM if report.verdict == Verdict.DRIFT else Level.WARNING,
        title=wording.title(report, ordered),
        summary=wording.summary(ordered),
        advice=wording.advice(ordered),
        model_type=report.model_type,
        version=report.version,
        report=report,
        subjects=subjects,
        facts=wording.facts(report, ordered),
        chart=wording.chart(report, ordered),
        apart=half_an_interval(report),
    )


def _good(report: DriftReport, alert: Alert, subjects: tuple[str, ...], level: Level) -> Condition:
    """That nothing of what an alert is about was found, or could be judged."""
    return Condition(
        kind=AlertKind.DRIFT,
        key=alert.key,
        level=level,
        title=alert.title,
        summary=alert.summary,
        advice=alert.advice,
        model_type=report.model_type,
        version=report.version,
        report=report,
        subjects=subjects,
        apart=half_an_interval(report),
    )


def half_an_interval(report: DriftReport) -> timedelta:
    """Checks closer to each other than this see much the same customers."""
    checks_per_year = report.arguments.get("checks_per_year")  # unknown of earlier releases
    return YEAR / checks_per_year / 2 if checks_per_year else timedelta(0)


def key_of(report: DriftReport, first: object) -> str:
    """Version and source, for a file says nothing of stored customers, and the first report."""
    return f"drift:{report.version_id}:{report.source}:{first}"
