"""`manage.py revoke_api_key PREFIX`: whoever uses the key is refused at once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from access.keys import REVOKED, revoke
from access.models import ApiKey
from audit import trail
from audit.refusals import record_refusal


class Command(BaseCommand):
    help = "Revoke an API key and the tokens made from it; this is not undone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", help="the 8 characters that the list of keys shows")

    def handle(self, *args: Any, **options: Any) -> None:
        by = trail.Actor.command("revoke_api_key")
        key = ApiKey.objects.filter(pk=options["prefix"]).first()
        if key is None:
            record_refusal(REVOKED, "unknown-key", by=by, target=("api_key", ""))
            raise CommandError("There is no key with this prefix.")
        if not revoke(key, by=by):
            record_refusal(REVOKED, "already-revoked", by=by, target=("api_key", key.pk))
            self.stdout.write(f"{key.name} ({key.pk}) was revoked before.")
            return
        self.stdout.write(f"{key.name} ({key.pk}) is revoked.")
