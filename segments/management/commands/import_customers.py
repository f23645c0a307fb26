"""`manage.py import_customers FILE`: upsert customers from CSV, TSV, Parquet or gzipped text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit import trail
from modelregistry.artifacts import DamagedArtifact
from segments.assignment import assign_to_current_versions
from segments.importing import import_customers
from segments.imports import noted_import
from segments.models import ImportKind
from segments.progress import progress_bar
from segments.table_problems import InvalidTable, UnreadableTable

SHOWN_PROBLEMS = 20


class Command(BaseCommand):
    # For other commands only: nobody should empty the table by a slip on the command line.
    stealth_options = ("replaces_all",)
    help = "Import customers from a CSV, TSV, Parquet or gzipped file; existing ids are updated."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--id", dest="id_column", help="the column that holds the ids")
        parser.add_argument(
            "--skip-bad-rows",
            action="store_true",
            help="import the good rows and write the others to FILE.rejects.csv",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        by = trail.Actor.command("import_customers")
        try:
            with (
                noted_import(path, ImportKind.CUSTOMERS, by=by) as noted,
                progress_bar(f"Importing {path.name}", sys.stderr) as report,
            ):
                result = import_customers(
                    path,
                    by=by,
                    id_column=options["id_column"],
                    skip_bad_rows=options["skip_bad_rows"],
                    rejects=path.with_name(f"{path.name}.rejects.csv"),
                    replaces_all=options.get("replaces_all", False),
                    elsewhere=settings.ERASED_ELSEWHERE,
                    on_progress=report,
                    on_stored=noted.stored,
                )
        except UnreadableTable as error:
            raise CommandError(str(error)) from error
        except InvalidTable as error:
            raise CommandError(refusal(error)) from error
        for note in result.notes:
            self.stdout.write(note)
        self.stdout.write(
            f"{result.n_created:,} customers created, {result.n_updated:,} updated, "
            f"{result.n_rejected:,} rejected."
        )
        if result.rejects:
            self.stdout.write(f"The rejected rows are in {result.rejects}.")
        try:
            for note in assign_to_current_versions(directory=settings.MODEL_DIR):
                self.stdout.write(note)
        except DamagedArtifact as error:
            self.stderr.write(f"The customers have no segment yet: {error}")


def refusal(error: InvalidTable) -> str:
    lines = [f"Nothing was imported: {error.n_problems:,} problems."]
    for problem in error.problems[:SHOWN_PROBLEMS]:
        column = f", column {problem.column}" if problem.column else ""
        lines.append(f"  line {problem.line}{column}: {problem.detail}")
    if error.n_problems > SHOWN_PROBLEMS:
        lines.append(f"  and {error.n_problems - SHOWN_PROBLEMS:,} more")
    lines.append("Correct the file, or import the good rows with --skip-bad-rows.")
    return "\n".join(lines)
