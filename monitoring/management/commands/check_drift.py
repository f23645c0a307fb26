"""`manage.py check_drift`: compare current customers with the reference; for cron.

Exit codes: 0 no drift (a warning too), 3 drift, 4 insufficient data, 1 failure.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.console import Console

from audit import trail
from audit.models import Outcome
from modelregistry.activation import NoActiveVersion
from modelregistry.models import ActiveModel, ModelType
from monitoring import outbox, schedule
from monitoring.check_lock import AlreadyRunning, only_one_run
from monitoring.check_words import RunResult, as_json, lines, show
from monitoring.current_customers import Customers, of_stored, of_table
from monitoring.drift_check import AUDIT_ACTION, CheckRun, CheckTerms, check_all
from monitoring.models import Alert, Source, Verdict
from monitoring.moments import moment_of
from segments.refused_imports import refusal_details
from segments.table_problems import InvalidTable, UnreadableTable
from segments.tables import open_table

DELIVER_WITHIN = timedelta(seconds=4)
QUIET = (Verdict.OK, Verdict.WARNING, Verdict.INSUFFICIENT_DATA)


class Command(BaseCommand):
    help = "Compare current customers with the reference of the active versions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--model-type", choices=ModelType.values, help="default: all active")
        parser.add_argument("--input", type=Path, help="a table of current customers")
        parser.add_argument(
            "--since", help="compare customers stored since this moment, such as 2026-01-31T00:00"
        )
        parser.add_argument(
            "--skip-bad-rows",
            action="store_true",
            help="compare the good rows of the table; without it one bad row refuses all",
        )
        parser.add_argument("--json", action="store_true", help="print the run as JSON")
        parser.add_argument(
            "--quiet", action="store_true", help="print nothing unless there is drift or a failure"
        )
        parser.add_argument("--no-email", action="store_true", help="tell nobody; alerts are kept")
        parser.add_argument(
            "--wait", type=float, default=0.0, help="seconds to wait for a run that is under way"
        )
        parser.add_argument(
            "--scheduled", action="store_true", help="run by the monitor, which delivers itself"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        is_scheduled = options["scheduled"]
        self.by = (
            trail.Actor.system("monitor") if is_scheduled else trail.Actor.command("check_drift")
        )
        terms = CheckTerms.of(settings)
        try:
            with only_one_run(directory=settings.DATA_DIR, wait_seconds=options["wait"]):
                run = self.checked(options, terms)
        except AlreadyRunning as error:
            raise CommandError(str(error)) from error
        tried = []
        if not options["no_email"] and not is_scheduled:
            tried = outbox.deliver(
                channels=terms.channels, at=timezone.now, within=DELIVER_WITHIN, by=self.by
            )
        open_alerts = list(Alert.objects.unresolved().order_by("-last_seen_at", "-pk"))
        result = RunResult(run, open_alerts, tried)
        if not options["quiet"] or result.verdict not in QUIET:
            self.show(result, as_json_text=options["json"])
        sys.exit(result.exit_code)

    def checked(self, options: dict[str, Any], terms: CheckTerms) -> CheckRun:
        now = timezone.now()
        try:
            model_types = checked_types(options["model_type"])
            customers = current_customers(options, left_out=self.stderr.write)
        except (UnreadableTable, InvalidTable, NoActiveVersion) as error:
            record_refusal(error, model_type=options["model_type"], by=self.by)
            is_in_rows = isinstance(error, InvalidTable)
            hint = "; --skip-bad-rows compares the others" if is_in_rows else ""
            raise CommandError(f"{error}{hint}") from error
        run = check_all(
            model_types,
            customers,
            terms=terms,
            by=self.by,
            at=now,
            with_mail=not options["no_email"],
        )
        if options["scheduled"]:
            schedule.succeeded()
        elif customers is None and options["model_type"] is None:
            schedule.ran(at=now)
        return run

    def show(self, result: RunResult, *, as_json_text: bool) -> None:
        if as_json_text:
            self.stdout.write(json.dumps(as_json(result), indent=2))
        elif self.stdout.isatty():
            show(result, Console())
        else:
            for line in lines(result):
                self.stdout.write(line)


def record_refusal(
    error: UnreadableTable | InvalidTable | NoActiveVersion,
    *,
    model_type: str | None,
    by: trail.Actor,
) -> None:
    """The entry of a run that compared nothing."""
    details: dict[str, object] = {"code": "no-active-version"}
    outcome = Outcome.FAILED
    if not isinstance(error, NoActiveVersion):
        outcome, details = Outcome.REFUSED, refusal_details(error)
    target = ("model_type", model_type) if model_type else ("", "")
    trail.record(AUDIT_ACTION, by=by, target=target, outcome=outcome, details=details)


def checked_types(model_type: str | None) -> list[str]:
    """The types to check. Raises `NoActiveVersion`."""
    active = ActiveModel.objects.filter(active__isnull=False).order_by("model_type")
    found = list(active.values_list("model_type", flat=True))
    if model_type and model_type not in found:
        raise NoActiveVersion(model_type)
    if not found:
        raise NoActiveVersion("any model type")
    return [model_type] if model_type else found


def current_customers(
    options: dict[str, Any], *, left_out: Callable[[str], object]
) -> Customers | None:
    """Those of a file or since a moment; None for the recent ones, which each version knows.

    `left_out` is told of the bad rows of a file that are skipped.
    """
    if options["input"] and options["since"]:
        raise CommandError("Give --input or --since, not both.")
    if options["input"]:
        table = open_table(options["input"])
        if not options["skip_bad_rows"]:
            table.require_no_problems()
        elif table.n_bad_rows:
            found = InvalidTable(table.problems, table.n_problems)
            left_out(f"Rows left out: {table.n_bad_rows:,}. {found}")
        return of_table(table)
    if options["since"]:
        since = moment_of(options["since"])
        if since is None:
            raise CommandError("--since must be a moment such as 2026-01-31T00:00")
        return of_stored(since, source=Source.CHOSEN)
    return None
