"""One comparison as it is stored: two levels, what came before, names and states of columns."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.models import AuditEntry
from monitoring.current_customers import of_records
from monitoring.drift_check import CheckTerms, check_all, check_drift, previous_subjects
from monitoring.models import (
    Alert,
    DriftInput,
    DriftReport,
    MonitoringPolicy,
    Notification,
    QualityPoint,
    Source,
)
from tests.factories import BY, TrainedModels, make_records

DAY = timedelta(hours=24)
WEEK = 7 * DAY
NOW = timezone.now()


def check(
    records: list[dict[str, Any]],
    *,
    at: datetime = NOW,
    interval: timedelta = WEEK,
    source: Source = Source.STORED,
    **options: Any,
) -> DriftReport:
    customers = replace(of_records(records), source=source)
    with patch.object(MonitoringPolicy, "interval", lambda self, *, default_hours: interval):
        return check_drift(
            "kmeans", customers, terms=CheckTerms.of(settings), by=BY, at=at, **options
        )


def others(n: int = 300) -> list[dict[str, Any]]:
    return make_records(n_customers=n, random_state=99)


@pytest.fixture
def more_orders() -> list[dict[str, Any]]:
    """A change that is plain in one check, and not beyond all doubt."""
    return [record | {"orders": record["orders"] + 2} for record in others()]


def test_a_finding_is_a_warning_and_drift_when_it_comes_again(
    trained: TrainedModels, more_orders: list[dict[str, Any]]
) -> None:
    first = check(more_orders)
    second = check(more_orders, at=NOW + WEEK)

    assert first.verdict == "warning"
    assert "orders" in first.report["subjects"]
    assert second.verdict == "drift"


def test_a_warning_of_another_kind_of_check_confirms_nothing(
    trained: TrainedModels, more_orders: list[dict[str, Any]]
) -> None:
    check(more_orders, source=Source.REQUEST)

    assert check(more_orders, at=NOW + WEEK).verdict == "warning"


def test_a_quiet_check_between_two_warnings_starts_anew(
    trained: TrainedModels, more_orders: list[dict[str, Any]]
) -> None:
    check(more_orders)
    check(others(), at=NOW + WEEK)

    assert check(more_orders, at=NOW + 2 * WEEK).verdict == "warning"


def test_a_check_soon_after_another_confirms_nothing(
    trained: TrainedModels, more_orders: list[dict[str, Any]]
) -> None:
    check(more_orders, at=NOW)
    check(others(5), at=NOW + timedelta(hours=1))  # too few to say anything

    def known(hours: int) -> list[str]:
        at = NOW + timedelta(hours=hours)
        return previous_subjects(trained.kmeans, "stored", before=at - DAY / 2)

    assert known(11) == []
    assert "orders" in known(14)


def test_checks_of_a_year_share_the_level_of_an_alarm(trained: TrainedModels) -> None:
    report = check(others(), interval=DAY)

    assert report.report["threshold"] == 0.05
    assert report.report["alarm_threshold"] == pytest.approx(0.05 / (3 * 365 - 2))
    assert check(others(), interval=800 * DAY).report["alarm_threshold"] == 0.05


def test_a_column_sent_as_text_is_a_state_of_its_own(trained: TrainedModels) -> None:
    as_text = [record | {"orders": str(record["orders"])} for record in others()]
    gone = [{**record, "orders": None} for record in others()]

    assert check(as_text).report["findings"][0]["check"] == "retyped"
    assert check(gone).report["findings"][0]["check"] == "gone"
    assert check(gone).verdict == "drift"


def test_sentences_and_changes_inside_call_segments_by_name(trained: TrainedModels) -> None:
    names = set(trained.kmeans.segments.values_list("segment__name", flat=True))
    one_kind = [record | {"channel": "web", "orders": 40} for record in others()]

    report = check(one_kind).report

    shares = next(each for each in report["checks"] if each["check"] == "segments")
    assert any(name in shares["sentence"] for name in names)
    assert report["inside"] and {each["segment_name"] for each in report["inside"]} <= names
    assert not any("cluster" in each for each in report["inside"])


def test_customers_who_signed_up_since_training_are_no_drift_of_dates(
    trained: TrainedModels,
) -> None:
    later = NOW + 60 * DAY
    joined = [
        record | {"signed_up_on": str((later - (number % 50) * DAY).date())}
        if number % 3 == 0
        else record
        for number, record in enumerate(others())
    ]

    checks = check(joined, at=later).report["checks"]

    dates = [each for each in checks if each["feature"] == "signed_up_on"]
    assert dates and not any(each["drifted"] for each in dates)


def test_one_check_writes_all_that_follows_of_it_or_nothing(
    trained: TrainedModels, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EMAIL_HOST, settings.ALERT_EMAIL = "mail.example.com", "team@example.com"
    tripled = [record | {"orders": record["orders"] * 3 + 5} for record in others()]
    tables = (DriftReport, DriftInput, QualityPoint, Alert, Notification)

    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no outbox")

    n_entries = AuditEntry.objects.count()
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="no outbox"):
        patched.setattr("monitoring.outbox.queue_digest", broken)
        check(tripled, interval=DAY, with_quality=True)
    assert [table.objects.count() for table in tables] == [0] * 5
    assert AuditEntry.objects.count() == n_entries

    report = check(tripled, interval=DAY, with_quality=True)

    assert report.verdict == "drift"
    assert [table.objects.filter().exists() for table in tables] == [True] * 5
    assert QualityPoint.objects.get().report == report
    assert Alert.objects.get(kind="drift").report == report
    assert Notification.objects.get().alerts.count() >= 1
    (entry,) = AuditEntry.objects.filter(action="drift.checked")
    assert json.loads(entry.details) == {
        "n_seen": 300, "source": "stored", "verdict": "drift", "version": "kmeans 1"
    }  # fmt: skip


def test_without_mail_the_next_check_tells_of_the_alert(
    trained: TrainedModels, settings: Any
) -> None:
    settings.EMAIL_HOST, settings.ALERT_EMAIL = "mail.example.com", "team@example.com"
    tripled = [record | {"orders": record["orders"] * 3 + 5} for record in others()]

    check(tripled, interval=DAY, with_mail=False)
    assert not Notification.objects.exists()
    check(tripled, interval=DAY, at=NOW + DAY)

    assert Notification.objects.get().alerts.filter(kind="drift").exists()


def test_no_model_work_happens_inside_the_transaction(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    depths = []
    outside = len(connection.savepoint_ids)
    compare = check_drift.__globals__["drift_inputs"].compare

    def watched(*args: Any, **kwargs: Any) -> Any:
        depths.append(len(connection.savepoint_ids) - outside)
        return compare(*args, **kwargs)

    monkeypatch.setattr("monitoring.drift_inputs.compare", watched)
    check(others())

    assert depths == [0]


def test_the_floors_and_the_interval_of_the_policy_are_used(trained: TrainedModels) -> None:
    MonitoringPolicy.objects.create(floor_distribution=0.5, floor_levels=0.9, interval_hours=12)

    report = check_drift(
        "kmeans", of_records(others()), terms=CheckTerms.of(settings), by=BY, at=NOW
    )

    floors = {each["check"]: each["floor"] for each in report.report["checks"]}
    assert (floors["distribution"], floors["levels"]) == (0.5, 0.9)
    assert report.report["alarm_threshold"] == pytest.approx(0.05 / (3 * 730 - 2))


def test_a_file_says_nothing_of_the_quality_for_stored_customers(trained: TrainedModels) -> None:
    bad = [record | {"orders": 5, "channel": "web"} for record in others()]

    check(bad, source=Source.FILE, with_quality=True)

    keys = set(Alert.objects.filter(kind="quality").values_list("key", flat=True))
    assert keys <= {"quality:kmeans:file"}


def test_several_types_are_one_run_with_one_digest(trained: TrainedModels, settings: Any) -> None:
    settings.EMAIL_HOST, settings.ALERT_EMAIL = "mail.example.com", "team@example.com"
    tripled = [record | {"orders": record["orders"] * 3 + 5} for record in others()]

    run = check_all(
        ["dbscan", "kmeans"],
        of_records(tripled),
        terms=CheckTerms.of(settings),
        by=BY,
        at=NOW,
    )

    assert [report.model_type for report in run.reports] == ["dbscan", "kmeans"]
    assert len(run.notifications) == Notification.objects.count() == 1
    assert {alert.model_type for alert in run.notifications[0].alerts.all()} == {"dbscan", "kmeans"}


def test_a_check_takes_the_same_queries_however_many_customers(trained: TrainedModels) -> None:
    check(others(100))  # loads the model and makes the policy

    def n_queries(n: int) -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            check(others(n), at=NOW + n * DAY)
        return len(queries)

    assert n_queries(60) == n_queries(300)
