"""The groups that staff start with: on a fresh database, and where a team changed them."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission

from access.roles import ROLES
from tests.staff import make_user

pytestmark = pytest.mark.django_db
MIGRATION = import_module("access.migrations.0006_roles_and_second_factor")


def set_permissions(group: str, names: set[str]) -> None:
    Group.objects.get(name=group).permissions.set(
        each for each in Permission.objects.select_related("content_type") if name_of(each) in names
    )


def permissions_of(group: str) -> set[str]:
    held = Group.objects.get(name=group).permissions.select_related("content_type")
    return set(map(name_of, held))


def name_of(permission: Permission) -> str:
    return f"{permission.content_type.app_label}.{permission.codename}"


@pytest.mark.parametrize("name", ROLES)
def test_a_fresh_database_has_each_group_with_what_it_is_for(name: str) -> None:
    assert make_user(groups=(name,)).get_all_permissions() == ROLES[name].permissions


def test_every_permission_of_a_role_belongs_to_a_model() -> None:
    """A misspelt one would be held by the group and ask for nothing."""
    declared = {}
    for model in apps.get_models():
        meta = model._meta
        for action in meta.default_permissions:
            name = f"{meta.app_label}.{action}_{meta.model_name}"
            declared[name] = f"Can {action} {meta.verbose_name_raw}"
        declared |= {f"{meta.app_label}.{code}": words for code, words in meta.permissions}

    assert set().union(*(role.permissions for role in ROLES.values())) <= declared.keys()
    words = {name: words for name, (_, words) in MIGRATION.NEW_PERMISSIONS.items()}
    assert words == {name: declared[name] for name in words}


def test_a_group_as_it_was_shipped_before_gets_what_the_role_has_now() -> None:
    for name, before in MIGRATION.SHIPPED.items():
        set_permissions(name, before)

    MIGRATION.renew_roles(apps, None)

    assert {name: permissions_of(name) for name in ROLES} == {
        name: role.permissions for name, role in ROLES.items()
    }


def test_a_group_that_a_team_changed_or_deleted_stays_as_it_is() -> None:
    changed = MIGRATION.SHIPPED["analyst"] - {"segments.change_segment"}
    set_permissions("analyst", changed)
    Group.objects.get(name="viewer").delete()

    MIGRATION.renew_roles(apps, None)

    assert permissions_of("analyst") == changed
    assert not Group.objects.filter(name="viewer").exists()
