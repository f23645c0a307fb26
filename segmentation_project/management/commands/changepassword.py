"""`manage.py changepassword`: Django's own, with the audit entry in the password's transaction."""

from __future__ import annotations

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import transaction

from audit import trail
from audit.refusals import refusals_recorded

ACTION = "user.password_changed"
MAX_TRIES = 3


class Command(changepassword.Command):
    def handle(self, *args: Any, **options: Any) -> str:
        by = trail.Actor.command("changepassword")
        name = options["username"] or getpass.getuser()
        user = User.objects.filter(username=name).first()
        # Only a name there is gets written down: people type passwords anywhere.
        target = ("user", name if user else "")
        with refusals_recorded(ACTION, CommandError, by=by, target=target):
            if user is None:
                raise CommandError(f"user '{name}' does not exist")
            self.stdout.write(f"Changing password for user '{user}'")
            user.set_password(self.asked(user))
        # No transaction before: at a prompt it would keep every other writer waiting.
        with transaction.atomic():
            user.save(update_fields=["password"])
            trail.record(
                ACTION, by=by, target=target, details={"changes": {"password": [None, "changed"]}}
            )
        return f"Password changed successfully for user '{user}'"

    def asked(self, user: User) -> str:
        """A password typed twice. Raises CommandError after too many tries."""
        for _ in range(MAX_TRIES):
            password = getpass.getpass()
            if password != getpass.getpass("Password (again): "):
                self.stdout.write("Passwords do not match. Please try again.")
                continue
            try:
                validate_password(password, user)
            except ValidationError as error:
                self.stderr.write("\n".join(error.messages))
            else:
                return password
        raise CommandError(f"Aborting password change for user '{user}' after {MAX_TRIES} attempts")
