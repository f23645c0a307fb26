"""`manage.py check_drift`: its exit codes, its one mail, and a mail server that misbehaves."""

from __future__ import annotations

import csv
import fcntl
import json
import time
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit.models import AuditEntry
from modelregistry.artifacts import DamagedArtifact
from monitoring import mail
from monitoring.management.commands.check_drift import EXIT_DRIFT, EXIT_INSUFFICIENT
from monitoring.models import DriftReport
from segments.customers import upsert_customers
from segments.models import Customer
from tests.expectations import one_entry
from tests.factories import TrainedModels, make_records
from tests.smtp_sink import smtp_sink

MAIL_TIMEOUT_SECONDS = 0.5


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


def test_drift_is_exit_3_and_one_mail_a_model(drifted: TrainedModels, settings: Any) -> None:
    with smtp_sink() as sink:
        mail_to(settings, sink.port)
        code, out = run("--model-type", "kmeans")

    report = DriftReport.objects.get()
    assert (code, report.verdict) == (EXIT_DRIFT, "drift")
    assert "orders" in out
    assert len(sink.mails) == 1
    sent = sink.mails[0]
    assert sent["To"] == "team@example.com, boss@example.com"
    assert sent["Subject"] == "Drift: kmeans 1"
    assert "orders" in sent.get_payload(decode=True).decode()
    assert not any(r["customer_id"] in sent.as_string() for r in drifted.records)
    assert report.mailed_at is not None and report.mail_error == ""


def test_each_run_and_report_leaves_its_entry(trained: TrainedModels) -> None:
    before = AuditEntry.objects.count()

    run("--no-email")

    entries = AuditEntry.objects.filter(action="drift.checked", actor_id="check_drift")
    assert AuditEntry.objects.count() - before == entries.count() == 2


def test_no_email_sends_none(drifted: TrainedModels, settings: Any) -> None:
    with smtp_sink() as sink:
        mail_to(settings, sink.port)
        code, _ = run("--no-email")

    assert (code, sink.n_connections) == (EXIT_DRIFT, 0)


@pytest.mark.parametrize("behaviour", ["refuse-recipient", "refuse-client", "hang"])
def test_a_bad_mail_server_delays_little_and_loses_nothing(
    drifted: TrainedModels, settings: Any, behaviour: Any
) -> None:
    with smtp_sink(behaviour) as sink:
        mail_to(settings, sink.port)
        started = time.monotonic()
        code, _ = run("--model-type", "kmeans")
        seconds = time.monotonic() - started

    report = DriftReport.objects.get()
    assert (code, report.mailed_at) == (EXIT_DRIFT, None)
    assert report.mail_error
    assert sink.mails == []
    assert seconds < 10


def test_a_dead_mail_server_is_noted(drifted: TrainedModels, settings: Any) -> None:
    with smtp_sink() as sink:
        dead = sink.port
    mail_to(settings, dead)

    code, _ = run("--model-type", "kmeans")

    assert code == EXIT_DRIFT
    assert "ConnectionRefusedError" in DriftReport.objects.get().mail_error


def test_without_a_mail_server_nothing_is_sent(drifted: TrainedModels, settings: Any) -> None:
    settings.EMAIL_HOST = ""

    run("--model-type", "kmeans")

    assert "not set" in DriftReport.objects.get().mail_error


def test_a_report_mailed_later_forgets_the_error(drifted: TrainedModels, settings: Any) -> None:
    settings.EMAIL_HOST = ""
    run("--model-type", "kmeans")
    report = DriftReport.objects.get()

    with smtp_sink() as sink:
        mail_to(settings, sink.port)
        assert mail.mail_report(report, at=timezone.now())

    report.refresh_from_db()
    assert (report.mail_error, len(sink.mails)) == ("", 1)


def test_few_customers_are_exit_4(trained: TrainedModels) -> None:
    Customer.objects.update(updated_at=timezone.now() - timedelta(days=30))

    code, out = run("--no-email")

    assert code == EXIT_INSUFFICIENT
    assert "Insufficient data" in out


def test_since_looks_further_back(trained: TrainedModels) -> None:
    Customer.objects.update(updated_at=timezone.now() - timedelta(days=30))
    since = (timezone.now() - timedelta(days=31)).strftime("%Y-%m-%dT%H:%M")

    assert run("--no-email", "--since", since)[0] == 0


def test_a_file_can_be_compared(trained: TrainedModels, tmp_path: Path) -> None:
    records = make_records(n_customers=200, random_state=5)
    path = tmp_path / "current.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows(
            {k: str(v).lower() if isinstance(v, bool) else v for k, v in record.items()}
            for record in records
        )

    code, out = run("--input", str(path), "--json", "--no-email")

    reports = json.loads(out)
    assert code == 0
    assert [(r["model_type"], r["verdict"], r["n_current"]) for r in reports] == [
        ("dbscan", "ok", 200), ("kmeans", "ok", 200)
    ]  # fmt: skip
    assert {r.source for r in DriftReport.objects.all()} == {"file"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "/no/such/file.csv"], "no such file"),
        (["--since", "yesterday"], "--since must be a moment"),
        (["--since", "2026-02-31T00:00"], "--since must be a moment"),
        (["--model-type", "lda"], "invalid choice"),
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


def test_a_damaged_artifact_leaves_the_entry_of_a_failure(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*args: Any, **kwargs: Any) -> None:
        raise DamagedArtifact("altered")

    monkeypatch.setattr("modelregistry.activation.load", damaged)

    with (
        one_entry(action="drift.checked", outcome="failed") as entries,
        pytest.raises(CommandError, match="altered"),
    ):
        call_command("check_drift")

    assert json.loads(entries[0].details) == {"code": "damaged-artifact"}


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


def test_one_run_at_a_time(trained: TrainedModels, settings: Any) -> None:
    with (Path(settings.DATA_DIR) / "check_drift.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CommandError, match="Another check_drift is running"):
            call_command("check_drift")

    assert not DriftReport.objects.exists()
    assert run("--no-email")[0] == 0
