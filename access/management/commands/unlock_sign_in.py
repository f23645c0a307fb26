"""`manage.py unlock_sign_in NAME`: let somebody try again at once after too many failures."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from access import sign_in_lock
from audit import trail
from audit.refusals import refusals_recorded


class Command(BaseCommand):
    help = "Forget the sign-ins that failed under a user name, or from an address."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", help="user name")
        parser.add_argument("--address", help="address that tried too often, with any names")

    def handle(self, *args: Any, **options: Any) -> None:
        by = trail.Actor.command("unlock_sign_in")
        name, address = options["name"], options["address"]
        with refusals_recorded(sign_in_lock.UNLOCKED, CommandError, by=by):
            if (name is None) == (address is None):
                raise CommandError("give either a user name or --address")
            if name is not None and not User.objects.filter(username=name).exists():
                raise CommandError(f"user '{name}' does not exist")
            if address is not None and not is_address(address):
                raise CommandError(f"'{address}' is no address, such as 192.0.2.7 or 2001:db8::1")
        if name is not None:
            sign_in_lock.unlock_name(name, by=by)
        else:
            sign_in_lock.unlock_address(address, by=by)
        self.stdout.write(f"{name or address} can try to sign in again.")


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
