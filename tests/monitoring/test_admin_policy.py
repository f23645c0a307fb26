"""The monitoring policy in the admin: one row, changed by who may, never written over."""

from __future__ import annotations

import html
import json
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from modelregistry.models import ActiveModel, ModelVersion
from monitoring import check_request
from monitoring.admin_policy import PolicyForm
from monitoring.models import MonitoringPolicy
from monitoring.policy_page import state_words
from monitoring.schedule import RUNNING, is_due
from tests.staff import entries_after, last_entry_id, staff, superuser

VIEW, CHANGE = "monitoring.view_monitoringpolicy", "monitoring.change_monitoringpolicy"
RUN = "monitoring.run_driftcheck"
MODEL = "monitoring_monitoringpolicy"
NAME = f"admin:{MODEL}"


@pytest.fixture
def serving(db: None) -> ModelVersion:
    """A version that serves; nothing here asks what it answers."""
    version = ModelVersion.objects.create(
        model_type="kmeans",
        number=1,
        stage="trained",
        n_customers=300,
        artifact="none",
        artifact_bytes=0,
        trained_by="tests",
    )
    ActiveModel.objects.filter(model_type="kmeans").update(active=version)
    return version


@pytest.mark.parametrize(
    "page",
    [
        "index",
        "monitoring_alert_changelist",
        "monitoring_driftreport_changelist",
        f"{MODEL}_change",
    ],
)
def test_looking_makes_no_row(serving: ModelVersion, page: str) -> None:
    args = [1] if page.endswith("_change") else []

    assert superuser().get(reverse(f"admin:{page}", args=args)).status_code == 200

    assert not MonitoringPolicy.objects.exists()


def test_the_first_change_does_not_meet_the_row_that_the_monitor_makes(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = staff(VIEW, CHANGE)
    form = form_of(client, interval_hours=6)
    clean = PolicyForm.clean

    def clean_beside_the_monitor(self: PolicyForm) -> Any:
        MonitoringPolicy.current()
        return clean(self)

    monkeypatch.setattr(PolicyForm, "clean", clean_beside_the_monitor)
    client.post(page_url(), form)

    assert MonitoringPolicy.objects.get().interval_hours == 6


def page_url() -> str:
    return reverse(f"{NAME}_change", args=[1])


def check_url() -> str:
    return reverse(f"{NAME}_check_now")


def form_of(client: Any, **changed: Any) -> dict[str, Any]:
    form = client.get(page_url()).context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    return {name: value for name, value in (values | changed).items() if value not in (None, False)}


def test_the_list_leads_to_the_one_policy(db: None) -> None:
    response = staff(VIEW).get(reverse(f"{NAME}_changelist"), follow=True)

    assert response.status_code == 200
    assert (
        "empty: MONITORING_INTERVAL, 24 h."
        in staff(VIEW, CHANGE, name="bea").get(page_url()).content.decode()
    )


def test_who_may_only_read_sees_the_words_of_the_form_and_what_is_in_force(db: None) -> None:
    MonitoringPolicy.objects.create(interval_hours=None, floor_tail=0.2)
    form = staff(VIEW, CHANGE).get(page_url()).context["adminform"].form
    reader = staff(VIEW, name="bea")

    page = html.unescape(reader.get(page_url()).content.decode())

    for name, field in form.fields.items():
        assert (field.label or name) in page and field.help_text in page
    assert "Floor distribution" not in page and "0.2<" in page
    assert "24 in force, from MONITORING_INTERVAL" in page
    assert "72 in force, three intervals" in page
    MonitoringPolicy.objects.update(interval_hours=6, expected_within_hours=0)
    page = reader.get(page_url()).content.decode()
    assert "in force" not in page


@pytest.mark.parametrize(("inputs", "reports", "is_refused"), [(91, 90, True), (90, 90, False)])
def test_the_customers_of_a_report_are_not_kept_longer_than_it(
    db: None, inputs: int, reports: int, is_refused: bool
) -> None:
    client = staff(VIEW, CHANGE)
    sent = form_of(client, keep_inputs_days=inputs, keep_all_days=reports)

    response = client.post(page_url(), sent)

    assert (response.status_code == 200) is is_refused
    if is_refused:
        (said,) = response.context["adminform"].form.errors["keep_inputs_days"]
        assert "Must not exceed the days every report is kept, 90" in said


def test_check_now_says_whom_it_compares(serving: ModelVersion) -> None:
    MonitoringPolicy.objects.create(interval_hours=6)

    page = staff(VIEW, RUN).get(check_url()).content.decode()

    assert "stored or changed in the last 6 hours" in page and "new since" not in page


def test_a_change_leaves_the_values_before_and_after_in_one_entry(db: None) -> None:
    client = staff(VIEW, CHANGE)
    sent = form_of(client, interval_hours=6, floor_missing=0.1)
    stored = MonitoringPolicy.current()
    before = last_entry_id()

    response = client.post(page_url(), sent)

    assert response.status_code == 302
    policy = MonitoringPolicy.current()
    assert (policy.interval_hours, policy.floor_missing) == (6, 0.1)
    (entry,) = entries_after(before)
    assert entry.action == "monitoring_policy.changed"
    assert json.loads(entry.details)["changes"] == {
        "interval_hours": [stored.interval_hours, 6],
        "floor_missing": [stored.floor_missing, 0.1],
    }


def test_saving_does_not_undo_what_the_monitor_wrote_meanwhile(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, at = staff(VIEW, CHANGE), timezone.now()
    sent = form_of(client, confirmations=3)
    save = MonitoringPolicy.save

    def save_after_the_monitor(self: MonitoringPolicy, **options: Any) -> None:
        MonitoringPolicy.objects.update(last_started_at=at, last_error=RUNNING)
        save(self, **options)

    monkeypatch.setattr(MonitoringPolicy, "save", save_after_the_monitor)
    client.post(page_url(), sent)

    policy = MonitoringPolicy.objects.get()
    assert (policy.confirmations, policy.last_started_at, policy.last_error) == (3, at, RUNNING)


@pytest.mark.parametrize(
    ("field", "value"),
    [("interval_hours", "0"), ("floor_tail", "1.5"), ("confirmations", ""), ("floor_far", "nan")],
)
def test_nonsense_is_refused_beside_its_field(db: None, field: str, value: str) -> None:
    client = staff(VIEW, CHANGE)

    response = client.post(page_url(), form_of(client) | {field: value})

    assert field in response.context["adminform"].form.errors
    assert MonitoringPolicy.current().floor_tail == 0.15


def test_an_interval_beyond_all_clocks_is_refused_beside_its_field(db: None) -> None:
    MonitoringPolicy.objects.update_or_create(pk=1, defaults={"last_started_at": timezone.now()})
    client = staff(VIEW, CHANGE)

    response = client.post(page_url(), form_of(client) | {"interval_hours": "9" * 20})

    assert response.status_code == 200
    assert MonitoringPolicy.objects.get().interval_hours is None


def test_who_may_only_look_can_neither_change_nor_check(serving: ModelVersion) -> None:
    client = staff(VIEW)
    MonitoringPolicy.current()
    MonitoringPolicy.objects.update(last_started_at=timezone.now())

    assert check_url() not in client.get(page_url()).content.decode()
    assert client.post(page_url(), {"interval_hours": 6}).status_code == 403
    assert client.post(check_url()).status_code == 403
    assert MonitoringPolicy.current().interval_hours is None
    assert MonitoringPolicy.current().last_started_at is not None


def test_who_may_check_may_not_change_the_policy(serving: ModelVersion) -> None:
    client = staff(VIEW, RUN)

    assert client.post(page_url(), {"interval_hours": 6}).status_code == 403
    assert staff(VIEW, CHANGE, name="bea").post(check_url()).status_code == 403


def test_the_policy_is_neither_added_nor_deleted(db: None) -> None:
    client = staff(VIEW, CHANGE)
    MonitoringPolicy.current()

    assert client.post(reverse(f"{NAME}_add")).status_code == 403
    assert client.post(reverse(f"{NAME}_delete", args=[1]), {"post": "yes"}).status_code == 403
    assert staff(name="bea").get(reverse(f"{NAME}_changelist")).status_code == 403


def test_check_now_makes_the_check_due_and_leaves_one_entry(serving: ModelVersion) -> None:
    at = timezone.now()
    MonitoringPolicy.current()
    MonitoringPolicy.objects.update(last_started_at=at)
    assert not is_due(MonitoringPolicy.current(), default_hours=24, at=at)
    client = staff(VIEW, RUN)
    assert check_url() in client.get(page_url()).content.decode()
    before = last_entry_id()

    response = client.post(check_url(), follow=True)

    assert "A check begins within seconds." in response.content.decode()
    assert is_due(MonitoringPolicy.current(), default_hours=24, at=at)
    assert [entry.action for entry in entries_after(before)] == ["monitoring.check_requested"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"is_paused": True}, "Checks are paused"),
        ({"last_error": RUNNING}, "A check is running already."),
    ],
)
def test_check_now_is_refused_in_words(
    serving: ModelVersion, fields: dict[str, Any], said: str
) -> None:
    at = timezone.now()
    MonitoringPolicy.current()
    MonitoringPolicy.objects.update(last_started_at=at, **fields)
    before = last_entry_id()

    response = staff(VIEW, RUN).post(check_url(), follow=True)

    assert said in response.content.decode()
    assert MonitoringPolicy.current().last_started_at == at
    assert entries_after(before) == []


def test_check_now_without_a_version_is_refused(db: None) -> None:
    with pytest.raises(check_request.CheckConflict, match="No version serves"):
        check_request.request_check(by=None)  # type: ignore[arg-type]  # refused before


@pytest.mark.parametrize(
    ("fields", "ago", "words"),
    [
        ({}, None, "The next check is due now."),
        ({}, 30, "the next one is due now."),
        ({}, 4, "in 20.0 h."),
        ({"interval_hours": 6}, 4, "in 2.0 h."),
        ({"last_error": "broken"}, 0.5, "in 0.5 h."),
        ({"is_paused": True}, 4, "Checks are paused."),
        ({"last_error": RUNNING}, 0, "A check is running since"),
    ],
)
def test_the_page_says_when_the_next_check_is(
    fields: dict[str, Any], ago: float | None, words: str
) -> None:
    at = timezone.now()
    started = None if ago is None else at - timedelta(hours=ago)

    assert words in state_words(MonitoringPolicy(last_started_at=started, **fields), at=at)


def test_the_last_failure_is_shown_escaped(db: None) -> None:
    MonitoringPolicy.current()
    MonitoringPolicy.objects.update(last_error="<script>alert(1)</script>")

    for url in (page_url(), reverse("admin:index")):
        page = staff(VIEW, "monitoring.view_alert", name=url).get(url).content.decode()
        assert "The last check failed" in page
        assert "<script>alert(1)" not in page
