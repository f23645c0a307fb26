"""`manage.py remove_second_factor NAME`: for who lost the phone and the recovery codes."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from access import second_factor
from audit import trail
from audit.refusals import refusals_recorded


class Command(BaseCommand):
    help = "Let a user sign in with the password alone, until they set up a second factor again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="user name")

    def handle(self, *args: Any, **options: Any) -> None:
        by = trail.Actor.command("remove_second_factor")
        name = options["name"]
        user = User.objects.filter(username=name).first()
        # Only a name there is gets written down: people type passwords anywhere.
        target = ("user", name if user else "")
        with refusals_recorded(second_factor.REMOVED, CommandError, by=by, target=target):
            if user is None:
                raise CommandError(f"user '{name}' does not exist")
            if not second_factor.disable(user, by=by, action=second_factor.REMOVED):
                raise CommandError(f"user '{name}' has no second factor")
        self.stdout.write(f"The second factor of {name} is removed.")
