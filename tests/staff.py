"""Staff for tests of the admin: a signed-in client with exactly these permissions."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from audit.models import AuditEntry

PASSWORD = "a-password-of-the-tests"


def make_user(*permissions: str, name: str = "ann", groups: tuple[str, ...] = ()) -> User:
    user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
    for permission in permissions:
        label, _, codename = permission.partition(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=label, codename=codename)
        )
    user.groups.set(Group.objects.filter(name__in=groups))
    return user


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def staff(*permissions: str, **fields: Any) -> Client:
    return client_of(make_user(*permissions, **fields))


def superuser(name: str = "root") -> Client:
    return client_of(User.objects.create_superuser(name, password=PASSWORD))


def entries_after(last_id: int) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(id__gt=last_id).order_by("id"))


def last_entry_id() -> int:
    entry = AuditEntry.objects.order_by("-id").first()
    return entry.pk if entry else 0
