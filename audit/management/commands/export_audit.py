"""`manage.py export_audit FILE.zip`: sealed entries as a bundle that proves itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit import trail
from audit.bundle import EXPORTED, ExportRefused, Selection, export
from audit.moments import moment
from audit.refusals import refusals_recorded
from audit.sealing_key import KeyRefused, trusted_keys
from audit.whole_seals import NotWhole
from segments.progress import progress_bar


class Command(BaseCommand):
    help = "Write sealed entries, their proofs and what verifies them to a zip file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE.zip")
        parser.add_argument("--since", type=moment, metavar="DATE", help="entries from then on")
        parser.add_argument("--until", type=moment, metavar="DATE", help="entries before then")
        parser.add_argument("--request-id", default="", metavar="ID")
        parser.add_argument("--entry", type=int, nargs="+", default=[], metavar="ID")
        parser.add_argument("--target", nargs=2, metavar=("TYPE", "ID"))

    def handle(self, *args: Any, **options: Any) -> None:
        by = trail.Actor.command("export_audit")
        with refusals_recorded(EXPORTED, CommandError, by=by):
            self.export(by, **options)

    def export(self, by: trail.Actor, **options: Any) -> None:
        path: Path = options["file"]
        try:
            with progress_bar(f"Exporting to {path.name}", sys.stderr) as report:
                bundle = export(
                    path,
                    Selection(
                        since=options["since"],
                        until=options["until"],
                        request_id=options["request_id"],
                        ids=frozenset(options["entry"]),
                        target=options["target"] and tuple(options["target"]),
                    ),
                    keys=trusted_keys(settings.AUDIT_PUBLIC_KEYS),
                    by=by,
                    at=timezone.now(),
                    on_progress=report,
                )
        except NotWhole as error:
            raise CommandError(
                f"{error} Nothing was written: `manage.py verify_audit` says what else does not "
                "fit."
            ) from error
        except (ExportRefused, KeyRefused) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
        self.stdout.write(
            f"{bundle.n_entries:,} entries and {bundle.n_seals:,} seals are in {path}, SHA-256 "
            f"{bundle.sha256}."
        )
        if bundle.n_unsealed:
            self.stdout.write(f"{bundle.n_unsealed:,} that are not sealed yet were left out.")
        self.stdout.write(
            f"python -m audit.verify_bundle {path} --public-keys KEYS.pem --anchor ANCHORS.log"
        )
