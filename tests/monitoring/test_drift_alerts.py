"""From drift reports to alerts: one trouble, one alert; another trouble, another alert."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from monitoring.drift_alerts import observe_drift
from monitoring.models import Alert, DriftReport, MonitoringPolicy
from tests.factories import BY
from tests.monitoring.drift_days import (
    DAY,
    START,
    Days,
    Shop,
    both,
    dearer,
    finding,
    make_bare_version,
    make_report,
    quiet,
    result_of,
    with_level,
    without,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


class Told:
    """Reports as the test writes them, one a day, of one version."""

    def __init__(self) -> None:
        self.version = make_bare_version()
        self.policy = MonitoringPolicy()
        self.day: float = 0

    def see(
        self,
        *checks: Any,
        days: int = 1,
        each_days: float = 1,
        source: str = "stored",
        **result: Any,
    ) -> list[Alert]:
        """Check; returns the unresolved alerts, the first raised first."""
        for _ in range(days):
            self.day += each_days
            at = START + self.day * DAY
            report = make_report(self.version, result_of(*checks, **result), at=at, source=source)
            observe_drift(report, policy=self.policy, at=at, by=BY)
        return list(Alert.objects.unresolved().order_by("pk"))


@pytest.fixture
def told(db: None) -> Told:
    return Told()


WEAK = {"p_adjusted": 0.01, "effect": 0.05}
FULL = {"cluster": 3, "reference_share": 0.2, "current_share": 0.21}
EMPTY = FULL | {"current_share": 0.005}


def test_a_month_of_troubles_raises_one_alert_each(shop: Shop) -> None:
    days = Days(shop)
    days.checks(5)
    for trouble in (
        dearer(1.4),
        without("age", one_in=4),
        with_level("channel", "kiosk", one_in=15),
        shop.outside(2),
    ):
        days.checks(3, trouble)
        days.checks(4)

    prices, nulls, level, segment = days.fired
    assert {"average_basket", "total_spend"} <= set(prices.subjects)
    assert nulls.title == "Drift in kmeans 1: age: missing"
    assert "feed that fills age" in nulls.advice
    assert "channel: new levels" in level.title and "new values in channel" in level.advice
    assert "segment 2: vanished" in segment.title and "segment 2" in segment.advice
    assert days.open == []


def test_sixty_quiet_days_fire_nothing(shop: Shop) -> None:
    days = Days(shop, n_customers=400, seed=1)

    days.checks(60)

    assert days.fired == []


def test_other_troubles_while_an_alert_is_open_are_alerts_of_their_own(shop: Shop) -> None:
    days = Days(shop, seed=2)
    days.checks(2, dearer(1.4))
    nulls = both(dearer(1.4), without("average_basket", one_in=4))
    days.checks(2, nulls)
    gone = both(dearer(1.4), without("average_basket", one_in=4), shop.outside(2))
    days.checks(2, gone)

    prices, second, third = days.fired
    assert "average_basket" in prices.subjects
    assert second.subjects[0] == "average_basket: missing"
    assert third.subjects[0] == "segment 2: vanished"
    assert [alert.state for alert in days.open] == ["firing"] * 3


def test_a_warning_is_pending_and_ends_quietly(told: Told) -> None:
    (alert,) = told.see(finding("orders", **WEAK))

    assert alert.state == "pending"
    assert told.see(quiet("orders")) == []
    assert Alert.objects.get().fired_at is None


def test_a_pending_alert_that_is_confirmed_takes_in_all_that_shows_then(told: Told) -> None:
    told.see(finding("orders", **WEAK))

    (alert,) = told.see(finding("orders"), finding("age"), finding(None, "segments"))

    assert alert.state == "firing"
    assert alert.subjects == ["orders", "age", "segments"]
    assert alert.report == DriftReport.objects.latest("pk")


def test_weak_findings_join_the_open_alert_and_keep_it_open(told: Told) -> None:
    told.see(finding("orders"))
    told.see(finding("orders"), finding("age", **WEAK))

    (alert,) = told.see(quiet("orders"), finding("age", **WEAK), days=3, verdict="drift")
    assert alert.subjects == ["orders", "age"]
    assert told.see(quiet("orders"), quiet("age"), days=2) == []


def test_what_was_there_before_and_is_only_surer_now_is_no_other_trouble(told: Told) -> None:
    told.see(finding("orders"), quiet("age", effect=0.08, p_adjusted=0.2))

    (alert,) = told.see(finding("orders"), finding("age", effect=0.11, p_adjusted=1e-5))

    assert alert.subjects == ["orders", "age"]


def test_what_came_new_and_sure_is_another_trouble(told: Told) -> None:
    told.see(finding("orders"), quiet("age"))

    first, second = told.see(finding("orders"), finding("age"), finding("basket", **WEAK))

    assert (first.subjects, second.subjects) == (["orders"], ["age", "basket"])


def test_what_spreads_as_the_first_trouble_grows_is_no_other(told: Told) -> None:
    told.see(finding("orders", effect=0.15), quiet("age"))

    (alert,) = told.see(finding("orders", effect=0.45), finding("age", effect=0.2))

    assert alert.subjects == ["orders", "age"]


def test_a_trouble_that_joined_weakly_and_then_grows_leaves_for_its_own_alert(told: Told) -> None:
    told.see(finding("orders"))
    (alert,) = told.see(finding("orders"), finding("age", "missing", effect=0.02, p_adjusted=0.01))
    assert alert.subjects == ["orders", "age: missing"]

    first, second = told.see(finding("orders"), finding("age", "missing", effect=0.3))

    assert (first.subjects, second.subjects) == (["orders"], ["age: missing"])
    (left,) = told.see(quiet("orders"), finding("age", "missing", effect=0.3), days=2)
    assert left == second


@pytest.mark.parametrize("check", ["gone", "retyped"])
def test_a_column_that_ends_is_another_trouble_of_a_column_with_one(told: Told, check: str) -> None:
    told.see(finding("orders"))

    first, second = told.see(finding("orders", check, effect=0.9))

    assert (first.subjects, second.subjects) == (["orders"], ["orders: gone", "orders: missing"])
    assert "no customer has a usable value" in second.advice


def test_an_alert_about_a_column_that_is_gone_is_not_resolved_by_that(told: Told) -> None:
    told.see(finding("orders"))

    alerts = told.see(finding("orders", "gone"), days=5)

    assert [(alert.state, alert.n_good) for alert in alerts] == [("firing", 0), ("firing", 0)]


def test_an_unseen_level_is_another_trouble_of_a_column_with_one(told: Told) -> None:
    told.see(finding("channel", "levels"))

    first, second = told.see(
        finding("channel", "levels"), finding("channel", "unseen", effect=0.05)
    )

    assert second.subjects == ["channel: new levels"]


def test_a_segment_that_vanishes_is_another_trouble_than_moved_shares(told: Told) -> None:
    told.see(finding("orders"), finding(None, "segments"), segments=[FULL])

    first, second = told.see(finding("orders"), finding(None, "segments"), segments=[EMPTY])

    assert (first.subjects, second.subjects) == (["orders", "segments"], ["segment 3: vanished"])
    assert second.chart["labels"] == ["Group 3"]


def test_a_segment_that_was_empty_when_the_alert_fired_is_part_of_it(told: Told) -> None:
    told.see(finding("orders"), finding(None, "segments"), segments=[EMPTY])

    assert len(told.see(finding("orders"), finding(None, "segments"), segments=[EMPTY])) == 1


def test_a_small_segment_among_few_customers_has_not_vanished(told: Told) -> None:
    rare = {"cluster": 3, "reference_share": 0.03, "current_share": 0.0}

    (alert,) = told.see(finding(None, "segments", n_current=100), segments=[rare], n_current=100)

    assert alert.subjects == ["segments"]


def test_an_alert_resolves_when_its_own_subjects_are_quiet_whatever_else_is_wrong(
    told: Told,
) -> None:
    told.see(finding("orders"))
    told.see(finding("orders"), finding("age"))

    (alert,) = told.see(quiet("orders"), finding("age"), days=2)

    assert alert.subjects == ["age"]


def test_too_few_customers_resolve_nothing(told: Told) -> None:
    told.see(finding("orders"))

    (alert,) = told.see(verdict="insufficient_data", days=5)

    assert (alert.state, alert.n_good) == ("firing", 0)


def test_a_file_neither_resolves_nor_joins_what_stored_customers_raised(told: Told) -> None:
    told.see(finding("orders"))
    told.see(quiet("orders"), days=3, source="file")

    assert len(told.see(finding("orders"), source="file")) == 2
    assert len(told.see(finding("orders"))) == 2


def test_another_version_has_alerts_of_its_own(told: Told) -> None:
    told.see(finding("orders"))
    told.version = make_bare_version(number=2)

    first, second = told.see(finding("orders"))

    assert (str(first.version), str(second.version)) == ("kmeans 1", "kmeans 2")


def test_the_same_trouble_soon_after_its_end_reopens_the_alert(told: Told) -> None:
    (first,) = told.see(finding("orders"), finding(None, "segments"))
    assert told.see(quiet("orders"), days=2) == []

    (again,) = told.see(finding("orders"), finding("age", **WEAK))

    assert (again.pk, again.state) == (first.pk, "firing")
    assert set(again.subjects) == {"orders", "segments", "age"}


def test_another_trouble_that_moves_the_same_segments_does_not_reopen_it(told: Told) -> None:
    told.see(finding("orders"), finding(None, "segments"))
    told.see(quiet("orders"), days=2)

    (new,) = told.see(finding("age", "missing"), finding(None, "segments"))

    assert new.subjects == ["age: missing", "segments"]
    assert Alert.objects.count() == 2


def test_the_same_trouble_long_after_its_end_is_a_new_alert(told: Told) -> None:
    (first,) = told.see(finding("orders"))
    told.see(quiet("orders"), days=5)

    (second,) = told.see(finding("orders"))

    assert second.pk != first.pk


def test_an_alert_whose_report_was_thinned_out_still_covers_its_subjects(told: Told) -> None:
    told.see(finding("orders"), finding("age"))
    Alert.objects.update(report=None)

    (alert,) = told.see(finding("orders"), finding("age"))

    assert alert.n_bad == 2


def test_an_alert_says_what_why_and_what_to_do(shop: Shop) -> None:
    days = Days(shop, seed=4)
    report = days.check(both(dearer(1.4), without("age", one_in=4)))

    (alert,) = days.open
    facts = dict(alert.facts)
    assert alert.title.startswith("Drift in kmeans 1: age: missing, average_basket")
    assert "age: missing for" in alert.summary
    assert "feed that fills age" in alert.advice
    assert facts["Version"] == "kmeans 1"
    assert facts["Compared"] == "800, with 2,000 of the training"
    assert facts["Report"].startswith(f"{report.pk} of 2026-03-02")
    assert "adjusted p" in facts["age: missing"]
    assert alert.chart["title"] == "age" and alert.chart["labels"][-1] == "missing"
    assert sum(alert.chart["before"]) == pytest.approx(1, abs=1e-3)
    assert sum(alert.chart["now"]) == pytest.approx(1, abs=1e-3)
    assert alert.chart["now"][-1] == pytest.approx(0.29, abs=0.05)


def test_names_as_long_as_they_may_be_fit(told: Told) -> None:
    (alert,) = told.see(*(finding("x" * 190 + str(place)) for place in range(30)))

    assert len(alert.title) <= 200 and len(alert.key) <= 300
    assert alert.title.endswith("and 28 more")


def test_a_check_takes_few_queries_however_many_findings(
    told: Told, django_assert_max_num_queries: Any
) -> None:
    told.see(*(finding(f"column {place}") for place in range(100)))
    report = make_report(
        told.version,
        result_of(*(finding(f"column {place}") for place in range(100))),
        at=START + 2 * DAY,
    )

    with django_assert_max_num_queries(6):
        observe_drift(report, policy=told.policy, at=START + timedelta(days=2), by=BY)


def test_a_check_of_too_few_to_show_it_does_not_resolve_an_alert(told: Told) -> None:
    told.see(finding("orders", p_adjusted=1e-5))

    (alert,) = told.see(quiet("orders", n_current=60), days=3, n_current=60)
    assert (alert.state, alert.n_good) == ("firing", 0)

    assert told.see(quiet("orders", n_current=600), days=2, n_current=600) == []


def test_a_few_customers_resolve_what_they_would_show_all_the_same(told: Told) -> None:
    told.see(finding("orders", p_adjusted=1e-200))

    assert told.see(quiet("orders", n_current=100), days=2, n_current=100) == []


def test_checks_soon_after_one_another_neither_confirm_nor_resolve(told: Told) -> None:
    told.policy.confirmations = 2

    (alert,) = told.see(finding("orders"), days=3, each_days=0.01)
    assert (alert.state, alert.n_bad) == ("pending", 1)
    (alert,) = told.see(finding("orders"))
    assert alert.state == "firing"

    (alert,) = told.see(quiet("orders"), days=4, each_days=0.1)
    assert (alert.state, alert.n_good) == ("firing", 0)
    (alert,) = told.see(quiet("orders"), days=2, each_days=0.2)
    assert alert.n_good == 1
    assert told.see(quiet("orders")) == []
