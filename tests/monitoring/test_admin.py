"""Drift reports in the admin: the verdict, what changed, and every check behind it."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from monitoring.drift_check import check_drift
from monitoring.models import DriftReport, Verdict
from tests.factories import BY, TrainedModels
from tests.staff import staff

VIEW = "monitoring.view_driftreport"


def make_report(trained: TrainedModels, *, factor: float) -> DriftReport:
    feature = next(
        item["name"] for item in trained.kmeans.schema["features"] if item["kind"] == "number"
    )
    records = [
        {**record, feature: record[feature] * factor}
        for record in trained.records
        if record.get(feature) is not None
    ]
    return check_drift(
        "kmeans",
        records,
        source="request",
        threshold=0.05,
        interval=timedelta(hours=24),
        directory=settings.MODEL_DIR,
        by=BY,
        at=timezone.now(),
    )


def test_a_report_says_what_changed_before_it_gives_figures(trained: TrainedModels) -> None:
    report = make_report(trained, factor=5.0)
    assert report.verdict == Verdict.DRIFT

    response = staff(VIEW).get(reverse("admin:monitoring_driftreport_change", args=[report.pk]))

    page = response.content.decode()
    assert report.summary in page.replace("&#x27;", "'")
    assert page.index("What changed") < page.index("Every check")
    assert response.context["findings"] == [f["sentence"] for f in report.report["findings"]]
    verdicts = [row[2] for row in response.context["checks"].rows]
    assert verdicts == sorted(verdicts)  # drift before ok
    for name in trained.kmeans.segments.values_list("segment__name", flat=True):
        assert name in page


def test_the_list_shows_verdicts(trained: TrainedModels) -> None:
    make_report(trained, factor=1.0)

    page = staff(VIEW).get(reverse("admin:monitoring_driftreport_changelist")).content.decode()

    assert "No drift" in page


def test_reports_are_not_written_by_hand(trained: TrainedModels) -> None:
    report = make_report(trained, factor=1.0)
    client = staff(VIEW)

    for name in ("change", "delete"):
        url = reverse(f"admin:monitoring_driftreport_{name}", args=[report.pk])
        assert client.post(url, {"post": "yes", "summary": "fine"}).status_code == 403
    assert DriftReport.objects.get().summary == report.summary
