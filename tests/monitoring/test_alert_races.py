"""Two processes that check at once raise one alert. SQLite has one writer at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections, transaction

from audit.models import AuditEntry
from monitoring import alerts
from monitoring.alerts import Condition, Level, observe
from monitoring.drift_alerts import observe_drift
from monitoring.models import Alert, AlertKind, MonitoringPolicy
from tests.factories import BY
from tests.monitoring.drift_days import finding, make_bare_version, make_report, result_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.services("DATABASE_URL")]

START = datetime(2026, 3, 1, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
MISSING = Condition(
    kind=AlertKind.MISSING_DATA,
    key="missing_data",
    level=Level.ALARM,
    title="No customers",
    summary="No customer came since yesterday.",
    advice="Look at the import.",
)


def at_once(*acts: Callable[[], Any]) -> None:
    """Run each in a transaction and thread of its own; raises what one of them raised."""
    ready = threading.Barrier(len(acts))
    failures: list[BaseException] = []

    def run(act: Callable[[], Any]) -> None:
        try:
            ready.wait(5)
            with transaction.atomic():
                act()
        except BaseException as error:  # raised again below
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure


def entries() -> list[str]:
    kept = AuditEntry.objects.filter(target_type=alerts.TARGET).order_by("pk")
    return list(kept.values_list("action", flat=True))


def test_two_checks_at_once_raise_one_alert() -> None:
    def check(hours: int) -> Callable[[], Any]:
        at = START + hours * HOUR
        return lambda: observe([MISSING], policy=MonitoringPolicy(), at=at, by=BY)

    at_once(check(0), check(1), check(2))

    assert Alert.objects.get().n_bad == 3
    assert entries() == ["alert.raised", "alert.fired"]


def test_the_alert_that_another_process_raised_meanwhile_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked, raised = threading.Event(), threading.Event()
    held = alerts._held

    def held_then_late(*args: Any, **options: Any) -> dict[str, Alert]:
        found = held(*args, **options)
        if threading.current_thread() is late:
            looked.set()
            raised.wait(5)
        return found

    def check(at: datetime) -> None:
        try:
            with transaction.atomic():
                observe([MISSING], policy=MonitoringPolicy(), at=at, by=BY)
        finally:
            connections.close_all()

    late = threading.Thread(target=check, args=(START + HOUR,))
    monkeypatch.setattr(alerts, "_held", held_then_late)
    late.start()
    looked.wait(5)

    check(START)
    raised.set()
    late.join()

    alert = Alert.objects.get()
    assert (alert.n_bad, alert.raised_at, alert.last_seen_at) == (2, START, START + HOUR)
    assert entries() == ["alert.raised", "alert.fired"]


def test_two_drift_checks_at_once_raise_one_alert() -> None:
    version = make_bare_version()
    reports = [
        make_report(version, result_of(finding("orders"), *others), at=START)
        for others in ([], [finding("age")])
    ]

    def check(place: int) -> Callable[[], Any]:
        report = reports[place]
        return lambda: observe_drift(report, policy=MonitoringPolicy(), at=START, by=BY)

    at_once(check(0), check(1))

    told = [set(alert.subjects) for alert in Alert.objects.all()]
    assert sum("orders" in subjects for subjects in told) == 1
