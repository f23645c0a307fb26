"""What the monitor looks after: the schedule of checks, conditions, thinning; and exports."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit.models import AuditEntry
from modelregistry.models import ModelVersion, TrainingJob
from monitoring import schedule, thinning
from monitoring.artifact_watch import ArtifactWatch
from monitoring.drift_check import CheckTerms
from monitoring.models import (
    Alert,
    DriftInput,
    DriftReport,
    MonitoringPolicy,
    Notification,
    QualityPoint,
    ServingHour,
)
from monitoring.upkeep import look_at_conditions
from segmentation_project.management.commands import monitor as command
from segments.models import Customer
from tests.expectations import one_entry
from tests.factories import BY, TrainedModels

NOW = datetime(2026, 6, 17, 12, tzinfo=UTC)  # a Wednesday
DAY = timedelta(days=1)


def policy(**fields: Any) -> MonitoringPolicy:
    MonitoringPolicy.current()
    MonitoringPolicy.objects.update(**fields)
    return MonitoringPolicy.current()


def is_due(*, at: datetime = NOW) -> bool:
    return schedule.is_due(MonitoringPolicy.current(), default_hours=24, at=at)


# -- the schedule ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ({}, True),
        ({"last_started_at": NOW - DAY}, True),
        ({"last_started_at": NOW - DAY + timedelta(seconds=1)}, False),
        ({"last_started_at": NOW - timedelta(hours=3), "interval_hours": 3}, True),
        ({"is_paused": True}, False),
        ({"last_started_at": NOW - 3 * DAY, "last_error": schedule.RUNNING}, False),
        ({"last_started_at": NOW - timedelta(minutes=59), "last_error": "No."}, False),
        ({"last_started_at": NOW - timedelta(minutes=60), "last_error": "No."}, True),
    ],
)
def test_a_check_is_due_when_its_interval_has_passed(
    trained: TrainedModels, fields: dict[str, Any], due: bool
) -> None:
    policy(**fields)

    assert is_due() is due


def test_without_a_version_no_check_is_due(db: None) -> None:
    assert not is_due()


def test_of_two_monitors_one_runs_the_check(trained: TrainedModels) -> None:
    mine, others = MonitoringPolicy.current(), MonitoringPolicy.current()

    assert schedule.claim(mine, at=NOW)
    assert not schedule.claim(others, at=NOW)
    assert not is_due()


def test_a_failed_check_is_kept_with_one_entry_and_cleared_by_the_next(
    trained: TrainedModels,
) -> None:
    schedule.claim(MonitoringPolicy.current(), at=NOW)
    with one_entry(action="monitoring.check_failed", outcome="failed"):
        assert schedule.failed("x" * 999, by=BY)
        assert not schedule.failed("again", by=BY)
    assert schedule.problem_of(MonitoringPolicy.current()) == "x" * 500

    schedule.claim(MonitoringPolicy.current(), at=NOW + DAY)
    assert schedule.problem_of(MonitoringPolicy.current()) == ""
    schedule.succeeded()

    assert MonitoringPolicy.current().last_error == ""


def test_a_check_by_hand_does_not_end_the_one_that_runs(trained: TrainedModels) -> None:
    schedule.claim(MonitoringPolicy.current(), at=NOW)

    schedule.ran(at=NOW + DAY)

    assert MonitoringPolicy.current().last_error == schedule.RUNNING


# -- the monitor's rounds -------------------------------------------------------------------------


class FakeCheck:
    """A check whose end the test decides."""

    outcome: str | None = None
    n_begun = 0
    killed = False

    def __init__(self) -> None:
        type(self).n_begun += 1

    def failure(self) -> str | None:
        return type(self).outcome

    def kill(self) -> None:
        type(self).killed = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeCheck]:
    class Fake(FakeCheck):
        pass

    monkeypatch.setattr(command, "Check", Fake)
    monkeypatch.setattr(command, "close_old_connections", lambda: None)
    return Fake


def make_monitor() -> command.Monitor:
    return command.Monitor(CheckTerms.of(settings))


def test_a_round_begins_a_due_check_once_and_keeps_how_it_failed(
    trained: TrainedModels, fake: type[FakeCheck]
) -> None:
    monitor = make_monitor()

    monitor.tick(0.0)
    monitor.tick(2.0)
    assert (fake.n_begun, MonitoringPolicy.current().last_error) == (1, schedule.RUNNING)
    fake.outcome = "It was ended by signal 9."
    monitor.tick(4.0)

    assert MonitoringPolicy.current().last_error == "It was ended by signal 9."
    monitor.tick(70.0)
    alert = Alert.objects.get(kind="check_failed")
    assert alert.state == "firing" and "signal 9" in alert.summary
    assert fake.n_begun == 1


def test_a_stopped_monitor_gives_its_check_back(
    trained: TrainedModels, fake: type[FakeCheck]
) -> None:
    monitor = make_monitor()
    monitor.tick(0.0)

    monitor.stop()

    assert fake.killed
    make_monitor().tick(0.0)
    assert fake.n_begun == 2


def test_a_check_whose_monitor_was_killed_is_found_lost(
    trained: TrainedModels, fake: type[FakeCheck]
) -> None:
    policy(last_error=schedule.RUNNING, last_started_at=timezone.now() - timedelta(minutes=3))

    make_monitor().tick(0.0)

    assert MonitoringPolicy.current().last_error == schedule.LOST


def test_a_check_that_another_monitor_just_began_is_not_lost(
    trained: TrainedModels, fake: type[FakeCheck]
) -> None:
    policy(last_error=schedule.RUNNING, last_started_at=timezone.now() - timedelta(seconds=30))

    make_monitor().tick(0.0)

    assert MonitoringPolicy.current().last_error == schedule.RUNNING
    assert fake.n_begun == 0


def test_a_task_that_fails_keeps_no_other_from_being_done(
    trained: TrainedModels,
    fake: type[FakeCheck],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no disk")

    delivered: list[bool] = []
    monkeypatch.setattr(command.connection, "close", lambda: None)
    monkeypatch.setattr(command.thinning, "thin", broken)
    monkeypatch.setattr(command.outbox, "deliver", lambda **kwargs: delivered.append(True))

    make_monitor().tick(0.0)

    assert delivered == [True]
    assert "The monitor's task thin failed" in caplog.text


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        (b"a warning\nCommandError: The table is gone.\n", "The table is gone."),
        (b"Traceback\n  line\nValueError: customer Ann\n", "It failed by ValueError; see the log."),
        (b"", "It failed by an unknown error; see the log."),
    ],
)
def test_the_reason_of_a_failed_check_quotes_no_customer(
    tmp_path: Path, errors: bytes, words: str
) -> None:
    class Ended:
        def poll(self) -> int:
            return 1

    check = command.Check.__new__(command.Check)
    check.errors = (tmp_path / "errors").open("w+b")
    check.errors.write(errors)
    check.process, check.started = Ended(), 0.0  # type: ignore[assignment]

    assert check.failure() == words
    check.errors.close()


# -- conditions -----------------------------------------------------------------------------------


def look(at: datetime | None = None, watch: ArtifactWatch | None = None) -> None:
    look_at_conditions(
        watch or ArtifactWatch(),
        terms=CheckTerms.of(settings),
        at=at or timezone.now(),
        by=BY,
    )


def states(kind: str) -> list[tuple[str, str]]:
    return sorted(Alert.objects.filter(kind=kind).values_list("key", "state"))


def test_all_is_well_after_a_training(trained: TrainedModels) -> None:
    look()

    assert not Alert.objects.exists()


def test_missing_data_are_told_once_and_end_with_new_customers(
    trained: TrainedModels, settings: Any
) -> None:
    settings.EMAIL_HOST, settings.ALERT_EMAIL = "mail.example.com", "team@example.com"
    Customer.objects.update(updated_at=timezone.now() - 3 * DAY + timedelta(hours=1))
    look()
    assert states("missing_data") == []

    Customer.objects.update(updated_at=timezone.now() - 3 * DAY - timedelta(hours=1))
    look()
    look()
    assert states("missing_data") == [("missing_data", "firing")]
    assert Notification.objects.count() == 1

    Customer.objects.update(updated_at=timezone.now())
    look()
    look()
    assert states("missing_data") == [("missing_data", "resolved")]


@pytest.mark.parametrize(("hours", "is_told"), [(0, False), (48, False), (24, True), (None, False)])
def test_staff_say_within_which_hours_customers_are_expected(
    trained: TrainedModels, hours: int | None, is_told: bool
) -> None:
    policy(expected_within_hours=hours)
    Customer.objects.update(updated_at=timezone.now() - timedelta(hours=30))

    look()

    assert bool(states("missing_data")) is is_told


def test_without_a_version_nothing_is_expected(db: None) -> None:
    look()

    assert not Alert.objects.exists()


def make_job(state: str, *, hours_ago: float, error: str = "") -> TrainingJob:
    ended = timezone.now() - timedelta(hours=hours_ago)
    return TrainingJob.objects.create(
        model_type="kmeans", state=state, error=error, finished_at=ended, queued_by="tests"
    )


def test_a_failed_training_is_told_until_a_later_one_succeeds(trained: TrainedModels) -> None:
    make_job("failed", hours_ago=-1, error="There are too few customers.")
    make_job("cancelled", hours_ago=-2)
    look()
    alert = Alert.objects.get(kind="training_failed")
    assert (alert.key, alert.state) == ("training_failed:kmeans", "firing")
    assert "There are too few customers." in alert.summary

    make_job("succeeded", hours_ago=-3)
    look()
    look()

    assert states("training_failed") == [("training_failed:kmeans", "resolved")]


def test_the_reason_of_an_unexpected_failure_is_not_quoted(trained: TrainedModels) -> None:
    make_job("failed", hours_ago=-1, error="could not read Ann\nTraceback\n  ...")

    look()

    assert "Ann" not in Alert.objects.get(kind="training_failed").summary


@pytest.mark.parametrize(("days", "is_told"), [(180, True), (181, False), (0, False)])
def test_a_version_of_long_ago_is_overdue(trained: TrainedModels, days: int, is_told: bool) -> None:
    policy(retrain_after_days=days)
    ModelVersion.objects.filter(pk=trained.dbscan.pk).update(
        trained_at=timezone.now() - 180 * DAY - timedelta(hours=1)
    )

    look()

    assert states("training_overdue") == ([("training_overdue:dbscan", "firing")] * is_told)


def test_a_damaged_file_is_told_and_read_only_when_it_changed(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    path = settings.MODEL_DIR / trained.kmeans.artifact
    content = path.read_bytes()
    real = __import__("modelregistry.artifacts", fromlist=["read"]).read
    monkeypatch.setattr(
        "modelregistry.artifacts.read",
        lambda artifact, *, directory: (
            reads.append(artifact.name),
            real(artifact, directory=directory),
        )[1],
    )
    watch = ArtifactWatch()
    look(watch=watch)
    look(watch=watch)
    assert len(reads) == 2  # one a version

    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    look(watch=watch)
    alert = Alert.objects.get(kind="damaged_artifact")
    assert (alert.key, alert.state) == ("damaged_artifact:kmeans", "firing")

    path.write_bytes(content)
    look(watch=watch)
    look(watch=watch)
    alert.refresh_from_db()
    assert alert.state == "resolved"


# -- thinning -------------------------------------------------------------------------------------


def make_report(
    version: ModelVersion, at: datetime, *, verdict: str = "ok", source: str = "stored"
) -> DriftReport:
    report = DriftReport.objects.create(
        model_type=version.model_type, version=version, verdict=verdict, summary="", source=source,
        n_reference=300, n_seen=100, n_current=100, threshold=0.05, report={"findings": []},
        created_at=at, created_by="tests",
    )  # fmt: skip
    DriftInput.objects.create(report=report, content=b"", n_rows=100)
    QualityPoint.objects.create(
        version=version, report=report, measured_at=at, n_customers=100, noise_share=0.0,
        level="ok", sentence="",
    )  # fmt: skip
    return report


def make_alert(report: DriftReport | None = None, **fields: Any) -> Alert:
    return Alert.objects.create(
        **{
            "kind": "drift", "key": f"k{Alert.objects.count()}", "state": "firing",
            "report": report, "title": "t", "summary": "s", "advice": "a",
            "raised_at": NOW, "last_seen_at": NOW, **fields,
        }
    )  # fmt: skip


def test_old_reports_and_points_stay_as_the_last_of_each_week(trained: TrainedModels) -> None:
    reports = [make_report(trained.kmeans, NOW - n * DAY) for n in range(120)]
    other = make_report(trained.dbscan, NOW - 110 * DAY)
    a_file = make_report(trained.kmeans, NOW - 111 * DAY, source="file")

    with one_entry(action="monitoring.thinned") as entries:
        thinned = thinning.thin(MonitoringPolicy.current(), at=NOW, by=BY)

    left = set(DriftReport.objects.values_list("pk", flat=True))
    recent = {report.pk for report in reports[:91]}
    assert recent | {other.pk, a_file.pk} <= left
    weeks = {report.created_at.isocalendar()[:2] for report in reports[91:]}
    assert len(left) == len(recent) + 2 + len(weeks)
    kept = DriftReport.objects.filter(pk__in=left, created_at__lt=NOW - 90 * DAY, source="stored")
    old = kept.filter(version=trained.kmeans).order_by("created_at")
    # A week that is partly young keeps its last old report; all others end on a Sunday.
    assert [report.created_at.isoweekday() for report in old][:-1] == [7] * (len(weeks) - 1)
    assert QualityPoint.objects.count() == len(left)
    assert DriftInput.objects.count() == 31
    assert json.loads(entries[0].details) == {
        "n_inputs": 91, "n_reports": 122 - len(left), "n_quality_points": 122 - len(left),
        "n_alerts": 0, "n_notifications": 0,
    }  # fmt: skip
    assert thinned.n_reports == 122 - len(left)


def test_thinning_twice_finds_nothing_and_writes_no_entry(trained: TrainedModels) -> None:
    for n in range(85, 100):
        make_report(trained.kmeans, NOW - n * DAY)
    thinning.thin(MonitoringPolicy.current(), at=NOW, by=BY)
    n_entries = AuditEntry.objects.count()

    assert thinning.thin(MonitoringPolicy.current(), at=NOW, by=BY).is_nothing

    assert AuditEntry.objects.count() == n_entries


def test_a_report_that_an_alert_tells_of_stays(trained: TrainedModels) -> None:
    alarmed, warned, plain = (
        make_report(trained.kmeans, NOW - 99 * DAY + timedelta(minutes=n), verdict=verdict)
        for n, verdict in enumerate(("drift", "warning", "drift"))
    )
    make_report(trained.kmeans, NOW - 99 * DAY + timedelta(hours=1))
    make_alert(alarmed)
    make_alert(warned, state="resolved", resolved_at=NOW)

    thinning.thin(MonitoringPolicy.current(), at=NOW, by=BY)

    left = set(DriftReport.objects.values_list("pk", flat=True))
    assert {alarmed.pk, warned.pk} <= left and plain.pk not in left


def test_what_ended_two_years_ago_goes(trained: TrainedModels) -> None:
    long_ago = NOW - 2 * 365 * DAY - DAY
    gone = make_alert(state="resolved", resolved_at=long_ago)
    kept = [make_alert(state="resolved", resolved_at=NOW - DAY), make_alert(raised_at=long_ago)]
    for number, state in enumerate(("sent", "queued")):
        Notification.objects.create(
            channel="mail", state=state, message_id=str(number), recipient="", subject="", text="",
            created_at=long_ago, next_attempt_at=long_ago,
        )  # fmt: skip

    thinned = thinning.thin(MonitoringPolicy.current(), at=NOW, by=BY)

    assert (thinned.n_alerts, thinned.n_notifications) == (1, 1)
    assert not Alert.objects.filter(pk=gone.pk).exists()
    assert Alert.objects.filter(pk__in=[alert.pk for alert in kept]).count() == 2
    assert Notification.objects.get().state == "queued"


def test_thinning_takes_all_or_nothing(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(85, 100):
        make_report(trained.kmeans, NOW - n * DAY)

    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no trail")

    monkeypatch.setattr("audit.trail.record", broken)
    with pytest.raises(RuntimeError):
        thinning.thin(MonitoringPolicy.current(), at=NOW, by=BY)

    assert DriftReport.objects.count() == DriftInput.objects.count() == 15


# -- exports --------------------------------------------------------------------------------------


def exported(*arguments: str) -> str:
    out = StringIO()
    call_command("export_monitoring", *arguments, stdout=out)
    return out.getvalue()


def make_all(version: ModelVersion) -> None:
    report = make_report(version, NOW - DAY)
    make_report(version, NOW)
    make_alert(report, version=version, title='=HYPERLINK("x")', summary="@SUM", advice="-1, say")
    ServingHour.objects.create(model_type="kmeans", version_number=1, hour=NOW, n_requests=3)


@pytest.mark.parametrize(
    ("table", "n_rows"), [("reports", 2), ("quality", 2), ("serving", 1), ("alerts", 1)]
)
def test_every_table_comes_as_csv_and_as_ndjson(
    trained: TrainedModels, table: str, n_rows: int
) -> None:
    make_all(trained.kmeans)

    with one_entry(action="monitoring.exported", target_id=table, n_items=n_rows):
        rows = list(csv.DictReader(StringIO(exported(table))))
    objects = [json.loads(line) for line in exported(table, "--format", "ndjson").splitlines()]

    assert len(rows) == len(objects) == n_rows
    assert list(rows[0]) == list(objects[0])


def test_no_cell_is_a_formula_and_numbers_stay_numbers(trained: TrainedModels) -> None:
    make_all(trained.kmeans)
    QualityPoint.objects.update(silhouette_z=-1.5)

    (alert,) = csv.DictReader(StringIO(exported("alerts")))
    (_, point) = csv.DictReader(StringIO(exported("quality")))

    assert (alert["title"], alert["summary"]) == ('\'=HYPERLINK("x")', "'@SUM")
    assert alert["advice"] == "'-1, say"
    assert point["silhouette_z"] == "-1.5"


def test_an_export_may_begin_later_and_go_to_a_file(trained: TrainedModels, tmp_path: Path) -> None:
    make_all(trained.kmeans)
    path = tmp_path / "reports.ndjson"

    said = exported(
        "reports", "--format", "ndjson", "--since", "2026-06-17T00:00", "--output", str(path)
    )

    assert "1 rows are in" in said
    assert json.loads(path.read_text())["created_at"] == "2026-06-17T12:00:00+00:00"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reports", "--since", "soon"], "--since must be a moment"),
        (["reports", "--output", "/no/such/place/file.csv"], "cannot be written"),
        (["customers"], "invalid choice"),
    ],
)
def test_an_export_of_nonsense_is_refused(db: None, arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        exported(*arguments)
