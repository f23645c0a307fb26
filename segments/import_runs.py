"""Imports that the background worker runs: one at a time, each once, all of the file or nothing.

The customers, the audit entry and the counts are one transaction, so a process that is killed
leaves either none of them or all; what it left undone is done by whoever looks after imports.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from audit import trail
from audit.models import ActorKind, Outcome
from modelregistry.artifacts import DamagedArtifact
from segments.assignment import assign_to_current_versions
from segments.heartbeat import heartbeat, lost_after
from segments.import_files import kept_file, refuse_bomb, remove_upload, sweep_uploads
from segments.importing import IMPORTED, ImportResult, import_customers
from segments.imports import STOPPABLE, TARGET, is_lost, shown_problems, words_of
from segments.models import CustomerImport, ImportState
from segments.processes import this_process
from segments.refused_imports import refusals_recorded
from segments.table_problems import InvalidTable, UnreadableTable

logger = logging.getLogger(__name__)

LOST = "The process that imported it was stopped. Nothing was imported: upload the file again."
ABANDONED = "Nobody confirmed it within a day, so the file was removed."
ABANDONED_AFTER = timedelta(days=1)
WITHOUT_SEGMENTS = (
    "The process was stopped after the customers were stored, before all had their segments; they "
    "get them at the next import, or when a model is trained or activated."
)
STORING_FROM = 0.9
"""Share of the work that importing takes; finding the segments takes the rest."""
SECONDS_BETWEEN_REPORTS = 0.5


class ImportStopped(Exception):
    """Somebody cancelled it, or took its process for lost."""


def run_queued_import(import_id: int) -> None:
    """The worker's task: import the file unless another worker has it, or it was cancelled.

    What the file or a person did ends the import with its reason; the unexpected is raised as well.
    """
    fail_lost_imports()
    if not _claim(import_id):
        return
    row = CustomerImport.objects.get(pk=import_id)
    try:
        _run(row)
    except (UnreadableTable, InvalidTable, ImportStopped) as ended:
        logger.info("Import %s ended: %s", import_id, type(ended).__name__)


def look_after_imports() -> None:
    """Each minute, and when a worker starts: end lost imports, run the one whose task got lost."""
    fail_lost_imports()
    _cancel_abandoned()
    tokens = CustomerImport.objects.filter(state__in=STOPPABLE).values_list("upload", flat=True)
    sweep_uploads(set(tokens), directory=settings.DATA_DIR)
    left_lying = CustomerImport.objects.filter(
        state=ImportState.QUEUED, queued_at__lt=timezone.now() - lost_after()
    )
    row = left_lying.order_by("queued_at", "pk").first()
    if row is not None:
        run_queued_import(row.pk)


def fail_lost_imports() -> None:
    """End those whose process is gone; whose customers were stored has succeeded."""
    for row in CustomerImport.objects.filter(state=ImportState.RUNNING):
        if is_lost(row, at=timezone.now()):
            _end(CustomerImport.objects.filter(pk=row.pk), LOST, by=trail.Actor.system("watchdog"))


def _claim(import_id: int) -> bool:
    """Whether this process now runs it: one conditional UPDATE, and no other import runs."""
    now = timezone.now()
    queued = CustomerImport.objects.filter(pk=import_id, state=ImportState.QUEUED)
    try:
        with transaction.atomic():
            claimed = queued.update(
                state=ImportState.RUNNING, started_at=now, heartbeat_at=now, process=this_process()
            )
    except IntegrityError:  # `one_import_runs`: it waits in the queue
        return False
    return claimed == 1


def _run(row: CustomerImport) -> None:
    own = CustomerImport.objects.filter(pk=row.pk)
    path = kept_file(row.upload, row.file_name, directory=settings.DATA_DIR)
    by = trail.Actor(ActorKind.SYSTEM, id="worker", label=f"worker, for {row.imported_by}")
    try:
        with heartbeat(own):
            with refusals_recorded(IMPORTED, path, by=by):
                refuse_bomb(path)
            import_customers(
                path,
                by=by,
                id_column=row.id_column or None,
                columns=row.columns,
                skip_bad_rows=row.skip_bad_rows,
                on_progress=_reporter(own),
                on_stored=partial(_stored, own),
            )
            notes = _assign()
    except (UnreadableTable, InvalidTable) as refusal:
        problems = refusal.problems if isinstance(refusal, InvalidTable) else ()
        own.filter(state=ImportState.RUNNING).update(
            state=ImportState.FAILED,
            error=words_of(refusal, path),
            problems=shown_problems(problems),
            n_problems=getattr(refusal, "n_problems", 0),
            finished_at=timezone.now(),
        )
        remove_upload(row.upload, directory=settings.DATA_DIR)
        raise
    except BaseException as error:
        _end(own, f"It failed unexpectedly ({type(error).__name__}); the log says more.", by=by)
        raise
    row.refresh_from_db(fields=["notes"])
    own.filter(state=ImportState.RUNNING).update(
        state=ImportState.SUCCEEDED,
        progress=1.0,
        step="",
        notes=[*row.notes, *notes],
        finished_at=timezone.now(),
    )
    remove_upload(row.upload, directory=settings.DATA_DIR)


def _reporter(own: QuerySet[CustomerImport]) -> Callable[[float, str], None]:
    """Writes the progress, now and then, and stops the import that was cancelled.

    Within the transaction that stores the customers nothing is written: nobody could see it, and
    on PostgreSQL whoever cancels would wait for it.
    """
    going_on = own.filter(state=ImportState.RUNNING, cancel_requested_at=None)
    last_step, last_at = "", 0.0

    def report(share: float, step: str) -> None:
        nonlocal last_step, last_at
        now = time.monotonic()
        if step == last_step and now - last_at < SECONDS_BETWEEN_REPORTS:
            return
        last_step, last_at = step, now
        if step == "storing":
            goes_on = going_on.exists()
        else:
            goes_on = going_on.update(progress=round(STORING_FROM * share, 3), step=step) == 1
        if not goes_on:
            raise ImportStopped

    return report


def _stored(own: QuerySet[CustomerImport], result: ImportResult) -> None:
    """In the transaction of the import: what it did, unless it was cancelled meanwhile."""
    going_on = own.filter(state=ImportState.RUNNING, cancel_requested_at=None)
    if not going_on.update(
        n_created=result.n_created,
        n_updated=result.n_updated,
        n_rejected=result.n_rejected,
        n_problems=result.n_problems,
        problems=shown_problems(result.problems),
        notes=list(result.notes),
        id_column=result.id_column or "",
        stored_at=timezone.now(),
        progress=STORING_FROM,
        step="finding the segments",
    ):
        raise ImportStopped


def _assign() -> list[str]:
    """Give the customers their segments; what to tell where that was not possible."""
    try:
        return assign_to_current_versions(directory=settings.MODEL_DIR)
    except DamagedArtifact as error:
        return [f"The customers have no segment yet: {error}"]


def _end(found: QuerySet[CustomerImport], reason: str, *, by: trail.Actor) -> None:
    """Close one that runs and did not come to its end, with an entry unless it stored."""
    with transaction.atomic():
        row = found.select_for_update().filter(state=ImportState.RUNNING).first()
        if row is None:
            return
        row.finished_at = timezone.now()
        if row.stored_at is not None:
            row.state, row.progress, row.step = ImportState.SUCCEEDED, 1.0, ""
            row.notes = [*row.notes, WITHOUT_SEGMENTS]
        else:
            is_cancelled = row.cancel_requested_at is not None
            row.state = ImportState.CANCELLED if is_cancelled else ImportState.FAILED
            row.error = row.error if is_cancelled else reason
            trail.record(
                "customers.import_cancelled" if is_cancelled else "customers.import_failed",
                by=by,
                target=(TARGET, row.pk),
                outcome=Outcome.SUCCEEDED if is_cancelled else Outcome.FAILED,
                details={"file": row.file_name, "reason": row.error},
            )
        row.save(update_fields=["state", "error", "finished_at", "progress", "step", "notes"])
    remove_upload(row.upload, directory=settings.DATA_DIR)


def _cancel_abandoned() -> None:
    """Remove files that were uploaded, and that nobody wanted to import after all."""
    before = timezone.now() - ABANDONED_AFTER
    for row in CustomerImport.objects.filter(state=ImportState.UPLOADED, uploaded_at__lt=before):
        with transaction.atomic():
            own = CustomerImport.objects.filter(pk=row.pk, state=ImportState.UPLOADED)
            if not own.update(
                state=ImportState.CANCELLED, error=ABANDONED, finished_at=timezone.now()
            ):
                continue
            trail.record(
                "customers.import_cancelled",
                by=trail.Actor.system("watchdog"),
                target=(TARGET, row.pk),
                details={"file": row.file_name, "reason": ABANDONED},
            )
        remove_upload(row.upload, directory=settings.DATA_DIR)
