"""A level, or a segment, of erased customers alone is not named anywhere any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from audit.models import AuditEntry
from modelregistry.models import ModelVersion
from monitoring import digest, drift_inputs
from monitoring.current_customers import of_records
from monitoring.drift_check import CheckTerms, check_drift
from monitoring.models import Alert, Channel, DriftReport, Notification
from segments.customers import upsert_customers
from segments.models import Segment, VersionSegment
from segments.naming import rename_segment
from tests.erasing import erased
from tests.factories import BY, make_customers, make_records, make_version
from tests.monitoring.alert_rows import NOW, make_alert
from tests.segments.test_erasure_steps import everything_stored

LEVEL = "GENRQZX & Co"
OWNERS = ("loner", "second")


@pytest.fixture
def own_models(settings: Any, tmp_path: Path) -> None:
    settings.MODEL_DIR = tmp_path


def store_owners(*, second: str) -> None:
    """Two customers far from all others, a segment of their own; `second` is the other's region."""
    records = make_customers()
    far = {
        key: 10_000 * value if isinstance(value, int | float) else value
        for key, value in records[0].items()
        if key != "customer_id"
    }
    regions = {"loner": LEVEL, "second": second}
    rows = {key: far | {"region": region} for key, region in regions.items()}
    upsert_customers(rows, at=timezone.now())


def trained_on_all() -> ModelVersion:
    return make_version(features=["total_spend", "orders", "region"], active=True)


def checked() -> DriftReport:
    """A report of sent customers, many of whom have the level."""
    records = [
        {**record, "region": LEVEL if place < 90 else record["region"]}
        for place, record in enumerate(make_records())
    ]
    terms = CheckTerms.of(settings)
    return check_drift("kmeans", of_records(records), terms=terms, by=BY, at=timezone.now())


def make_message(alert: Alert, *, channel: Channel) -> None:
    is_mail = channel == Channel.MAIL
    message = Notification.objects.create(
        channel=channel,
        message_id=channel,
        recipient="team",
        subject=digest.subject([alert]),
        text=digest.text([alert], at=NOW, base_url="")
        if is_mail
        else digest.payload([alert], message_id="m", at=NOW, base_url=""),
        html=digest.html([alert], at=NOW, base_url="") if is_mail else "",
        created_at=NOW,
        next_attempt_at=NOW,
    )
    message.alerts.add(alert)


def segment_of_owners() -> Segment:
    return VersionSegment.objects.get(n_customers=2).segment


def test_a_level_and_a_segment_are_named_nowhere_once_their_last_customer_went(
    transactional_db: None, own_models: None, api: Client
) -> None:
    store_owners(second=LEVEL)
    version = trained_on_all()
    report = checked()
    segment = segment_of_owners()
    name = segment.name
    alert = make_alert(
        version=version,
        report=report,
        title=f"Drift in {name}",
        summary=f"region: {LEVEL!r} from 1 % to 9 % of customers. {name}: gone.",
        chart={
            "title": "region",
            "unit": "share",
            "labels": [LEVEL, "north"],
            "before": [0.1, 0.9],
            "now": [0.9, 0.1],
        },
    )
    make_message(alert, channel=Channel.MAIL)
    make_message(alert, channel=Channel.WEBHOOK)
    [table] = [each for each in report.report["tables"] if each["feature"] == "region"]
    assert LEVEL in table["labels"]

    one = erased("loner")["erased"]
    with_one_left = everything_stored()
    both = erased("second")["erased"]

    assert (one["reports_and_alerts"], one["segment_names"]) == (0, 0)
    assert with_one_left.count(b"GENRQZX") > 8
    assert (both["reports_and_alerts"], both["segment_names"]) == (5, 1)
    left = everything_stored()
    assert b"GENRQZX" not in left
    assert name.encode() not in left
    report.refresh_from_db()
    text = json.dumps(report.report)
    assert "(erased 1)" in text and f"Segment {segment.pk}" in text
    profile = VersionSegment.objects.get(segment=segment)
    assert (profile.medians, profile.features, profile.rule) == ({}, [], None)
    [mail, webhook] = Notification.objects.order_by("channel")
    for each in (mail.text, mail.html, webhook.text, mail.subject):
        assert f"Segment {segment.pk}" in each
    assert json.loads(webhook.text)["alerts"][0]["id"] == alert.pk
    assert api.get("/segments/kmeans/profiles").status_code == 200


def test_what_others_have_keeps_its_name_and_so_does_what_staff_named(
    transactional_db: None, own_models: None
) -> None:
    store_owners(second="North")
    trained_on_all()
    report = checked()
    segment = segment_of_owners()
    rename_segment(segment, name="Whales", description="Ask Ann", by=BY)
    report.refresh_from_db()
    before = report.report

    erased(*OWNERS)

    segment.refresh_from_db()
    assert (segment.name, segment.description) == ("Whales", "Ask Ann")
    report.refresh_from_db()
    assert str(before).replace(LEVEL, "(erased 1)") == str(report.report)
    assert AuditEntry.objects.filter(action="segment.renamed").count() == 1


def test_a_report_is_made_again_with_the_new_name_of_a_level(
    transactional_db: None, own_models: None
) -> None:
    """Of a customer who was not compared: the reference alone has changed."""
    store_owners(second="North")
    trained_on_all()
    report = checked()
    assert f"{LEVEL!r} from" in json.dumps(report.report)

    erased("loner")

    report.refresh_from_db()
    assert "GENRQZX" not in json.dumps(report.report)
    assert drift_inputs.verify(report, directory=settings.MODEL_DIR).is_same
    DriftReport.objects.update(report=report.report | {"n_scored": 1})  # as if a cut had moved
    report.refresh_from_db()
    again = drift_inputs.verify(report, directory=settings.MODEL_DIR)
    assert (again.is_same, again.n_erased) == (False, 0)
    assert "customers of the version's training were erased" in again.sentence
