"""`manage.py create_api_key NAME --scopes predict segments:read`: shown once."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive, make_aware

from access.keys import CREATED, create_key
from access.scopes import Scope
from audit import trail
from audit.refusals import refusals_recorded


class Command(BaseCommand):
    help = "Create an API key; without a scope it may do nothing. The key is shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--scopes", nargs="+", default=[], choices=Scope.values)
        parser.add_argument("--expires", help="moment, such as 2030-01-31T00:00:00")
        parser.add_argument("--rate", default="", help="its own rate, such as 600/m")

    def handle(self, *args: Any, **options: Any) -> None:
        expires_at = None
        if options["expires"]:
            try:
                expires_at = parse_datetime(options["expires"])
            except ValueError:  # of the right form, and no day of any calendar
                expires_at = None
            if expires_at is None:
                raise CommandError("--expires must be a moment such as 2030-01-31T00:00:00")
            if is_naive(expires_at):
                expires_at = make_aware(expires_at)
        by = trail.Actor.command("create_api_key")
        try:
            with refusals_recorded(CREATED, ValidationError, by=by, target=("api_key", "")):
                key, secret = create_key(
                    name=options["name"],
                    scopes=options["scopes"],
                    rate=options["rate"],
                    expires_at=expires_at,
                    by=by,
                )
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        self.stdout.write(f"{key.name} ({key.prefix}), scopes: {', '.join(key.scopes) or 'none'}")
        self.stdout.write("The key, shown this once:")
        self.stdout.write(secret)
