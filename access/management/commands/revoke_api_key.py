"""`manage.py revoke_api_key PREFIX`: whoever uses the key is refused at once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from access.keys import revoke
from access.models import ApiKey
from audit import trail


class Command(BaseCommand):
    help = "Revoke an API key and the tokens made from it; this is not undone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", help="the 8 characters that the list of keys shows")

    def handle(self, *args: Any, **options: Any) -> None:
        key = ApiKey.objects.filter(pk=options["prefix"]).first()
        if key is None:
            raise CommandError("There is no key with this prefix.")
        if key.revoked:
            self.stdout.write(f"{key.name} ({key.pk}) was revoked before.")
            return
        revoke(key, by=trail.Actor.command("revoke_api_key"))
        self.stdout.write(f"{key.name} ({key.pk}) is revoked.")
