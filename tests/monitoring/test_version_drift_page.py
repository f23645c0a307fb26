"""Drift since the training on a version's page: the last verdict, the series, and who sees it."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from monitoring.models import DriftReport, Verdict
from monitoring.version_drift_page import N_SHOWN, version_drift
from tests.factories import TrainedModels
from tests.monitoring.test_admin import make_report
from tests.staff import staff

VIEW, REPORTS = "modelregistry.view_modelversion", "monitoring.view_driftreport"


def page_of(trained: TrainedModels, *permissions: str, name: str = "ann") -> str:
    url = reverse("admin:modelregistry_modelversion_change", args=[trained.kmeans.pk])
    page = staff(VIEW, *permissions, name=name).get(url).content.decode()
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_a_version_that_was_never_checked_says_how_to(trained: TrainedModels) -> None:
    page = page_of(trained, REPORTS, "monitoring.change_monitoringpolicy")

    assert "It was never checked." in page and "check now" in page
    assert "Drift since the training" not in page_of(trained, name="without")


def test_the_last_check_and_those_before_in_one_query(trained: TrainedModels) -> None:
    report = make_report(trained, factor=1.0)
    version = report.version
    for hours in range(N_SHOWN + 3):
        report.pk = None
        report._state.adding = True
        report.verdict = Verdict.DRIFT if hours == 0 else Verdict.OK
        report.created_at = version.trained_at + timedelta(days=30, hours=-hours)
        report.save()

    with CaptureQueriesContext(connection) as queries:
        drift = version_drift(version)

    newest = DriftReport.objects.filter(version=version).latest("created_at")
    assert len(queries) == 1
    assert [check.pk for check in drift.checks][0] == newest.pk
    assert len(drift.checks) == N_SHOWN and drift.is_longer
    assert drift.checks[0].style == "bad" and drift.checks[1].style == "good"
    assert drift.sentence == "Customers have changed since the training."
