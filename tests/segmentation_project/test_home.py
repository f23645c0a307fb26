"""The overview: what to do, how everything stands, for each only what they may see."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditEntry
from modelregistry.models import ActiveModel, ArtifactCheck, JobState, ModelVersion, TrainingJob
from monitoring.models import MonitoringPolicy, QualityPoint
from segments.models import CustomerImport, ImportState
from tests.factories import TrainedModels, make_client, make_customers, make_version
from tests.monitoring.alert_rows import make_alert
from tests.staff import last_entry_id, staff, superuser

VERSIONS, JOBS = "modelregistry.view_modelversion", "modelregistry.view_trainingjob"
POLICY, IMPORTS = "monitoring.view_monitoringpolicy", "segments.view_customerimport"


def home(client: Client) -> str:
    """The page as text."""
    page = client.get(reverse("admin:index")).content.decode()
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("seg-title")[2]).split())


def todos_of(client: Client) -> list[tuple[str, str]]:
    found = client.get(reverse("admin:index")).context["todos"]
    return [(each.style, each.text) for each in found]


def checked_now() -> None:
    MonitoringPolicy.current()
    MonitoringPolicy.objects.update(last_started_at=timezone.now())


def found_damaged() -> None:
    version = ModelVersion.objects.get(model_type="dbscan")
    ArtifactCheck.objects.create(
        version=version,
        sha256=version.artifact_sha256,
        problem="a digest differs",
        checked_at=timezone.now(),
    )


def test_all_is_well_and_says_what_that_is(trained: TrainedModels) -> None:
    page = home(superuser())

    assert "All is well: kmeans 1 and dbscan 1 serve; no alert is open." in page
    assert "300 stored" in page
    assert "First steps" not in page


def test_what_was_not_looked_at_is_not_called_well(trained: TrainedModels) -> None:
    page = home(staff(VERSIONS))

    assert "All is well" not in page
    assert "dbscan 1 serve; whether an alert is open is not yours to see." in page


def test_a_fresh_installation_leads_through_three_steps(db: None) -> None:
    page = home(superuser())

    assert "First steps" in page and "Import customers A table" in page
    assert page.count("no active version") == 2
    for empty in ("None is stored yet.", "No model was trained yet.", "Nothing was imported yet."):
        assert empty in page
    assert "Drift was not checked yet. Customers are checked by the system itself, every 24" in page
    assert "manage.py" not in page and "Check now" not in page and "due now" not in page


def test_the_first_check_can_be_begun_by_who_may(trained: TrainedModels) -> None:
    report, check = "monitoring.view_driftreport", "monitoring.run_driftcheck"

    assert "Check now" in home(staff(report, check, POLICY))
    assert "Check now" not in home(staff(report, POLICY, name="bea"))


def test_open_alerts_are_told_by_what_was_done_about_them(trained: TrainedModels) -> None:
    at = timezone.now()
    make_alert(key="one", acknowledged_at=at, acknowledged_by="Ann")
    make_alert(key="two", silenced_until=at + timedelta(hours=3), silenced_by="Ann")

    page = home(superuser())

    until = f"{at + timedelta(hours=3):%d %b %Y %H:%M}"
    assert f"2 alerts are open: 1 acknowledged, 1 silenced until {until}." in page
    assert "All is well" not in page


def test_the_steps_that_are_done_say_so_and_the_next_one_is_linked(db: None) -> None:
    make_customers(n_customers=120)
    version = make_version()

    guide = superuser().get(reverse("admin:index")).context["guide"]

    assert [step.is_done for step in guide] == [True, True, False]
    assert guide[2].url == reverse("admin:modelregistry_modelversion_change", args=[version.pk])
    own = staff(VERSIONS).get(reverse("admin:index")).context["guide"]
    assert [bool(step.url) for step in own] == [False, False, True]


def test_nothing_is_shown_or_asked_for_that_the_person_may_not_see(trained: TrainedModels) -> None:
    make_alert(key="secret")
    client = staff()

    with CaptureQueriesContext(connection) as queries:
        page = home(client)

    for hidden in ("kmeans 1", "300", "Latest", "Train a model", "Import", "secret", "well"):
        assert hidden not in page
    tables = {name for query in queries for name in re.findall(r'FROM "?(\w+)', query["sql"])}
    assert not [name for name in tables if name.startswith(("segments", "model", "monitor"))]


@pytest.mark.parametrize(
    ("permission", "spoil", "style", "said"),
    [
        (
            VERSIONS,
            lambda: ModelVersion.objects.update(degenerate_reason="One cluster."),
            "bad",
            "kmeans 1 serves and is degenerate: One cluster.",
        ),
        (
            VERSIONS,
            found_damaged,
            "bad",
            "The file of dbscan 1 is damaged: a digest differs",
        ),
        (
            VERSIONS,
            lambda: ActiveModel.objects.filter(model_type="dbscan").update(active=None),
            "warn",
            "DBSCAN has no active version: its predictions are answered with 503.",
        ),
        (
            JOBS,
            lambda: TrainingJob.objects.filter(model_type="dbscan").update(state=JobState.FAILED),
            "bad",
            "of dbscan failed.",
        ),
        (
            POLICY,
            lambda: MonitoringPolicy.objects.update(is_paused=True),
            "warn",
            "Checks are paused: drift goes unnoticed.",
        ),
        (
            POLICY,
            lambda: MonitoringPolicy.objects.update(last_started_at=None),
            "info",
            "Customers were not checked yet. The next check is due now.",
        ),
        (
            POLICY,
            lambda: MonitoringPolicy.objects.update(
                last_started_at=timezone.now() - timedelta(hours=25)
            ),
            "warn",
            "did not begin: is the monitor running?",
        ),
        (
            POLICY,
            lambda: MonitoringPolicy.objects.update(last_error="The disk is full."),
            "bad",
            "The last check failed: The disk is full.",
        ),
        (
            IMPORTS,
            lambda: CustomerImport.objects.create(
                state=ImportState.FAILED, file_name="new.csv", uploaded_at=timezone.now()
            ),
            "warn",
            "of new.csv failed.",
        ),
        (POLICY, lambda: None, "info", "Nobody is told of alerts"),
    ],
)
def test_what_is_wrong_is_told_with_where_to_mend_it(
    trained: TrainedModels,
    permission: str,
    spoil: Callable[[], Any],
    style: str,
    said: str,
) -> None:
    checked_now()
    ModelVersion.objects.filter(model_type="dbscan").update(degenerate_reason="")
    spoil()

    found = todos_of(staff(permission))

    assert [shown for shown, text in found if said in text] == [style]
    assert said not in str(todos_of(staff(name="bea")))


def test_overdue_trainings_need_both_the_version_and_the_policy(trained: TrainedModels) -> None:
    checked_now()
    ModelVersion.objects.update(trained_at=timezone.now() - timedelta(days=200))

    found = todos_of(staff(VERSIONS, POLICY))

    assert ("warn", "kmeans 1 was trained 200 days ago; the limit is 180 days.") in found
    assert "200 days" not in str(todos_of(staff(POLICY, name="bea")))


def test_a_candidate_waits_for_a_decision_and_not_for_ever(trained: TrainedModels) -> None:
    candidate = make_version(parameters={"n_clusters": 3})
    client = staff(VERSIONS)

    (found,) = todos_of(client)
    assert found[0] == "info" and found[1].startswith("kmeans 2 was trained")
    assert found[1].endswith("waits for a decision.")
    ModelVersion.objects.filter(pk=candidate.pk).update(degenerate_reason="One cluster.")
    (found,) = todos_of(client)
    assert found[1].endswith("waits for a decision. It is degenerate: One cluster.")
    ModelVersion.objects.filter(pk=candidate.pk).update(
        trained_at=timezone.now() - timedelta(days=31)
    )
    assert todos_of(client) == []


def test_what_an_alert_tells_is_not_told_twice(trained: TrainedModels) -> None:
    TrainingJob.objects.filter(model_type="kmeans").update(state=JobState.FAILED)
    make_alert(key="training_failed:kmeans", kind="training_failed", model_type="kmeans")

    found = todos_of(staff(JOBS, "monitoring.view_alert"))

    assert len(found) == 1 and "Last seen" in found[0][1]


def test_who_is_told_by_webhook_need_not_hear_of_mails(
    trained: TrainedModels, settings: LazySettings
) -> None:
    settings.WEBHOOK_URL = "https://hooks.example.com/alerts"
    checked_now()

    assert todos_of(staff(POLICY)) == []


def test_the_quality_now_stands_beside_that_of_training_with_its_line_and_figures(
    trained: TrainedModels,
) -> None:
    for hours, silhouette in ((3, 0.31), (2, 0.25), (1, 0.125)):
        QualityPoint.objects.create(
            version=trained.kmeans,
            measured_at=timezone.now() - timedelta(hours=hours),
            n_customers=300,
            noise_share=0.0,
            silhouette=silhouette,
            level="warning",
        )
    response = staff(VERSIONS, "monitoring.view_qualitypoint").get(reverse("admin:index"))

    quality = response.context["models"][0]["quality"]
    assert quality.words.startswith("0.1250 now, ")
    assert [row[2] for row in quality.table.rows] == ["0.1250", "0.2500", "0.3100"]
    assert len(quality.sparkline.points.split()) == 3
    assert f'points="{quality.sparkline.points}"' in response.content.decode()


def test_predictions_of_the_day_are_those_that_were_answered(trained: TrainedModels) -> None:
    client = make_client(scopes=["predict"])
    for model_type, n in (("kmeans", 2), ("kmeans", 3), ("dbscan", 4)):
        client.post(
            f"/predict/{model_type}?store=false",
            data=json.dumps(trained.records[:n]),
            content_type="application/json",
        )
    client.post("/predict/kmeans", data="[]", content_type="application/json")

    serving = staff("monitoring.view_servinghour").get(reverse("admin:index")).context["serving"]

    figures = {name: (value, words) for name, value, words in serving.tiles}
    assert figures["Answered"] == ("3", "kmeans 2, dbscan 1")
    assert (figures["Customers"][0], figures["Refused"][0], figures["Failed"][0]) == ("9", "1", "0")
    assert serving.by_hour.rows[0][1:5] == ("3", "9", "1", "0")
    assert len(serving.by_hour.rows) == 24


def test_segments_stand_beside_their_training(trained: TrainedModels) -> None:
    response = staff(VERSIONS, "segments.view_segment").get(reverse("admin:index"))

    kmeans, dbscan = response.context["sizes"]
    assert sum(int(row[1]) for row in kmeans.table.rows) == 300
    assert {row[4] for row in kmeans.table.rows} == {"0.0 pp"}
    assert dbscan.table.rows[-1][0] == "no segment (noise)"
    assert sum(int(row[1]) for row in dbscan.table.rows) == 300


def test_jobs_under_way_look_again_by_themselves_until_they_end(trained: TrainedModels) -> None:
    job = TrainingJob.objects.create(
        model_type="kmeans", state=JobState.RUNNING, progress=0.4, queued_by="Ann"
    )
    client, url = staff(JOBS), reverse("admin:jobs_under_way")

    running = client.get(url).content.decode()
    TrainingJob.objects.filter(pk=job.pk).update(state=JobState.CANCELLED)
    ended = client.get(url).content.decode()

    assert f'hx-get="{url}"' in running and 'value="40"' in running
    assert "hx-get" not in ended and "cancelled" in ended
    assert f'hx-get="{url}"' not in client.get(reverse("admin:index")).content.decode()


def test_jobs_are_only_for_who_may_see_them(trained: TrainedModels) -> None:
    url = reverse("admin:jobs_under_way")

    assert staff().get(url).status_code == 403
    assert "Job" not in staff(IMPORTS, name="bea").get(url).content.decode()


def test_home_costs_the_same_however_much_there_is(trained: TrainedModels) -> None:
    client = superuser()
    client.get(reverse("admin:index"))
    with CaptureQueriesContext(connection) as few:
        client.get(reverse("admin:index"))
    now = timezone.now()
    for number in range(8):
        TrainingJob.objects.create(model_type="kmeans", state=JobState.QUEUED, queued_by="Ann")
        make_alert(key=f"{number}")
        QualityPoint.objects.create(
            version=trained.kmeans, measured_at=now, n_customers=1, noise_share=0.0, level="ok"
        )
    with CaptureQueriesContext(connection) as many:
        client.get(reverse("admin:index"))

    assert len(many) <= len(few) + 2  # the first queued job is asked what it waits for
    assert len(many) < 45


def test_looking_leaves_no_entry(trained: TrainedModels) -> None:
    client = superuser()
    before = last_entry_id()

    home(client)

    assert not AuditEntry.objects.filter(id__gt=before).exists()


def test_the_sidebar_counts_the_alerts_that_nobody_looks_after(db: None) -> None:
    make_alert(key="one")
    noted = make_alert(key="two")
    noted.acknowledged_at = timezone.now()
    noted.save()

    def badge(client: Client) -> list[Any]:
        groups = client.get(reverse("admin:index")).context["sidebar_navigation"]
        return [item["badge"] for group in groups for item in group["items"] if "badge" in item]

    assert badge(staff("monitoring.view_alert")) == [1]
    assert badge(staff(name="bea")) == []
