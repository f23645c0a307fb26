"""`manage.py verify_audit`: whether the trail is as it was sealed; for people, cron and auditors.

Exit codes: 0 clean and anchored, 1 broken, 3 clean but not anchored, 4 could not be verified.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone
from rich.console import Console

from audit import trail
from audit.models import Outcome
from audit.refusals import record_refusal
from audit.sealing_key import KeyRefused, trusted_keys
from audit.verification import Verdict, Verification, verify
from audit.verification_words import EXIT_CODES, as_json, lines, show
from segments.progress import progress_bar

VERIFIED = "audit.verified"
UNVERIFIED = 4


class Command(BaseCommand):
    help = "Verify that the audit trail is as it was sealed, and name what does not fit."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--anchor", type=Path, help="a file of anchors, best a copy from another machine"
        )
        parser.add_argument(
            "--public-keys", type=Path, help="the trusted public keys; default: AUDIT_PUBLIC_KEYS"
        )
        parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
        parser.add_argument(
            "--quiet", action="store_true", help="print nothing unless there is a finding"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        by = trail.Actor.command("verify_audit")
        try:
            keys = trusted_keys(options["public_keys"] or settings.AUDIT_PUBLIC_KEYS)
            with progress_bar("Verifying the trail", sys.stderr) as report:
                found = verify(
                    keys,
                    at=timezone.now(),
                    anchor_file=options["anchor"],
                    progress=lambda share: report(share, ""),
                )
        except KeyRefused as error:
            self.refuse(str(error), by)
        except OSError as error:
            self.refuse(f"The anchors cannot be read: {error}", by)
        except DatabaseError as error:
            words = " ".join(str(error).split())
            raise CommandError(
                f"The database cannot be read: {words}", returncode=UNVERIFIED
            ) from error
        self.record(found, by)
        if not options["quiet"] or found.findings:
            self.show(found, as_json_text=options["json"])
        sys.exit(EXIT_CODES[found.verdict])

    def refuse(self, reason: str, by: trail.Actor) -> NoReturn:
        """End without a verdict, with an entry of it where one can be left."""
        try:
            record_refusal(VERIFIED, "not-verified", by=by)
        except DatabaseError as error:
            self.stderr.write(f"This is not in the trail itself: {error}")
        raise CommandError(reason, returncode=UNVERIFIED)

    def record(self, found: Verification, by: trail.Actor) -> None:
        """Leave the entry of the verification; the verdict is said also where none can be left."""
        try:
            trail.record(
                VERIFIED,
                by=by,
                outcome=Outcome.FAILED if found.verdict == Verdict.BROKEN else Outcome.SUCCEEDED,
                n_items=found.n_entries,
                details={
                    "verdict": found.verdict.value,
                    "n_seals": found.n_seals,
                    "n_unsealed": found.n_unsealed,
                    "n_broken": found.n_broken,
                    "n_warnings": found.n_warnings,
                    "head": found.head_no,
                    "anchored_to": found.anchored_to,
                },
            )
        except (DatabaseError, TypeError) as error:  # TypeError: a trigger swallowed the insert
            words = " ".join(str(error).split())
            self.stderr.write(f"This verification is not in the trail itself: {words}")

    def show(self, found: Verification, *, as_json_text: bool) -> None:
        if as_json_text:
            self.stdout.write(json.dumps(as_json(found), indent=2))
        elif self.stdout.isatty():
            show(found, Console(file=cast(TextIO, self.stdout)))
        else:
            for line in lines(found):
                self.stdout.write(line)
