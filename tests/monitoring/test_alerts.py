"""The life of an alert: confirmed, told once, taken note of, and over only by good evidence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from audit.models import AuditEntry
from audit.trail import Actor
from modelregistry.models import ActiveModel
from monitoring import alert_acts
from monitoring.alert_acts import AlertConflict, AlertGone
from monitoring.alerts import Condition, Level, observe, resolve_superseded
from monitoring.models import Alert, AlertEvent, AlertKind, AlertState, MonitoringPolicy
from tests.factories import BY
from tests.monitoring.drift_days import make_bare_version

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 1, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
STAFF = Actor.system("a person")


def condition(level: Level = Level.ALARM, **fields: Any) -> Condition:
    known: dict[str, Any] = {
        "kind": AlertKind.MISSING_DATA,
        "key": "missing_data:kmeans",
        "title": "No customers",
        "summary": "No customer came since yesterday.",
        "advice": "Look at the import.",
    }
    return Condition(level=level, **known | fields)


def see(
    *levels: Level, at: datetime = START, policy: MonitoringPolicy | None = None, **fields: Any
):
    """One check a day, each with one level; returns the alert as it is stored then."""
    for day, level in enumerate(levels):
        observe(
            [condition(level, **fields)],
            policy=policy or MonitoringPolicy(),
            at=at + day * DAY,
            by=BY,
        )
    return Alert.objects.order_by("pk").last()


def steps(alert: Alert) -> list[str]:
    return list(alert.events.order_by("pk").values_list("kind", flat=True))


def audited(alert: Alert) -> list[str]:
    entries = AuditEntry.objects.filter(target_type="alert", target_id=str(alert.pk))
    return list(entries.order_by("pk").values_list("action", flat=True))


OK, WARNING, ALARM, UNKNOWN = Level.OK, Level.WARNING, Level.ALARM, Level.UNKNOWN


def test_an_alarm_fires_at_once_where_one_check_is_enough() -> None:
    alert = see(ALARM)

    assert (alert.state, alert.n_bad, alert.fired_at) == (AlertState.FIRING, 1, START)
    assert alert.notified_at is None
    assert steps(alert) == ["raised", "fired"]
    assert audited(alert) == ["alert.raised", "alert.fired"]


@pytest.mark.parametrize("level", [OK, UNKNOWN])
def test_a_check_that_is_not_bad_raises_nothing(level: Level) -> None:
    assert see(level) is None
    assert not AuditEntry.objects.filter(target_type="alert").exists()


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        ([ALARM, ALARM], "pending"),
        ([ALARM, ALARM, ALARM], "firing"),
        ([ALARM, WARNING, ALARM], "pending"),
        ([ALARM, WARNING, UNKNOWN, ALARM, ALARM], "firing"),
        ([WARNING, WARNING, WARNING, WARNING], "pending"),
        ([ALARM, ALARM, OK], "resolved"),
        ([ALARM, ALARM, OK, ALARM], "pending"),
        ([WARNING, UNKNOWN], "pending"),
    ],
)
def test_only_alarms_in_a_row_confirm(seen: list[Level], state: str) -> None:
    assert see(*seen, policy=MonitoringPolicy(confirmations=3)).state == state
    assert Alert.objects.count() == 1


def test_a_condition_may_need_fewer_checks_than_the_policy() -> None:
    assert see(ALARM, policy=MonitoringPolicy(confirmations=3), needs=1).state == "firing"


def test_an_alert_that_is_not_confirmed_ends_without_ever_firing() -> None:
    alert = see(WARNING, OK)

    assert (alert.state, alert.fired_at) == ("resolved", None)
    assert steps(alert) == ["raised", "resolved"]


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        ([OK], "firing"),
        ([OK, OK], "firing"),
        ([OK, OK, OK], "resolved"),
        ([OK, OK, WARNING, OK, OK], "firing"),
        ([OK, OK, ALARM, OK, OK], "firing"),
        ([OK, UNKNOWN, OK, UNKNOWN, OK], "resolved"),
        ([UNKNOWN] * 10, "firing"),
    ],
)
def test_only_good_checks_in_a_row_resolve(seen: list[Level], state: str) -> None:
    alert = see(ALARM, *seen, policy=MonitoringPolicy(resolutions=3))

    assert alert.state == state
    assert (alert.resolved_at is not None) == (state == "resolved")


def test_an_unchanged_alarm_updates_the_alert_and_leaves_no_entry() -> None:
    see(ALARM)

    alert = see(ALARM, at=START + DAY, summary="Still nobody.", facts=(("since", "2 days"),))

    assert (alert.n_bad, alert.last_seen_at) == (2, START + DAY)
    assert (alert.summary, alert.facts) == ("Still nobody.", [["since", "2 days"]])
    assert alert.raised_at == START
    assert audited(alert) == ["alert.raised", "alert.fired"]


def test_a_check_that_could_not_judge_touches_nothing() -> None:
    see(ALARM)
    before = Alert.objects.values().get()

    see(UNKNOWN, at=START + DAY, title="Cannot tell")

    assert Alert.objects.values().get() == before


def test_what_comes_back_within_the_cool_down_reopens_without_another_digest() -> None:
    alert = see(ALARM, OK, OK)
    Alert.objects.update(notified_at=START, acknowledged_at=START, acknowledged_by="somebody")

    again = see(ALARM, at=START + 4 * DAY - HOUR)

    assert again.pk == alert.pk
    assert (again.state, again.notified_at, again.resolved_at) == ("firing", START, None)
    assert (again.acknowledged_at, again.acknowledged_by, again.resolution) == (None, "", "")
    assert steps(again) == ["raised", "fired", "resolved", "reopened"]
    assert audited(again)[-1] == "alert.reopened"


def test_what_comes_back_later_is_another_alert() -> None:
    first = see(ALARM, OK, OK)

    second = see(ALARM, at=START + 4 * DAY)

    assert second.pk != first.pk
    assert second.notified_at is None


def test_a_warning_after_the_end_is_only_pending_again() -> None:
    see(ALARM, OK, OK)

    assert see(WARNING, at=START + 3 * DAY).state == "pending"
    assert see(ALARM, at=START + 4 * DAY).state == "firing"
    assert Alert.objects.count() == 1


def test_what_was_never_told_is_told_when_it_comes_back() -> None:
    see(WARNING, OK)

    alert = see(ALARM, at=START + 2 * DAY)

    assert (alert.state, alert.fired_at) == ("firing", START + 2 * DAY)
    assert alert.notified_at is None
    assert steps(alert) == ["raised", "resolved", "reopened", "fired"]


def test_without_a_cool_down_everything_is_a_new_alert() -> None:
    policy = MonitoringPolicy(cool_down_hours=0, resolutions=1)

    see(ALARM, OK, ALARM, policy=policy)

    assert Alert.objects.count() == 2


def test_many_conditions_take_a_constant_number_of_queries_to_look_at(
    django_assert_max_num_queries: Callable[..., Any],
) -> None:
    several = [condition(key=f"missing_data:{place}") for place in range(40)]
    with transaction.atomic():
        observe(several, policy=MonitoringPolicy(), at=START, by=BY)

    with transaction.atomic(), django_assert_max_num_queries(2):
        changed = observe(several, policy=MonitoringPolicy(), at=START + DAY, by=BY)

    assert changed == []
    assert set(Alert.objects.values_list("n_bad", flat=True)) == {2}


def test_the_changed_alerts_are_returned_once_each() -> None:
    two = [condition(key="one"), condition(key="two", level=OK)]

    changed = observe(two, policy=MonitoringPolicy(), at=START, by=BY)

    assert [(alert.key, alert.state) for alert in changed] == [("one", "firing")]


def test_the_same_key_twice_in_one_check_is_refused() -> None:
    with pytest.raises(ValueError, match="same key"):
        observe([condition(), condition(OK)], policy=MonitoringPolicy(), at=START, by=BY)


def test_a_very_long_title_is_cut_to_fit() -> None:
    alert = see(ALARM, title="x" * 5_000)

    assert len(alert.title) == 200
    assert alert.title.endswith("…")


def test_the_database_holds_one_unresolved_alert_of_a_key() -> None:
    alert = see(ALARM)
    alert.pk = None

    with pytest.raises(IntegrityError), transaction.atomic():
        alert.save(force_insert=True)


def test_acknowledging_says_who_and_when_and_lasts_while_it_fires() -> None:
    alert = see(ALARM)

    alert_acts.acknowledge(alert.pk, by=STAFF, at=START + HOUR, note="I look at the import.")
    alert = see(ALARM, at=START + DAY)

    assert (alert.acknowledged_by, alert.acknowledged_at) == ("a person", START + HOUR)
    event = alert.events.get(kind="acknowledged")
    assert (event.by, event.note) == ("a person", "I look at the import.")
    assert audited(alert)[-1] == "alert.acknowledged"


def test_a_silence_ends_by_itself_or_by_hand() -> None:
    alert = see(ALARM)

    silenced = alert_acts.silence(alert.pk, until=START + DAY, by=STAFF, at=START)
    spoken = alert_acts.unsilence(alert.pk, by=STAFF, at=START + HOUR)

    assert (silenced.silenced_until, silenced.silenced_by) == (START + DAY, "a person")
    assert (spoken.silenced_until, spoken.silenced_by) == (None, "")
    assert steps(alert)[-2:] == ["silenced", "unsilenced"]
    assert audited(alert)[-2:] == ["alert.silenced", "alert.unsilenced"]


def test_who_resolves_by_hand_is_named_and_the_trouble_comes_back_without_a_mail() -> None:
    alert = see(ALARM)

    closed = alert_acts.resolve(alert.pk, by=STAFF, at=START + HOUR)
    again = see(ALARM, at=START + DAY)

    assert (closed.state, closed.resolution) == ("resolved", "By a person.")
    assert (again.pk, again.state) == (alert.pk, "firing")


ACTS: dict[str, Callable[..., Alert]] = {
    "acknowledged": alert_acts.acknowledge,
    "silenced": lambda pk, **who: alert_acts.silence(pk, until=START + 9 * DAY, **who),
    "taken out of silence": alert_acts.unsilence,
    "resolved": alert_acts.resolve,
}


@pytest.mark.parametrize("what", ACTS)
def test_nothing_is_done_to_a_resolved_alert(what: str) -> None:
    alert = see(ALARM, OK, OK)
    before = Alert.objects.values().get(), steps(alert), audited(alert)

    with pytest.raises(AlertConflict, match=f"resolved already and cannot be {what}"):
        ACTS[what](alert.pk, by=STAFF, at=START + 2 * DAY)

    assert (Alert.objects.values().get(), steps(alert), audited(alert)) == before


@pytest.mark.parametrize("what", ACTS)
def test_an_alert_that_never_was_is_not_found(what: str) -> None:
    with pytest.raises(AlertGone, match="4711 is no longer there"):
        ACTS[what](4_711, by=STAFF, at=START)


def test_acts_that_make_no_sense_are_refused_in_a_clear_sentence() -> None:
    pk = see(ALARM).pk
    alert_acts.acknowledge(pk, by=STAFF, at=START)

    with pytest.raises(AlertConflict, match="already acknowledged, by a person"):
        alert_acts.acknowledge(pk, by=BY, at=START + HOUR)
    with pytest.raises(AlertConflict, match="end in the future"):
        alert_acts.silence(pk, until=START, by=STAFF, at=START)
    with pytest.raises(AlertConflict, match="at most 366 days"):
        alert_acts.silence(pk, until=START + 400 * DAY, by=STAFF, at=START)
    with pytest.raises(AlertConflict, match="not silenced"):
        alert_acts.unsilence(pk, by=STAFF, at=START)
    with pytest.raises(AlertConflict, match="at most 500 characters"):
        alert_acts.resolve(pk, by=STAFF, at=START, note="x" * 501)
    assert Alert.objects.get().state == "firing"


def test_a_silence_that_ran_out_cannot_be_ended() -> None:
    pk = see(ALARM).pk
    alert_acts.silence(pk, until=START + HOUR, by=STAFF, at=START)

    with pytest.raises(AlertConflict, match="not silenced"):
        alert_acts.unsilence(pk, by=STAFF, at=START + HOUR)


def test_alerts_of_versions_that_serve_no_more_are_resolved() -> None:
    old, new = make_bare_version(), make_bare_version(number=2)
    other = make_bare_version(model_type="dbscan")
    ActiveModel.objects.filter(model_type="kmeans").update(active=new)
    kinds = [
        ("drift of the old", AlertKind.DRIFT, old),
        ("quality of the old", AlertKind.QUALITY, old),
        ("artifact of the old", AlertKind.DAMAGED_ARTIFACT, old),
        ("drift of the new", AlertKind.DRIFT, new),
        ("drift of what none replaced", AlertKind.DRIFT, other),
    ]
    for key, kind, version in kinds:
        see(ALARM, key=key, kind=kind, version=version, model_type=version.model_type)

    resolved = resolve_superseded(at=START + DAY, by=BY)

    assert {alert.key for alert in resolved} == {"drift of the old", "quality of the old"}
    assert {alert.resolution for alert in resolved} == {"kmeans 2 serves now."}
    assert Alert.objects.unresolved().count() == 3
    assert audited(resolved[0])[-1] == "alert.resolved"
    assert resolve_superseded(at=START + 2 * DAY, by=BY) == []


def test_what_is_rolled_back_leaves_neither_alert_nor_entry() -> None:
    with transaction.atomic():
        see(ALARM)
        transaction.set_rollback(True)

    assert not Alert.objects.exists() and not AlertEvent.objects.exists()
    assert not AuditEntry.objects.filter(target_type="alert").exists()
