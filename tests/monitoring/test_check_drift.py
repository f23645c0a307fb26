"""`manage.py check_drift`: its exit codes, its one mail, and a mail server that misbehaves."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from rich.console import Console

from audit.models import AuditEntry
from modelregistry import activation
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import ModelVersion
from monitoring.check_lock import LOCK_NUMBER, only_one_run
from monitoring.management.commands import check_drift as command
from monitoring.models import (
    Alert,
    DriftReport,
    MonitoringPolicy,
    Notification,
    QualityPoint,
)
from segments.customers import upsert_customers
from segments.models import Customer
from tests.expectations import one_entry
from tests.factories import TrainedModels, make_records
from tests.smtp_sink import smtp_sink

MAIL_TIMEOUT_SECONDS = 0.5
EXIT_DRIFT = 3
EXIT_INSUFFICIENT = 4


def run(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("check_drift", *arguments, stdout=out)
    return int(end.value.code or 0), out.getvalue()


def mail_to(settings: Any, port: int) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_PORT = port
    settings.EMAIL_USE_TLS = False
    settings.EMAIL_TIMEOUT = MAIL_TIMEOUT_SECONDS
    settings.ALERT_EMAIL = "team@example.com, boss@example.com"


@pytest.fixture
def drifted(trained: TrainedModels) -> TrainedModels:
    """Since the training everybody ordered three times as much."""
    rows = {
        record["customer_id"]: {"orders": record["orders"] * 3 + 5} for record in trained.records
    }
    upsert_customers(rows, at=timezone.now())
    return trained


def test_no_drift_is_exit_0_and_no_mail(trained: TrainedModels, settings: Any) -> None:
    with smtp_sink() as sink:
        mail_to(settings, sink.port)
        code, out = run()

    assert code == 0
    assert "kmeans 1: No drift" in out and "dbscan 1: No drift" in out
    assert (sink.n_connections, DriftReport.objects.count()) == (0, 2)
    assert QualityPoint.objects.count() == 2


def test_drift_is_exit_3_and_one_mail_for_all_models(drifted: TrainedModels, settings: Any) -> None:
    with smtp_sink() as sink:
        mail_to(settings, sink.port)
        code, out = run()

    assert code == EXIT_DRIFT
    assert {report.verdict for report in DriftReport.objects.all()} == {"drift"}
    assert "orders" in out and "Mail: sent" in out
    assert len(sink.mails) == 1
    assert sink.mails[0]["To"] == "team@example.com, boss@example.com"
    assert not any(r["customer_id"] in sink.mails[0].as_string() for r in drifted.records)


def test_the_next_run_sends_no_second_mail(drifted: TrainedModels, settings: Any) -> None:
    with smtp_sink() as sink:
        mail_to(settings, sink.port)
        codes = [run("--model-type", "kmeans")[0] for _ in range(3)]

    assert codes == [EXIT_DRIFT] * 3
    assert len(sink.mails) == 1


def test_each_report_leaves_its_entry(trained: TrainedModels) -> None:
    before = AuditEntry.objects.count()

    run("--no-email")

    entries = AuditEntry.objects.filter(action="drift.checked", actor_id="check_drift")
    assert AuditEntry.objects.count() - before == entries.count() == 2


def test_no_email_tells_nobody_and_the_next_run_does(drifted: TrainedModels, settings: Any) -> None:
    with smtp_sink() as sink:
        mail_to(settings, sink.port)
        code, _ = run("--model-type", "kmeans", "--no-email")
        assert (code, sink.n_connections) == (EXIT_DRIFT, 0)
        run("--model-type", "kmeans")

    assert len(sink.mails) == 1


@pytest.mark.parametrize("behaviour", ["refuse-recipient", "hang"])
def test_a_bad_mail_server_delays_little_and_loses_nothing(
    drifted: TrainedModels, settings: Any, monkeypatch: pytest.MonkeyPatch, behaviour: Any
) -> None:
    monkeypatch.setattr(command, "DELIVER_WITHIN", timedelta(seconds=1))
    with smtp_sink(behaviour) as sink:
        mail_to(settings, sink.port)
        started = time.monotonic()
        code, out = run("--model-type", "kmeans")
        seconds = time.monotonic() - started

    waiting = Notification.objects.get()
    assert (code, waiting.state, waiting.n_attempts) == (EXIT_DRIFT, "queued", 1)
    assert waiting.error and waiting.error in out
    assert sink.mails == []
    assert seconds < 6


def test_quiet_prints_nothing_unless_it_matters(trained: TrainedModels, settings: Any) -> None:
    assert run("--quiet") == (0, "")
    Customer.objects.update(updated_at=timezone.now() - timedelta(days=30))
    DriftReport.objects.all().delete()
    assert run("--quiet") == (EXIT_INSUFFICIENT, "")

    rows = {each["customer_id"]: {"orders": each["orders"] * 3 + 5} for each in trained.records}
    upsert_customers(rows, at=timezone.now())
    code, out = run("--quiet")

    assert code == EXIT_DRIFT
    assert "orders" in out


def test_json_is_for_scripts(drifted: TrainedModels, settings: Any) -> None:
    with smtp_sink() as sink:
        mail_to(settings, sink.port)
        code, out = run("--json")

    said = json.loads(out)
    assert list(said) == ["verdict", "exit_code", "reports", "failures", "alerts", "deliveries"]
    assert (said["verdict"], said["exit_code"], code) == ("drift", 3, 3)
    assert [each["model_type"] for each in said["reports"]] == ["dbscan", "kmeans"]
    assert said["reports"][0]["n_seen"] == 300
    assert {alert["state"] for alert in said["alerts"] if alert["kind"] == "drift"} == {"firing"}
    assert [(each["channel"], each["state"]) for each in said["deliveries"]] == [("mail", "sent")]


def test_people_get_a_table(drifted: TrainedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    out = StringIO()
    console = Console(file=out, width=160)
    monkeypatch.setattr(command, "Console", lambda: console)
    terminal = StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)

    with pytest.raises(SystemExit):
        call_command("check_drift", "--model-type", "kmeans", stdout=terminal)

    assert "kmeans 1" in out.getvalue() and "│" in out.getvalue()
    assert "Alert " in out.getvalue()


def test_few_customers_are_exit_4(trained: TrainedModels) -> None:
    Customer.objects.update(updated_at=timezone.now() - timedelta(days=30))

    code, out = run("--no-email")

    assert code == EXIT_INSUFFICIENT
    assert "Insufficient data" in out


def test_since_looks_further_back(trained: TrainedModels) -> None:
    Customer.objects.update(updated_at=timezone.now() - timedelta(days=30))
    since = (timezone.now() - timedelta(days=31)).strftime("%Y-%m-%dT%H:%M")

    assert run("--no-email", "--since", since)[0] == 0


def make_file(directory: Path, records: list[dict[str, Any]]) -> Path:
    path = directory / "current.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows(
            {k: str(v).lower() if isinstance(v, bool) else v for k, v in record.items()}
            for record in records
        )
    return path


def test_a_file_can_be_compared(trained: TrainedModels, tmp_path: Path) -> None:
    path = make_file(tmp_path, make_records(n_customers=200, random_state=5))

    code, out = run("--input", str(path), "--json", "--no-email")

    reports = json.loads(out)["reports"]
    assert code == 0
    assert [(r["model_type"], r["verdict"], r["n_current"]) for r in reports] == [
        ("dbscan", "ok", 200), ("kmeans", "ok", 200)
    ]  # fmt: skip
    assert {r.source for r in DriftReport.objects.all()} == {"file"}


def test_a_file_with_a_bad_row_is_compared_without_it_when_asked_to(
    trained: TrainedModels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = make_records(n_customers=200, random_state=5)
    records[3]["orders"] = "n/a?"
    path = make_file(tmp_path, records)

    with pytest.raises(CommandError, match=r"line 5, column orders: .*--skip-bad-rows"):
        call_command("check_drift", "--input", str(path), "--no-email")
    assert not DriftReport.objects.exists()
    capsys.readouterr()
    code, out = run("--input", str(path), "--skip-bad-rows", "--json", "--no-email")

    assert code == 0
    assert {report["n_current"] for report in json.loads(out)["reports"]} == {199}
    assert "Rows left out: 1. 1 problem in the table; first: line 5" in capsys.readouterr().err


def test_the_wrong_file_is_refused_with_what_it_lacks_and_raises_no_alert(
    trained: TrainedModels, tmp_path: Path
) -> None:
    path = make_file(tmp_path, [{"customer_id": f"C{n}", "voltage": n * 1.5} for n in range(60)])

    code, out = run("--input", str(path), "--no-email", "--quiet")

    assert code == 1
    assert "kmeans: not checked." in out and "dbscan: not checked." in out
    for feature in trained.kmeans.schema["features"]:
        assert feature["name"] in out
    assert not DriftReport.objects.exists() and not Alert.objects.exists()
    entries = AuditEntry.objects.filter(action="drift.checked", outcome="refused")
    assert sorted(entries.values_list("target_id", flat=True)) == ["dbscan", "kmeans"]
    assert json.loads(entries[0].details) == {"code": "wrong-customers"}


def test_a_file_that_lost_one_column_is_a_finding(trained: TrainedModels, tmp_path: Path) -> None:
    records = make_records(n_customers=200, random_state=5)
    path = make_file(tmp_path, [{k: v for k, v in r.items() if k != "orders"} for r in records])

    code, out = run("--input", str(path), "--no-email", "--model-type", "kmeans")

    assert code == EXIT_DRIFT
    assert "orders (gone)" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "/no/such/file.csv"], "no such file"),
        (["--since", "yesterday"], "--since must be a moment"),
        (["--since", "2026-02-31T00:00"], "--since must be a moment"),
        (["--model-type", "lda"], "invalid choice"),
        (["--since", "2026-01-31T00:00", "--input", "a.csv"], "not both"),
    ],
)
def test_nonsense_is_one_clear_line(
    trained: TrainedModels, arguments: list[str], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("check_drift", *arguments)

    assert not DriftReport.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "message", "target"),
    [
        ([], "No version", ""),
        (["--model-type", "dbscan"], "No version of dbscan", "dbscan"),
    ],
)
def test_without_a_version_there_is_nothing_to_compare(
    db: None, arguments: list[str], message: str, target: str
) -> None:
    with (
        one_entry(action="drift.checked", outcome="failed", target_id=target) as entries,
        pytest.raises(CommandError, match=message),
    ):
        call_command("check_drift", *arguments)

    assert json.loads(entries[0].details) == {"code": "no-active-version"}


@pytest.fixture
def damaged(trained: TrainedModels, monkeypatch: pytest.MonkeyPatch) -> TrainedModels:
    """The file of the version of DBSCAN cannot be used."""
    load = activation.load

    def load_kmeans(version: ModelVersion, *, directory: Path) -> Any:
        if version.model_type == "dbscan":
            raise DamagedArtifact("altered")
        return load(version, directory=directory)

    monkeypatch.setattr("modelregistry.activation.load", load_kmeans)
    return trained


def test_a_type_that_cannot_be_checked_does_not_keep_the_other(damaged: TrainedModels) -> None:
    code, out = run("--no-email")

    assert code == 1
    assert "dbscan: not checked. altered" in out and "kmeans 1: No drift" in out
    assert DriftReport.objects.get().model_type == "kmeans"
    failed = AuditEntry.objects.get(action="drift.checked", outcome="failed")
    assert (failed.target_id, json.loads(failed.details)) == (
        "dbscan",
        {"code": "damaged-artifact"},
    )
    alert = Alert.objects.get()
    assert (alert.kind, alert.key, alert.state) == (
        "damaged_artifact", "damaged_artifact:dbscan", "firing"
    )  # fmt: skip


def test_a_failure_is_said_even_quietly_and_in_json(damaged: TrainedModels) -> None:
    said = json.loads(run("--no-email", "--json", "--quiet")[1])

    assert (said["verdict"], said["exit_code"]) == ("failed", 1)
    assert said["failures"] == [
        {"model_type": "dbscan", "code": "damaged-artifact", "detail": "altered"}
    ]


@pytest.mark.parametrize(
    ("content", "code"),
    [("", "unreadable-table"), ("customer_id,orders\na,1\nb,2,secret\nc,4\n", "invalid-table")],
)
def test_a_refused_table_leaves_the_entry_of_a_refusal(
    trained: TrainedModels, tmp_path: Path, content: str, code: str
) -> None:
    path = tmp_path / "current.csv"
    path.write_text(content)

    with (
        one_entry(action="drift.checked", outcome="refused", actor_id="check_drift") as entries,
        pytest.raises(CommandError),
    ):
        call_command("check_drift", "--input", str(path))

    assert json.loads(entries[0].details)["code"] == code
    assert "secret" not in entries[0].details
    assert not DriftReport.objects.exists()


def hold_lock(settings: Any) -> Any:
    """The lock as another process would hold it."""
    if connection.vendor == "postgresql":
        return other_session()
    return only_one_run(directory=settings.DATA_DIR)


@contextmanager
def other_session() -> Iterator[None]:
    other = connection.get_new_connection(connection.get_connection_params())
    other.execute("SELECT pg_advisory_lock(%s)", [LOCK_NUMBER])
    yield
    # By itself the lock goes a little after the session.
    other.execute("SELECT pg_advisory_unlock(%s)", [LOCK_NUMBER])
    other.close()


def test_one_run_at_a_time(trained: TrainedModels, settings: Any) -> None:
    with hold_lock(settings):
        started = time.monotonic()
        with pytest.raises(CommandError, match="Another check_drift is running"):
            call_command("check_drift")
        assert time.monotonic() - started < 1

    assert not DriftReport.objects.exists()
    assert run("--no-email", "--model-type", "kmeans")[0] == 0


def test_a_run_may_wait_for_another(trained: TrainedModels, settings: Any) -> None:
    lock = hold_lock(settings)
    lock.__enter__()
    timer = threading.Timer(0.15, lambda: lock.__exit__(None, None, None))
    timer.start()

    code, _ = run("--no-email", "--model-type", "kmeans", "--wait", "5")
    timer.join()

    assert code == 0


def test_a_run_of_all_counts_as_the_scheduled_one(trained: TrainedModels) -> None:
    MonitoringPolicy.current()
    started = timezone.now()

    run("--no-email", "--model-type", "kmeans")
    assert MonitoringPolicy.current().last_started_at is None
    run("--no-email")

    assert MonitoringPolicy.current().last_started_at >= started
