"""Drift reports in the admin: the verdict, what changed, and every check behind it."""

from __future__ import annotations

import csv
import json

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from monitoring.current_customers import of_records
from monitoring.drift_check import CheckTerms, check_drift
from monitoring.drift_inputs import forget
from monitoring.models import DriftInput, DriftReport, Verdict
from tests.factories import BY, TrainedModels
from tests.staff import entries_after, last_entry_id, staff

VIEW, RUN = "monitoring.view_driftreport", "monitoring.run_driftcheck"


def make_report(trained: TrainedModels, *, factor: float) -> DriftReport:
    feature = next(
        item["name"] for item in trained.kmeans.schema["features"] if item["kind"] == "number"
    )
    records = [
        {**record, feature: record[feature] and record[feature] * factor}
        for record in trained.records
    ]
    return check_drift(
        "kmeans",
        of_records(records),
        terms=CheckTerms.of(settings),
        by=BY,
        at=timezone.now(),
    )


def url_of(name: str, report: DriftReport) -> str:
    return reverse(f"admin:monitoring_driftreport_{name}", args=[report.pk])


def test_a_report_says_what_changed_before_it_gives_figures(trained: TrainedModels) -> None:
    report = make_report(trained, factor=5.0)
    assert report.verdict == Verdict.DRIFT

    response = staff(VIEW).get(reverse("admin:monitoring_driftreport_change", args=[report.pk]))

    page = response.content.decode()
    assert report.summary in page.replace("&#x27;", "'")
    assert (
        page.index("What to do:") < page.index("largest effect first") < page.index("Every check")
    )
    cards = response.context["cards"]
    alone = [f for f in report.report["findings"] if f["feature"] and not f["other"]]
    told = {sentence for card in cards if card.is_drifted for sentence in card.sentences}
    assert told == {finding["sentence"] for finding in alone}
    assert [card.is_drifted for card in cards] == sorted(
        (card.is_drifted for card in cards), reverse=True
    )
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


def test_a_report_without_findings_shows_none(trained: TrainedModels) -> None:
    report = make_report(trained, factor=1.0)

    page = staff(VIEW).get(url_of("change", report)).content.decode()

    assert "Nothing to do" in page
    assert "0 of" in page
    assert "No feature changed inside a segment." in page


def test_a_report_shows_alerts_and_links_only_to_who_may_see_them(trained: TrainedModels) -> None:
    report = make_report(trained, factor=5.0)
    alert = report.alerts.get()
    link = reverse("admin:monitoring_alert_change", args=[alert.pk])

    assert link not in staff(VIEW).get(url_of("change", report)).content.decode()
    sees = staff(VIEW, "monitoring.view_alert", name="bea")
    assert link in sees.get(url_of("change", report)).content.decode()


def test_a_report_from_before_there_were_tables_and_inputs_still_opens(
    trained: TrainedModels,
) -> None:
    report = make_report(trained, factor=5.0)
    for name in ("tables", "inside", "smallest_visible_shift_sd", "alarm_threshold"):
        report.report.pop(name)
    report.save()
    DriftInput.objects.all().delete()

    response = staff(VIEW).get(url_of("change", report))

    assert response.status_code == 200
    page = response.content.decode()
    assert "Compute again" not in page
    assert "This report keeps no shares of this feature." in page


def test_computing_again_says_that_every_figure_is_the_same(trained: TrainedModels) -> None:
    report = make_report(trained, factor=5.0)
    before = last_entry_id()

    response = staff(VIEW, RUN).post(url_of("again", report), follow=True)

    assert "every figure is the same" in response.content.decode()
    (entry,) = entries_after(before)
    assert (entry.action, entry.target_id) == ("drift.computed_again", str(report.pk))
    assert json.loads(entry.details) == {"is_same": True, "n_erased": 0}


def test_computing_again_names_how_many_customers_were_erased(trained: TrainedModels) -> None:
    report = make_report(trained, factor=5.0)
    ids = [record["customer_id"] for record in trained.records[:7]]
    forget(ids, key=CheckTerms.of(settings).key)

    response = staff(VIEW, RUN).post(url_of("again", report), follow=True)

    assert "7 of its customers were erased" in response.content.decode()


def test_computing_again_without_the_customers_is_refused_in_words(
    trained: TrainedModels,
) -> None:
    report = make_report(trained, factor=1.0)
    DriftInput.objects.all().delete()
    before = last_entry_id()

    response = staff(VIEW, RUN).post(url_of("again", report), follow=True)

    assert "are no longer kept" in response.content.decode()
    assert entries_after(before) == []


def test_asking_alone_computes_nothing(trained: TrainedModels) -> None:
    report = make_report(trained, factor=1.0)
    before = last_entry_id()

    response = staff(VIEW, RUN).get(url_of("again", report))

    assert response.status_code == 200
    assert entries_after(before) == []


def test_the_exported_list_is_the_filtered_one_and_runs_no_formula(trained: TrainedModels) -> None:
    drifted = make_report(trained, factor=5.0)
    make_report(trained, factor=1.0)
    DriftReport.objects.filter(pk=drifted.pk).update(summary="=HYPERLINK(1)")

    response = staff(VIEW).get(reverse("admin:monitoring_driftreport_export"), {"verdict": "drift"})

    rows = list(csv.DictReader(b"".join(response.streaming_content).decode().splitlines()))
    assert [(row["id"], row["summary"]) for row in rows] == [(str(drifted.pk), "'=HYPERLINK(1)")]
    assert response.headers["Content-Disposition"].endswith('"drift_reports.csv"')


def test_the_list_offers_its_export_with_its_filters(trained: TrainedModels) -> None:
    make_report(trained, factor=1.0)
    url = reverse("admin:monitoring_driftreport_changelist")

    page = staff(VIEW).get(url, {"verdict": "drift"}).content.decode()

    assert f"{reverse('admin:monitoring_driftreport_export')}?verdict=drift" in page


def test_one_report_is_downloaded_as_the_api_gives_it(trained: TrainedModels) -> None:
    report = make_report(trained, factor=5.0)

    response = staff(VIEW).get(url_of("json", report))

    report.refresh_from_db()
    assert response.json()["report"] == report.report
    assert response.json()["verdict"] == "drift"


@pytest.mark.parametrize("name", ["change", "json", "again", "features", "checks"])
def test_pages_of_a_report_need_the_permission_and_a_report(
    trained: TrainedModels, name: str
) -> None:
    report = make_report(trained, factor=1.0)
    missing = reverse(f"admin:monitoring_driftreport_{name}", args=[report.pk + 1])

    assert staff().get(url_of(name, report)).status_code == 403
    assert staff(VIEW, RUN, name="bea").get(missing).status_code == 302
