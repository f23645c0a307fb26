"""Importing a customer table: all of it or, when told so, all but the bad rows."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import IO

import msgspec
from django.db import transaction
from django.utils import timezone

from audit import trail
from audit.models import AuditEntry, Outcome
from segments.customers import encoded, upsert_encoded
from segments.erasure import forget_elsewhere
from segments.models import Customer
from segments.refused_imports import refusals_recorded
from segments.table_problems import RowProblem, UnreadableTable
from segments.table_sources import file_sha256
from segments.tables import CustomerTable, open_table

IMPORTED = "customers.imported"
Progress = Callable[[float, str], None]
NOWHERE: Mapping[str, str] = MappingProxyType({})

_decode = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did; `rejects` is the file of refused rows, if any.

    `problems` are the first of the `n_problems` that the refused rows have.
    """

    n_created: int
    n_updated: int
    n_rejected: int
    id_column: str | None
    notes: tuple[str, ...]
    problems: tuple[RowProblem, ...] = ()
    n_problems: int = 0
    rejects: Path | None = None


OnStored = Callable[[ImportResult], None]
"""Called in the transaction of the import, at its end; what it raises undoes the import."""


def import_customers(
    path: Path,
    *,
    by: trail.Actor,
    id_column: str | None = None,
    columns: Sequence[str | None] | None = None,
    skip_bad_rows: bool = False,
    rejects: Path | None = None,
    replaces_all: bool = False,
    elsewhere: Mapping[str, str] = NOWHERE,
    on_progress: Progress = lambda share, step: None,
    on_stored: OnStored = lambda result: None,
) -> ImportResult:
    """Upsert the customers of a file in one transaction, in place of all stored ones if told so.

    `columns` rename and leave out columns, as `open_table` has them.

    Who vanishes by that is forgotten `elsewhere` too, as by an erasure; models stay as they are.
    Raises `UnreadableTable` for a file that is no table and `InvalidTable` for bad rows (unless
    they are to be skipped, into `rejects`); then nothing is imported, and the trail says so.
    """
    with refusals_recorded(IMPORTED, path, by=by):
        table = open_table(
            path,
            id_column=id_column,
            columns=columns,
            on_progress=lambda done, total: on_progress(0.4 * done / max(total, 1), "checking"),
        )
        if not skip_bad_rows:
            table.require_no_problems()
        if table.info.id_column is None and not replaces_all:
            refuse_to_renumber(path, table.info.notes)
        with tempfile.TemporaryFile() as spool:
            for n_read in _spool(table, spool):
                on_progress(0.4 + 0.3 * n_read / table.info.n_rows, "reading")
            spool.seek(0)
            on_progress(0.7, "about to store")
            result = _store(
                table,
                spool,
                path,
                by=by,
                replaces_all=replaces_all,
                elsewhere=elsewhere,
                on_progress=on_progress,
                on_stored=on_stored,
            )
    if result.n_rejected and rejects is not None:
        table.write_rejects(rejects)
        return replace(result, rejects=rejects)
    return result


def refuse_to_renumber(path: Path, notes: Sequence[str]) -> None:
    """Row numbers of one file must not overwrite the customers of another.

    `notes` say why a column that is named like one of ids was not taken.
    """
    last = last_import_of(path)
    was_numbered = last is not None and last.id_column is None
    if Customer.objects.exists() and not was_numbered:
        raise UnreadableTable(
            f"{path}: {'; '.join(notes)}, which could be the ids of customers already stored: name "
            "the column that holds the ids"
        )


@dataclass(frozen=True, slots=True)
class LastImport:
    """What the trail says of the latest import; `id_column` None means row numbers."""

    id_column: str | None
    n_created: int
    n_stored: int


def last_import_of(path: Path) -> LastImport | None:
    """The latest import the trail knows, if it was of a file with this very content."""
    succeeded = AuditEntry.objects.filter(action=IMPORTED, outcome=Outcome.SUCCEEDED)
    latest = succeeded.order_by("-at", "-id").first()
    details = {} if latest is None else json.loads(latest.details)
    if latest is None or details.get("sha256") != file_sha256(path):
        return None
    return LastImport(details["id_column"], details["n_created"], latest.n_items or 0)


def _spool(table: CustomerTable, spool: IO[bytes]) -> Iterator[int]:
    """Write the good rows to a file, a line a batch, and yield how many there are so far.

    Reading a table takes longer than storing it, and nobody else can write meanwhile on SQLite.
    """
    n_rows = 0
    for batch in table.batches():
        rows = {key: encoded(attributes) for key, attributes in batch}
        spool.write(msgspec.json.encode(rows) + b"\n")
        n_rows += len(batch)
        yield n_rows


@transaction.atomic
def _store(
    table: CustomerTable,
    spool: IO[bytes],
    path: Path,
    *,
    by: trail.Actor,
    replaces_all: bool,
    elsewhere: Mapping[str, str],
    on_progress: Progress,
    on_stored: OnStored,
) -> ImportResult:
    """Write the good rows and their audit entry."""
    at = timezone.now()
    n_stored = n_created = 0
    before = set(Customer.objects.values_list("pk", flat=True)) if replaces_all else set()
    n_replaced = len(before)
    if replaces_all:
        Customer.objects.all().delete()
    for line in spool:
        rows = _decode(line)
        n_created += upsert_encoded(rows, at=at)
        n_stored += len(rows)
        before.difference_update(rows)
        on_progress(0.7 + 0.3 * n_stored / table.info.n_rows, "storing")
    n_forgotten = forget_elsewhere(sorted(before), elsewhere) if before else {}
    result = ImportResult(
        n_created=n_created,
        n_updated=n_stored - n_created,
        n_rejected=table.info.n_rows - n_stored,
        id_column=table.info.id_column,
        notes=table.info.notes,
        problems=table.problems,
        n_problems=table.n_problems,
    )
    trail.record(
        IMPORTED,
        by=by,
        target=("file", path.name),
        n_items=n_stored,
        details={
            "n_created": n_created,
            "n_replaced": n_replaced,
            **({"n_vanished": len(before), "forgotten": n_forgotten} if before else {}),
            "n_rejected": result.n_rejected,
            "sha256": file_sha256(path),
            "id_column": result.id_column,
        },
    )
    on_stored(result)
    return result
