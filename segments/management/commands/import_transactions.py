"""`manage.py import_transactions FILE`: raw transactions into RFM attributes of customers."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit import trail
from modelregistry.artifacts import DamagedArtifact
from segments.assignment import assign_to_current_versions
from segments.imports import noted_import
from segments.management.commands.import_customers import refusal
from segments.models import ImportKind
from segments.progress import progress_bar
from segments.table_problems import InvalidTable, UnreadableTable
from segments.transaction_columns import UntoldColumn
from segments.transactions import TransactionsImport, import_transactions


class Command(BaseCommand):
    help = (
        "Turn transactions (CSV, TSV, Parquet or gzipped) into recency_days, frequency, monetary "
        "and tenure_days of each customer as of a day. The days of one customer with a positive "
        "amount are the purchases; negative amounts (returns) lower monetary, down to 0, and are "
        "no purchases. Other attributes stay; customers without a purchase are left as they are."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        for role in ("customer", "date", "amount"):
            parser.add_argument(
                f"--{role}", metavar="COLUMN", help=f"the {role} column, if its name does not tell"
            )
        parser.add_argument(
            "--invoice",
            metavar="COLUMN",
            help="count the distinct invoices of this column as purchases, not the days",
        )
        parser.add_argument(
            "--as-of",
            type=day,
            metavar="DATE",
            help="YYYY-MM-DD; transactions after it are left out (default: the day after the last)",
        )
        parser.add_argument(
            "--skip-bad-rows",
            action="store_true",
            help="import the good rows and write the others to FILE.rejects.csv",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        by = trail.Actor.command("import_transactions")
        try:
            with (
                noted_import(path, ImportKind.TRANSACTIONS, by=by) as noted,
                progress_bar(f"Importing {path.name}", sys.stderr) as report,
            ):
                result = import_transactions(
                    path,
                    by=by,
                    customer_column=options["customer"],
                    date_column=options["date"],
                    amount_column=options["amount"],
                    invoice_column=options["invoice"],
                    as_of=options["as_of"],
                    skip_bad_rows=options["skip_bad_rows"],
                    rejects=path.with_name(f"{path.name}.rejects.csv"),
                    on_progress=report,
                    on_stored=noted.stored_counts,
                )
        except UntoldColumn as error:
            raise CommandError(f"{error} Name it with --{error.role} COLUMN.") from error
        except UnreadableTable as error:
            raise CommandError(str(error)) from error
        except InvalidTable as error:
            raise CommandError(refusal(error)) from error
        for line in described(result, is_default_day=options["as_of"] is None):
            self.stdout.write(line)
        try:
            for note in assign_to_current_versions(directory=settings.MODEL_DIR):
                self.stdout.write(note)
        except DamagedArtifact as error:
            self.stderr.write(f"The customers have no segment yet: {error}")


def described(result: TransactionsImport, *, is_default_day: bool) -> list[str]:
    """What was done, with every choice that was made for the person."""
    columns = result.columns
    unit = f"invoices of {columns.invoice}" if columns.invoice else f"days of {columns.date}"
    day = ", the day after the last transaction" if is_default_day else ""
    left_out = {
        f"transactions after {result.as_of} left out": result.n_later,
        "transactions without a customer left out": result.n_anonymous,
        "transactions rejected": result.n_rejected,
        "customers without a purchase left out (no amount over 0)": result.n_without_purchase,
        "customers returned as much as they bought, or more: monetary 0": result.n_given_back,
    }
    lines = [
        f"Customers are told by {columns.customer}, purchases by the {unit}, "
        f"amounts by {columns.amount}.",
        *result.notes,
        f"As of {result.as_of}{day}.",
        *(f"{count:,} {text}." for text, count in left_out.items() if count),
        f"{result.n_transactions:,} transactions: {result.n_created:,} customers created, "
        f"{result.n_updated:,} updated.",
    ]
    if result.rejects:
        lines.append(f"The rejected rows are in {result.rejects}.")
    return lines


def day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is no date: YYYY-MM-DD") from error
