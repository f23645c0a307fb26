"""`manage.py createsuperuser`: Django's own, with the audit entry in the user's transaction."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.models import User, UserManager
from django.core.management.base import CommandError
from django.db import transaction

from audit import trail
from audit.refusals import refusals_recorded

ACTION = "user.created"


class RecordingUserManager(UserManager[User]):
    """Makes superusers together with their entry in the trail."""

    def create_superuser(
        self,
        username: str,
        email: str | None = None,
        password: str | None = None,
        **extra_fields: Any,
    ) -> User:
        with transaction.atomic(using=self.db):
            user = super().create_superuser(username, email, password, **extra_fields)
            trail.record(
                ACTION,
                by=trail.Actor.command("createsuperuser"),
                target=("user", user.get_username()),
                details={"is_superuser": True},
            )
        return user


class RecordedUsers:
    """The user model as Django's command sees it, with the manager above.

    A transaction around the whole command would keep every other writer waiting at its prompts.
    """

    _default_manager = RecordingUserManager()
    _default_manager.model = User

    def __getattr__(self, name: str) -> Any:
        return getattr(User, name)

    def __call__(self, **fields: Any) -> User:
        return User(**fields)


class Command(createsuperuser.Command):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.UserModel = RecordedUsers()  # type: ignore[assignment]  # it answers alike

    def handle(self, *args: Any, **options: Any) -> str | None:
        by = trail.Actor.command("createsuperuser")
        with refusals_recorded(ACTION, CommandError, by=by, target=("user", "")):
            return super().handle(*args, **options)
