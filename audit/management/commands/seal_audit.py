"""`manage.py seal_audit`: seal what is not sealed, once or, in place of the server, for ever.

With AUDIT_SEAL_SECONDS=0 the server leaves sealing to this command under a user of its own, who
alone can read the key.
"""

from __future__ import annotations

import argparse
import logging
import re
import signal
import sys
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections, connection, transaction
from django.utils import timezone

from audit import stored_entries, trail
from audit.models import Outcome
from audit.seal_format import key_id_of
from audit.sealer import Sealed, Sealer, SealingFiles
from audit.sealing import SealedBatch, SealingRefused
from audit.sealing_key import KeyRefused, load_private_key, make_new_key
from segments.progress import progress_bar

logger = logging.getLogger(__name__)

SEALED, KEY_CHANGED = "audit.sealed", "audit.key_changed"
WITHIN = timedelta(minutes=1)
"""One round of `--every`, so that Ctrl-C is heard."""


class Command(BaseCommand):
    help = "Seal the audit trail's entries, and anchor the seals."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--every",
            type=seconds,
            metavar="SECONDS",
            help="seal again and again until Ctrl-C, in place of the server",
        )
        parser.add_argument("--quiet", action="store_true", help="print nothing but failures")
        parser.add_argument(
            "--new-key",
            action="store_true",
            help="first put a new key in the place of the old one, which stays trusted",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.is_quiet: bool = options["quiet"]
        self.by = trail.Actor.command("seal_audit")
        files = SealingFiles.of(settings)
        sealer = Sealer(files, by=lambda: trail.Actor.command("seal_audit"))
        if options["new_key"]:
            self.change_key(files)
        else:
            self.record_start(sealer, every=options["every"])
        if options["every"]:
            self.seal_every(options["every"], sealer)
        else:
            self.seal_all(sealer)

    def change_key(self, files: SealingFiles) -> None:
        """One entry, which the new key seals; neither without the other."""
        try:
            old = id_of_key(files.key)
            with transaction.atomic():
                new = make_new_key(
                    files.key,
                    files.public_keys,
                    record=lambda key_id: trail.record(
                        KEY_CHANGED,
                        by=self.by,
                        target=("audit_key", key_id),
                        details={"replaced": old},
                    ),
                ).key_id
        except KeyRefused as error:
            self.refuse(KEY_CHANGED, error)
        self.say(f"The trail is sealed with the new key {new}; keep a copy of {files.public_keys}.")

    def record_start(self, sealer: Sealer, *, every: int | None) -> None:
        """The one entry of this run, before it seals, so that it is sealed too."""
        try:
            sealer.check_anchors(sealer.files.signer())
        except (KeyRefused, SealingRefused) as error:
            self.refuse(SEALED, error)
        if every:
            trail.record(SEALED, by=self.by, details={"every_seconds": every})
        else:
            n_waiting = stored_entries.n_unsealed(above=0)
            trail.record(SEALED, by=self.by, n_items=n_waiting + 1)

    def refuse(self, action: str, error: Exception) -> NoReturn:
        trail.record(action, by=self.by, outcome=Outcome.FAILED, details={"reason": str(error)})
        raise CommandError(str(error)) from error

    def seal_all(self, sealer: Sealer) -> None:
        n_all, n_done = stored_entries.n_unsealed(above=0), 0
        with progress_bar("Sealing", sys.stderr) as report:

            def show(batch: SealedBatch) -> None:
                nonlocal n_done
                n_done += batch.n_entries
                report(min(1.0, n_done / max(n_all, 1)), f"seal {batch.seal.no:,}")

            try:
                sealed = sealer.seal(now=timezone.now, on_seal=show)
            except (KeyRefused, SealingRefused) as error:
                raise CommandError(str(error)) from error
        self.tell(sealed, sealer)

    def seal_every(self, every: int, sealer: Sealer) -> None:
        stopping = Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: stopping.set())
        while not stopping.is_set():
            close_old_connections()
            try:
                sealed = sealer.seal(now=timezone.now, within=WITHIN)
                if sealed.n_seals:
                    self.tell(sealed, sealer)
            except (KeyRefused, SealingRefused) as error:
                self.stderr.write(str(error))
            except Exception:  # whatever it is, the next round must not miss out
                logger.exception("A round of sealing failed")
                connection.close()
            if not sealer.is_catching_up:
                stopping.wait(every)

    def tell(self, sealed: Sealed, sealer: Sealer) -> None:
        entries = "1 entry" if sealed.n_entries == 1 else f"{sealed.n_entries:,} entries"
        seals = "1 seal" if sealed.n_seals == 1 else f"{sealed.n_seals:,} seals"
        self.say(f"{entries} sealed by {seals}." if sealed.n_seals else "Everything is sealed.")
        if sealer.anchor_problem:
            self.stderr.write(f"The seals are not anchored: {sealer.anchor_problem}")

    def say(self, line: str) -> None:
        if not self.is_quiet:
            self.stdout.write(line)
            self.stdout.flush()


def id_of_key(path: Path) -> str:
    """Empty when there is no such file. Raises `KeyRefused`."""
    return key_id_of(load_private_key(path).public_key()) if path.exists() else ""


def seconds(text: str) -> int:
    """Raises `ArgumentTypeError` for what is no number from 1 to 86,400."""
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 86_400:
        raise argparse.ArgumentTypeError("must be a whole number of seconds from 1 to 86400")
    return int(text)
