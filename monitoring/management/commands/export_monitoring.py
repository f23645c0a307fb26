"""`manage.py export_monitoring`: reports, quality, serving figures or alerts as CSV or NDJSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit import trail
from monitoring.export import EXPORTS, write_export
from monitoring.moments import moment_of


class Command(BaseCommand):
    help = "Write a table of monitoring, the oldest row first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("table", choices=sorted(EXPORTS))
        parser.add_argument("--since", help="rows since this moment, such as 2026-01-31T00:00")
        parser.add_argument("--format", choices=["csv", "ndjson"], default="csv")
        parser.add_argument("--output", type=Path, help="a file; default: standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        since = moment_of(options["since"]) if options["since"] else None
        if options["since"] and since is None:
            raise CommandError("--since must be a moment such as 2026-01-31T00:00")
        terms = {
            "as_csv": options["format"] == "csv",
            "since": since,
            "by": trail.Actor.command("export_monitoring"),
        }
        if options["output"] is None:
            write_export(options["table"], self.stdout, **terms)
            return
        try:
            with options["output"].open("w", encoding="utf-8", newline="") as file:
                n_rows = write_export(options["table"], file, **terms)
        except OSError as error:
            raise CommandError(
                f"{options['output']} cannot be written: {error.strerror}."
            ) from error
        self.stdout.write(f"{n_rows:,} rows are in {options['output']}.")
