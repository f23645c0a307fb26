"""One comparison as it is stored: two levels, what came before, names and states of columns."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from monitoring.drift_check import check_drift, previous_subjects
from monitoring.models import DriftReport
from tests.factories import BY, TrainedModels, make_records

DAY = timedelta(hours=24)
# So many checks a year that one finding alone is hardly ever sure enough.
WITHOUT_PAUSE = timedelta(microseconds=1)
NOW = timezone.now()


def check(
    records: list[dict[str, Any]],
    *,
    at: datetime = NOW,
    interval: timedelta = WITHOUT_PAUSE,
    source: str = "stored",
) -> DriftReport:
    return check_drift(
        "kmeans",
        records,
        source=source,
        threshold=0.05,
        interval=interval,
        directory=settings.MODEL_DIR,
        by=BY,
        at=at,
    )


def others(n: int = 300) -> list[dict[str, Any]]:
    return make_records(n_customers=n, random_state=99)


@pytest.fixture
def more_orders() -> list[dict[str, Any]]:
    """A change that is plain in one check, and not beyond all doubt."""
    return [record | {"orders": record["orders"] + 3} for record in others()]


def test_a_finding_is_a_warning_and_drift_when_it_comes_again(
    trained: TrainedModels, more_orders: list[dict[str, Any]]
) -> None:
    first = check(more_orders)
    second = check(more_orders, at=NOW + DAY)

    assert first.verdict == "warning"
    assert "orders" in first.report["subjects"]
    assert second.verdict == "drift"


def test_a_warning_of_another_kind_of_check_confirms_nothing(
    trained: TrainedModels, more_orders: list[dict[str, Any]]
) -> None:
    check(more_orders, source="request")

    assert check(more_orders, at=NOW + DAY).verdict == "warning"


def test_a_quiet_check_between_two_warnings_starts_anew(
    trained: TrainedModels, more_orders: list[dict[str, Any]]
) -> None:
    check(more_orders)
    check(others(), at=NOW + DAY)

    assert check(more_orders, at=NOW + 2 * DAY).verdict == "warning"


def test_a_check_soon_after_another_confirms_nothing(
    trained: TrainedModels, more_orders: list[dict[str, Any]]
) -> None:
    check(more_orders, at=NOW)
    check(others(5), at=NOW + timedelta(hours=1))  # too few to say anything

    def known(hours: int) -> list[str]:
        at = NOW + timedelta(hours=hours)
        return previous_subjects(trained.kmeans, source="stored", before=at - DAY / 2)

    assert known(11) == []
    assert "orders" in known(14)


def test_checks_of_a_year_share_the_level_of_an_alarm(trained: TrainedModels) -> None:
    report = check(others(), interval=DAY)

    assert report.report["threshold"] == 0.05
    assert report.report["alarm_threshold"] == pytest.approx(0.05 / 365)
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
