"""`manage.py check_drift`: compare current customers with the reference; for cron.

Exit codes: 0 no drift, 3 drift, 4 insufficient data, 1 failure (with one line that says why).
"""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from audit import trail
from audit.models import Outcome
from modelregistry.activation import NoActiveVersion
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import ActiveModel, ModelType
from monitoring.drift_check import check_drift, recent_records
from monitoring.mail import mail_report
from monitoring.models import DriftReport, Source, Verdict
from segments.refused_imports import refusal_details
from segments.table_problems import InvalidTable, UnreadableTable
from segments.tables import open_table

EXIT_DRIFT = 3
EXIT_INSUFFICIENT = 4
Refusal = UnreadableTable | InvalidTable
Failure = NoActiveVersion | DamagedArtifact


class Command(BaseCommand):
    help = "Compare current customers with the reference of the active versions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--model-type", choices=ModelType.values, help="default: all active")
        parser.add_argument("--input", type=Path, help="a table of current customers")
        parser.add_argument(
            "--since", help="compare customers stored since this moment, such as 2026-01-31T00:00"
        )
        parser.add_argument("--json", action="store_true", help="print the reports as JSON")
        parser.add_argument("--no-email", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        with only_one_run():
            reports = self.compare(options)
        for report in reports:
            if report.verdict == Verdict.DRIFT and not options["no_email"]:
                mail_report(report, at=timezone.now())
        if options["json"]:
            self.stdout.write(json.dumps([as_json(report) for report in reports], indent=2))
        else:
            for report in reports:
                self.show(report)
        sys.exit(exit_code(reports))

    def compare(self, options: dict[str, Any]) -> list[DriftReport]:
        now = timezone.now()
        by = trail.Actor.command("check_drift")
        try:
            records, source = current_customers(options, now=now)
            return [
                check_drift(
                    model_type,
                    records,
                    source=source,
                    threshold=settings.DRIFT_THRESHOLD,
                    interval=timedelta(hours=settings.MONITORING_INTERVAL),
                    directory=settings.MODEL_DIR,
                    by=trail.Actor.command("check_drift"),
                    at=now,
                )
                for model_type in checked_types(options["model_type"])
            ]
        except (UnreadableTable, InvalidTable, NoActiveVersion, DamagedArtifact) as error:
            record_failure(error, model_type=options["model_type"], by=by)
            raise CommandError(str(error)) from error

    def show(self, report: DriftReport) -> None:
        self.stdout.write(f"{report.version}: {report.get_verdict_display()}. {report.summary}")
        for check in report.report["findings"]:
            subject = " × ".join(filter(None, (check["feature"] or "segments", check["other"])))
            self.stdout.write(
                f"  {subject} ({check['check']}): {check['sentence']} "
                f"adjusted p {check['p_adjusted']:.2g}, effect {check['effect']:+.3f}"
            )


def record_failure(error: Refusal | Failure, *, model_type: str | None, by: trail.Actor) -> None:
    """The entry of a run that compared nothing, or not all that it was to compare."""
    details: dict[str, object]
    if isinstance(error, Refusal):
        outcome, details = Outcome.REFUSED, refusal_details(error)
    else:
        code = "no-active-version" if isinstance(error, NoActiveVersion) else "damaged-artifact"
        outcome, details = Outcome.FAILED, {"code": code}
    target = ("model_type", model_type) if model_type else ("", "")
    trail.record("drift.checked", by=by, target=target, outcome=outcome, details=details)


def checked_types(model_type: str | None) -> list[str]:
    if model_type:
        return [model_type]
    active = ActiveModel.objects.filter(active__isnull=False).order_by("model_type")
    found = list(active.values_list("model_type", flat=True))
    if not found:
        raise NoActiveVersion("any model type")
    return found


def current_customers(
    options: dict[str, Any], *, now: datetime
) -> tuple[list[dict[str, Any]], Source]:
    if options["input"]:
        table = open_table(options["input"])
        table.require_no_problems()
        return [row for batch in table.batches() for _, row in batch], Source.FILE
    since = now - timedelta(hours=settings.MONITORING_INTERVAL)
    if options["since"]:
        since = moment(options["since"])
    return recent_records(since), Source.STORED


def moment(text: str) -> datetime:
    try:
        stated = parse_datetime(text)
    except ValueError:  # of the right form, and no day of any calendar
        stated = None
    if stated is None:
        raise CommandError("--since must be a moment such as 2026-01-31T00:00")
    return stated if stated.tzinfo else timezone.make_aware(stated)


def exit_code(reports: list[DriftReport]) -> int:
    verdicts = {report.verdict for report in reports}
    if Verdict.DRIFT in verdicts:
        return EXIT_DRIFT
    return EXIT_INSUFFICIENT if Verdict.INSUFFICIENT_DATA in verdicts else 0


def as_json(report: DriftReport) -> dict[str, Any]:
    return {
        "id": report.pk,
        "model_type": report.model_type,
        "version": report.version.number,
        "verdict": report.verdict,
        "summary": report.summary,
        "n_reference": report.n_reference,
        "n_current": report.n_current,
        "mailed": report.mailed_at is not None,
        "mail_error": report.mail_error,
        "report": report.report,
    }


@contextmanager
def only_one_run() -> Iterator[None]:
    """A lock that the kernel releases with the process, however it ends."""
    with (settings.DATA_DIR / "check_drift.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError("Another check_drift is running; this one did nothing.") from error
        yield
