"""What staff do from a drift report: its alerts, and training again on today's customers."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from modelregistry.models import TrainingJob
from monitoring import alert_acts
from monitoring.current_customers import of_records
from monitoring.drift_check import CheckTerms, check_drift
from monitoring.models import Alert, DriftReport
from monitoring.report_alerts import alerts_of
from tests.factories import BY, TrainedModels
from tests.staff import entries_after, last_entry_id, staff

VIEW = "monitoring.view_driftreport"
HANDLE = (VIEW, "monitoring.view_alert", "monitoring.change_alert")
TRAIN = (VIEW, "modelregistry.view_modelversion", "modelregistry.train_modelversion")


@pytest.fixture
def drifted(trained: TrainedModels) -> DriftReport:
    """A report that raised one alert."""
    return checked(trained, factor=5.0)


def checked(trained: TrainedModels, *, factor: float) -> DriftReport:
    feature = next(
        item["name"] for item in trained.kmeans.schema["features"] if item["kind"] == "number"
    )
    records = [
        {**record, feature: record[feature] and record[feature] * factor}
        for record in trained.records
    ]
    terms = CheckTerms.of(settings)
    return check_drift("kmeans", of_records(records), terms=terms, by=BY, at=timezone.now())


def url_of(name: str, report: DriftReport) -> str:
    return reverse(f"admin:monitoring_driftreport_{name}", args=[report.pk])


def test_a_report_belongs_to_the_alert_that_it_saw_again(
    trained: TrainedModels, drifted: DriftReport
) -> None:
    again = checked(trained, factor=5.0)
    well = checked(trained, factor=1.0)

    (alert,) = Alert.objects.all()
    assert alert.report == drifted
    assert alerts_of(drifted) == alerts_of(again) == [alert]
    assert alerts_of(well) == []


def test_an_alert_of_another_source_is_none_of_the_report(drifted: DriftReport) -> None:
    Alert.objects.update(report=None)
    assert len(alerts_of(drifted)) == 1

    drifted.source = "stored"

    assert alerts_of(drifted) == []


def test_alerts_are_acknowledged_from_the_report_with_one_entry(drifted: DriftReport) -> None:
    client = staff(*HANDLE)
    assert url_of("acknowledge", drifted) in client.get(url_of("change", drifted)).content.decode()
    before = last_entry_id()

    response = client.post(url_of("acknowledge", drifted), {"note": "prices rose"}, follow=True)

    assert "1 alert is acknowledged." in response.content.decode()
    assert url_of("acknowledge", drifted) not in response.content.decode()
    alert = Alert.objects.get()
    assert alert.acknowledged_by == "ann"
    (entry,) = entries_after(before)
    assert entry.action == "alert.acknowledged"
    assert json.loads(entry.details)["note"] == "prices rose"


def test_alerts_are_silenced_from_the_report(drifted: DriftReport) -> None:
    before = last_entry_id()

    staff(*HANDLE).post(url_of("silence", drifted), {"length": "hour"})

    left = Alert.objects.get().silenced_until - timezone.now()
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert [entry.action for entry in entries_after(before)] == ["alert.silenced"]


def test_a_report_without_an_open_alert_says_so(drifted: DriftReport) -> None:
    alert_acts.resolve(Alert.objects.get().pk, by=BY, at=timezone.now())
    client = staff(*HANDLE)
    before = last_entry_id()

    assert url_of("silence", drifted) not in client.get(url_of("change", drifted)).content.decode()
    response = client.post(url_of("silence", drifted), {"length": "day"}, follow=True)

    assert "No open alert of this report is left to be silenced." in response.content.decode()
    assert entries_after(before) == []


@pytest.mark.parametrize("choice", ["chosen", "same"])
def test_retraining_takes_over_type_and_features(
    trained: TrainedModels, drifted: DriftReport, choice: str
) -> None:
    client = staff(*TRAIN)
    before = last_entry_id()

    client.post(url_of("retrain", drifted), {"parameters": choice, "note": "prices rose"})

    job = TrainingJob.objects.latest("pk")
    version = trained.kmeans
    assert (job.model_type, job.state, job.note) == ("kmeans", "queued", "prices rose")
    assert job.features == [feature["name"] for feature in version.schema["features"]]
    assert job.parameters == ({} if choice == "chosen" else version.parameters)
    assert [entry.action for entry in entries_after(before)] == ["training.queued"]


def test_asking_alone_queues_nothing(drifted: DriftReport) -> None:
    before, n_jobs = last_entry_id(), TrainingJob.objects.all().count()

    page = staff(*TRAIN).get(url_of("retrain", drifted)).content.decode()

    assert "n_clusters" in page
    assert TrainingJob.objects.all().count() == n_jobs
    assert entries_after(before) == []


@pytest.mark.parametrize("name", ["acknowledge", "silence", "retrain"])
def test_who_may_only_look_is_refused_and_sees_no_button(drifted: DriftReport, name: str) -> None:
    client = staff(VIEW, "monitoring.view_alert", "modelregistry.view_modelversion")
    n_jobs, before = TrainingJob.objects.all().count(), last_entry_id()

    sent = {"length": "day", "parameters": "chosen"}
    assert client.post(url_of(name, drifted), sent).status_code == 403

    assert url_of(name, drifted) not in client.get(url_of("change", drifted)).content.decode()
    assert TrainingJob.objects.all().count() == n_jobs
    alert = Alert.objects.get()
    assert alert.acknowledged_at is None and alert.silenced_until is None
    assert not [e for e in entries_after(before) if e.action.startswith(("alert.", "training."))]
