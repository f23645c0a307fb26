"""`manage.py prune_audit --before DATE`: remove old entries and leave a signed record of it."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit import pruning, trail
from audit.models import AuditSeal
from audit.moments import moment
from audit.refusals import record_refusal, refusals_recorded
from audit.sealer import Sealer, SealingFiles
from audit.sealing import SealingRefused
from audit.sealing_key import KeyRefused, trusted_keys
from audit.whole_seals import NotWhole
from segments.progress import progress_bar

KEPT = timedelta(days=1)
"""What the server reads of the trail is younger: calls not yet counted, erasures beside a check."""


class Command(BaseCommand):
    help = (
        "Remove the entries of the oldest seals, as far as all of them are older than a date. "
        "The seals stay, and a signed record says what went."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--before",
            type=moment,
            required=True,
            metavar="DATE",
            help="a day such as 2026-01-31, or a moment; UTC unless it says otherwise",
        )
        parser.add_argument("--dry-run", action="store_true", help="only say what would go")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        by = trail.Actor.command("prune_audit")
        with refusals_recorded(pruning.PRUNED, CommandError, by=by, target=pruning.TARGET):
            self.prune(by, **options)
        if not by.n_recorded:
            record_refusal(pruning.PRUNED, "nothing-removed", by=by, target=pruning.TARGET)

    def prune(self, by: trail.Actor, **options: Any) -> None:
        before: datetime = options["before"]
        if before > timezone.now():
            raise CommandError(f"{before.isoformat()} is still to come.")
        if before > timezone.now() - KEPT:
            raise CommandError("Entries of the last 24 hours stay: the server still reads them.")
        if not AuditSeal.objects.exists():
            self.stdout.write("Nothing to prune: nothing was sealed yet.")
            return
        try:
            self._prune(before, by=by, is_trial=options["dry_run"], is_agreed=options["yes"])
        except NotWhole as error:
            raise CommandError(
                f"{error} Nothing was pruned, for that may be evidence: `manage.py verify_audit` "
                "says what else does not fit."
            ) from error
        except (pruning.PruningOvertaken, KeyRefused, SealingRefused) as error:
            raise CommandError(str(error)) from error

    def _prune(self, before: datetime, *, by: trail.Actor, is_trial: bool, is_agreed: bool) -> None:
        keys = trusted_keys(settings.AUDIT_PUBLIC_KEYS)
        with progress_bar("Verifying what would go", sys.stderr) as report:
            planned = pruning.plan(before=before, keys=keys, on_progress=report)
        n_unfinished = pruning.n_unfinished(keys)
        if n_unfinished:
            self.stdout.write(f"{n_unfinished:,} entries of an interrupted pruning are still here.")
        if planned:
            self.stdout.write(
                f"{planned.n_entries:,} entries of seals {planned.first} to {planned.last} are "
                f"older than {before.isoformat()}; they verify."
            )
        if not planned and not n_unfinished:
            self.stdout.write(
                f"Nothing to prune: no further seal has only entries from before "
                f"{before.isoformat()}."
            )
            return
        if is_trial:
            self.stdout.write("Nothing was removed.")
            return
        if not is_agreed and not self._is_agreed():
            raise CommandError("Nothing was removed.")
        if planned:
            sealer = Sealer(SealingFiles.of(settings), by=lambda: by)
            signer = sealer.files.signer()
            sealer.check_anchors(signer)
            stored = pruning.record(planned, signer=signer, by=by, at=timezone.now())
            sealer.check_anchors(signer)
            self.stdout.write(f"The record is seal {stored.seal.no}, digest {stored.digest}.")
            if sealer.anchor_problem:
                self.stderr.write(f"It is not anchored: {sealer.anchor_problem}")
        else:
            pruning.leave_entry_of_finishing(keys, by=by)
        with progress_bar("Removing entries", sys.stderr) as report:
            deleted = pruning.delete(keys, on_progress=report)
        self.stdout.write(
            f"{deleted.n_entries:,} entries were removed; the longest transaction took "
            f"{deleted.longest_seconds * 1000:.0f} ms."
        )

    def _is_agreed(self) -> bool:
        if not sys.stdin.isatty():
            raise CommandError("Nobody can be asked here; add --yes. Nothing was removed.")
        return input("Remove them for good? [y/N] ").strip().lower() in ("y", "yes")
