"""`manage.py erase_customer ID`: erase a customer everywhere and print the receipt."""

from __future__ import annotations

from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit import trail
from audit.refusals import refusals_recorded
from modelregistry.artifacts import DamagedArtifact
from segments.customer_digests import customer_digest
from segments.erasure import (
    ERASED,
    ErasureConflict,
    UnknownCustomer,
    erase,
    receipt_of,
    receipt_words,
)

REFUSALS = (UnknownCustomer, ErasureConflict, DamagedArtifact)


class Command(BaseCommand):
    help = "Erase a customer from the tables, the models and all that is kept elsewhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("customer_id", metavar="ID")
        parser.add_argument("--json", action="store_true", help="print the receipt as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        by = trail.Actor.command("erase_customer")
        digest = customer_digest(options["customer_id"], secret=settings.SECRET_KEY)
        try:
            with refusals_recorded(ERASED, *REFUSALS, by=by, target=("customer", digest)):
                erasure = erase(
                    [options["customer_id"]],
                    by=by,
                    directory=settings.MODEL_DIR,
                    secret=settings.SECRET_KEY,
                    elsewhere=settings.ERASED_ELSEWHERE,
                )
        except REFUSALS as error:
            raise CommandError(str(error)) from error
        receipt = receipt_of(erasure)
        if options["json"]:
            self.stdout.write(msgspec.json.format(msgspec.json.encode(receipt)).decode())
            return
        self.stdout.write(receipt_words(erasure))
        for title, name in (("Kept", "kept"), ("Not erased at once", "not_erased_at_once")):
            self.stdout.write(f"{title}:")
            for sentence in receipt[name]:
                self.stdout.write(f"  {sentence}")
