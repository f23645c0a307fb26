"""`manage.py rotate_api_key PREFIX [--overlap HOURS]`: a key in place of another, shown once."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from access.keys import MAX_OVERLAP_HOURS, OVERLAP_HOURS, ROTATED, rotate
from access.models import ApiKey
from audit import trail
from audit.refusals import record_refusal, refusals_recorded


class Command(BaseCommand):
    help = "Issue a key with the same rights; for the overlap both work. It is shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", help="the 8 characters that the list of keys shows")
        parser.add_argument(
            "--overlap",
            type=int,
            default=OVERLAP_HOURS,
            metavar="HOURS",
            help=f"how long the old key still works: 0 to {MAX_OVERLAP_HOURS}, {OVERLAP_HOURS} "
            "unless told",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        by = trail.Actor.command("rotate_api_key")
        key = ApiKey.objects.filter(pk=options["prefix"]).first()
        if key is None:
            record_refusal(ROTATED, "unknown-key", by=by, target=("api_key", ""))
            raise CommandError("There is no key with this prefix.")
        try:
            with refusals_recorded(ROTATED, ValidationError, by=by, target=("api_key", key.pk)):
                new, secret = rotate(key, by=by, overlap_hours=options["overlap"])
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        key.refresh_from_db()
        self.stdout.write(f"{new.name} ({key.pk}) works until {key.expiry_date:%Y-%m-%d %H:%M} UTC")
        self.stdout.write(f"{new.name} ({new.pk}) takes its place. The key, shown this once:")
        self.stdout.write(secret)
