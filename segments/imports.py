"""Imports as people ask for them: a file is uploaded, looked at, confirmed, and may be cancelled.

uploaded -> queued -> running -> succeeded, failed or cancelled; `segments.import_runs` does the
work. An import by a command is noted when it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_q.tasks import async_task

from audit import trail
from modelregistry.models import JobState, TrainingJob
from segments.heartbeat import lost_after
from segments.import_files import keep_upload, kept_file, plain_name, remove_upload
from segments.import_preview import require_readable
from segments.importing import ImportResult
from segments.models import CustomerImport, ImportKind, ImportState
from segments.processes import is_running
from segments.refused_imports import refusals_recorded
from segments.table_problems import MAX_PROBLEMS, InvalidTable, RowProblem, UnreadableTable

TARGET = "customer_import"
UPLOADED = "customers.file_uploaded"
MAX_UPLOADED = 20
"""Uploads that wait for a look at a time: each is a file on the disk."""
MAX_ERROR = 1_000
STOPPABLE = (ImportState.UPLOADED, ImportState.QUEUED, ImportState.RUNNING)
PENDING = (ImportState.QUEUED, ImportState.RUNNING)


class ImportConflict(Exception):
    """The import is no longer in a state that allows this."""


def receive(chunks: Iterable[bytes], name: str, *, by: trail.Actor) -> CustomerImport:
    """Keep an uploaded file until somebody has looked at it.

    Raises `ImportConflict` when too many wait, and `UnreadableTable` for what is no table; then
    nothing is kept.
    """
    if CustomerImport.objects.filter(state=ImportState.UPLOADED).count() >= MAX_UPLOADED:
        raise ImportConflict(
            f"{MAX_UPLOADED} uploaded files wait to be looked at: import or discard some first."
        )
    name = plain_name(name)
    token, n_bytes = keep_upload(chunks, name, directory=settings.DATA_DIR)
    path = kept_file(token, name, directory=settings.DATA_DIR)
    try:
        with refusals_recorded(UPLOADED, path, by=by):
            require_readable(path)
        with transaction.atomic():
            row = CustomerImport.objects.create(
                file_name=name,
                n_bytes=n_bytes,
                upload=token,
                uploaded_at=timezone.now(),
                imported_by=by.label[:200],
                imported_by_id=by.id[:150],
            )
            details = {"file": name, "n_bytes": n_bytes}
            trail.record(UPLOADED, by=by, target=(TARGET, row.pk), details=details)
    except UnreadableTable as error:
        remove_upload(token, directory=settings.DATA_DIR)
        raise UnreadableTable(words_of(error, path)) from error
    except BaseException:
        remove_upload(token, directory=settings.DATA_DIR)
        raise
    return row


@transaction.atomic
def queue_import(
    import_id: int,
    *,
    id_column: str | None,
    columns: Sequence[str | None] | None,
    skip_bad_rows: bool,
    by: trail.Actor,
) -> CustomerImport:
    """Leave an uploaded file to the background worker. Raises `ImportConflict`."""
    row = CustomerImport.objects.select_for_update().get(pk=import_id)
    if row.state != ImportState.UPLOADED:
        raise ImportConflict(f"Import {import_id} is {row.state} already.")
    row.state, row.queued_at = ImportState.QUEUED, timezone.now()
    row.id_column, row.skip_bad_rows = id_column or "", skip_bad_rows
    row.columns = None if columns is None else list(columns)
    row.save(update_fields=["state", "queued_at", "id_column", "skip_bad_rows", "columns"])
    left_out = 0 if columns is None else sum(name is None for name in columns)
    trail.record(
        "customers.import_queued",
        by=by,
        target=(TARGET, row.pk),
        details={
            "file": row.file_name,
            "id_column": id_column,
            "n_columns_left_out": left_out,
            "skip_bad_rows": skip_bad_rows,
        },
    )
    transaction.on_commit(lambda: async_task("segments.import_runs.run_queued_import", row.pk))
    return row


@transaction.atomic
def cancel_import(import_id: int, *, by: trail.Actor) -> CustomerImport:
    """Discard one that has not begun; ask a running one to stop, which then imports nothing.

    Raises `ImportConflict` when it has ended, has stored its customers or was asked already.
    """
    row = CustomerImport.objects.select_for_update().get(pk=import_id)
    now = timezone.now()
    if row.state in (ImportState.UPLOADED, ImportState.QUEUED):
        row.state, row.finished_at = ImportState.CANCELLED, now
        action = "customers.import_cancelled"
        token = row.upload
        transaction.on_commit(lambda: remove_upload(token, directory=settings.DATA_DIR))
    elif row.state == ImportState.RUNNING and not (row.stored_at or row.cancel_requested_at):
        action = "customers.import_cancel_requested"
    else:
        raise ImportConflict(f"Import {import_id} cannot be cancelled: {_why_not(row)}.")
    row.cancel_requested_at, row.error = now, f"Cancelled by {by.label}."
    row.save(update_fields=["state", "finished_at", "cancel_requested_at", "error"])
    trail.record(action, by=by, target=(TARGET, row.pk), details={"file": row.file_name})
    return row


def _why_not(row: CustomerImport) -> str:
    if row.state != ImportState.RUNNING:
        return f"it is {row.state}"
    return "its customers are stored" if row.stored_at else "it is stopping"


def latest_imports(n: int) -> list[CustomerImport]:
    """The newest imports that began or ended, by whichever door."""
    return list(CustomerImport.objects.exclude(state=ImportState.UPLOADED)[:n])


def notice_of(row: CustomerImport, *, at: datetime) -> str:
    """What a person who waits for it should know; empty when all is as it should be."""
    if row.state == ImportState.RUNNING:
        if row.cancel_requested_at is not None:
            return f"{row.error} It stops at its next step, and nothing is imported."
        if is_lost(row, at=at):
            return "Its process gives no sign of life; it will soon be marked as failed."
    if row.state != ImportState.QUEUED:
        return ""
    other = CustomerImport.objects.filter(state=ImportState.RUNNING).first()
    if other is not None:
        return f"It waits for import {other.pk}, which is running."
    job = TrainingJob.objects.filter(state=JobState.RUNNING).order_by("pk").first()
    if job is not None:
        return f"It waits for training job {job.pk}, which is running."
    if at - (row.queued_at or at) < lost_after():
        return ""
    return "No worker has taken it: `manage.py serve` runs one, `manage.py worker` one alone."


def is_lost(row: CustomerImport, *, at: datetime) -> bool:
    """By its process, which may be too busy to beat; where that cannot be known by its heart."""
    known = is_running(row.process)
    if known is None:
        return row.heartbeat_at is None or at - row.heartbeat_at > lost_after()
    return not known


def shown_problems(problems: Sequence[RowProblem]) -> list[list[int | str | None]]:
    """Line, column and what is wrong, as a row keeps them."""
    return [[each.line, each.column, each.detail] for each in problems[:MAX_PROBLEMS]]


@dataclass(slots=True)
class NotedImport:
    """An import by a command; `stored` and `stored_counts` are called in its transaction."""

    path: Path
    kind: ImportKind
    by: trail.Actor
    began_at: datetime = field(default_factory=timezone.now)

    def stored(self, result: ImportResult) -> None:
        self._note(
            ImportState.SUCCEEDED,
            n_created=result.n_created,
            n_updated=result.n_updated,
            n_rejected=result.n_rejected,
            n_problems=result.n_problems,
            problems=shown_problems(result.problems),
            notes=list(result.notes),
            id_column=result.id_column or "",
            stored_at=timezone.now(),
        )

    def stored_counts(self, n_created: int, n_updated: int, n_rejected: int) -> None:
        self._note(
            ImportState.SUCCEEDED,
            n_created=n_created,
            n_updated=n_updated,
            n_rejected=n_rejected,
            stored_at=timezone.now(),
        )

    def refused(self, error: UnreadableTable | InvalidTable) -> None:
        problems = error.problems if isinstance(error, InvalidTable) else ()
        self._note(
            ImportState.FAILED,
            error=words_of(error, self.path),
            n_problems=getattr(error, "n_problems", 0),
            problems=shown_problems(problems),
        )

    def _note(self, state: ImportState, **fields: object) -> None:
        now = timezone.now()
        CustomerImport.objects.create(
            kind=self.kind,
            state=state,
            file_name=plain_name(self.path.name),
            n_bytes=self.path.stat().st_size if self.path.is_file() else 0,
            uploaded_at=self.began_at,
            queued_at=self.began_at,
            started_at=self.began_at,
            finished_at=now,
            progress=1.0 if state == ImportState.SUCCEEDED else 0.0,
            imported_by=self.by.label[:200],
            imported_by_id=self.by.id[:150],
            **fields,
        )


@contextmanager
def noted_import(path: Path, kind: ImportKind, *, by: trail.Actor) -> Iterator[NotedImport]:
    """Note how the import of a command ends; a refusal goes on."""
    noted = NotedImport(path, kind, by)
    try:
        yield noted
    except (UnreadableTable, InvalidTable) as error:
        noted.refused(error)
        raise


def words_of(error: Exception, path: Path) -> str:
    """A refusal for a person, who knows the file by its name."""
    if isinstance(error, InvalidTable):
        return f"Nothing was imported: the table has {error.n_problems:,} problems."
    return str(error).replace(str(path), path.name)[:MAX_ERROR]
