"""API keys, users and groups in the admin: one entry each, no secret where it does not belong."""

from __future__ import annotations

import json
import re

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from access.authentication import verify
from access.models import ApiKey
from audit.models import AuditEntry
from tests.factories import make_key
from tests.staff import PASSWORD, entries_after, last_entry_id, make_user, staff, superuser

VIEW, ADD, CHANGE = "access.view_apikey", "access.add_apikey", "access.change_apikey"
ADD_KEY = "/admin/access/apikey/add/"


def revoke_url(key: ApiKey) -> str:
    return reverse("admin:access_apikey_revoke", args=[key.pk])


# -- keys ---------------------------------------------------------------------------------------


def test_a_key_is_issued_and_its_secret_shown_once(db: None) -> None:
    client = staff(VIEW, ADD)
    before = last_entry_id()

    response = client.post(
        ADD_KEY, {"name": "crm", "scopes": ["segments:read", "predict"], "rate": "600/m"}
    )

    page = response.content.decode()
    secret = re.search(r'id="secret">([^<]+)<', page)[1]
    key = ApiKey.objects.get()
    credential = verify(secret)
    assert credential is not None and credential.scopes == {"predict", "segments:read"}
    assert (key.name, key.rate) == ("crm", "600/m")
    assert "no-store" in response.headers["Cache-Control"]
    assert key.hashed_key not in page
    (entry,) = entries_after(before)
    assert (entry.action, entry.target_id, entry.actor_id) == ("api_key.created", key.pk, "ann")
    assert secret not in entry.details
    again = client.get(reverse("admin:access_apikey_change", args=[key.pk])).content.decode()
    assert secret not in again and key.hashed_key not in again
    assert secret not in str(client.cookies) and secret not in str(dict(client.session))


def test_a_key_may_be_issued_without_a_scope(db: None) -> None:
    staff(VIEW, ADD).post(ADD_KEY, {"name": "nothing yet"})

    assert ApiKey.objects.get().scopes == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scopes", "keys:mint"),
        ("rate", "many"),
        ("expiry_date_0", "2001-01-01"),
        ("name", ""),
    ],
)
def test_a_bad_key_is_not_issued(db: None, field: str, value: str) -> None:
    fields = {"name": "crm", "expiry_date_1": "00:00:00" if field == "expiry_date_0" else ""}

    response = staff(VIEW, ADD).post(ADD_KEY, {**fields, field: value})

    assert response.status_code == 200
    assert response.context["adminform"].form.errors
    assert not ApiKey.objects.exists()


def test_revoking_asks_and_then_refuses_the_key(db: None) -> None:
    key, secret = make_key(scopes=["predict"])
    client = staff(VIEW, CHANGE)
    before = last_entry_id()

    asked = client.get(revoke_url(key))
    still = verify(secret)
    client.post(revoke_url(key))

    assert "not undone" in asked.content.decode()
    assert still is not None
    assert verify(secret) is None
    (entry,) = entries_after(before)
    assert (entry.action, entry.target_id) == ("api_key.revoked", key.pk)


@pytest.mark.parametrize("permissions", [(), (VIEW,), (VIEW, ADD)])
def test_revoking_needs_its_permission(db: None, permissions: tuple[str, ...]) -> None:
    key, secret = make_key(scopes=["predict"])

    response = staff(*permissions).post(revoke_url(key))

    assert response.status_code == 403
    assert verify(secret) is not None


def test_issuing_needs_its_permission(db: None) -> None:
    assert staff(VIEW, CHANGE).post(ADD_KEY, {"name": "crm"}).status_code == 403
    assert not ApiKey.objects.exists()


def test_only_who_reads_the_trail_may_let_a_key_read_it(db: None) -> None:
    fields = {"name": "crm", "scopes": ["audit:read"]}
    without = staff(VIEW, ADD)

    offered = without.get(ADD_KEY).content.decode()
    refused = without.post(ADD_KEY, fields)

    assert 'value="predict"' in offered and 'value="audit:read"' not in offered
    assert "scopes" in refused.context["adminform"].form.errors
    assert not ApiKey.objects.exists()
    auditor = staff(VIEW, ADD, "audit.view_auditentry", name="auditor")
    assert 'value="audit:read"' in auditor.get(ADD_KEY).content.decode()
    auditor.post(ADD_KEY, fields)
    assert ApiKey.objects.get().scopes == ["audit:read"]
    assert 'value="audit:read"' not in without.get(ADD_KEY).content.decode()


def test_a_key_is_not_edited_or_deleted(db: None) -> None:
    key, _ = make_key(scopes=["predict"])
    client = superuser()

    changed = client.post(
        reverse("admin:access_apikey_change", args=[key.pk]), {"scopes": ["audit:read"]}
    )
    deleted = client.post(reverse("admin:access_apikey_delete", args=[key.pk]), {"post": "yes"})

    assert (changed.status_code, deleted.status_code) == (403, 403)
    assert ApiKey.objects.get().scopes == ["predict"]


# -- users and groups ---------------------------------------------------------------------------


def add_user(client: Client, name: str = "bob") -> User:
    client.post(
        reverse("admin:auth_user_add"),
        {
            "username": name,
            "usable_password": "true",
            "password1": PASSWORD,
            "password2": PASSWORD,
        },
    )
    return User.objects.get(username=name)


def user_form(user: User, **fields: object) -> dict[str, object]:
    joined = {"date_joined_0": f"{user.date_joined:%Y-%m-%d}", "date_joined_1": "00:00:00"}
    return {"username": user.username, "is_active": "on", **joined, **fields}


def test_a_new_user_leaves_one_entry_without_the_password(db: None) -> None:
    client = superuser()
    before = last_entry_id()

    add_user(client)

    (entry,) = entries_after(before)
    assert (entry.action, entry.target_id, entry.actor_id) == ("user.created", "bob", "root")
    assert PASSWORD not in entry.details


def test_a_change_of_rights_says_what_the_user_now_may(db: None) -> None:
    client, user = superuser(), make_user(name="bob")
    group = Group.objects.create(name="keepers")
    before = last_entry_id()

    client.post(
        reverse("admin:auth_user_change", args=[user.pk]),
        user_form(user, is_staff="on", groups=[group.pk]),
    )

    (entry,) = entries_after(before)
    details = json.loads(entry.details)
    assert entry.action == "user.changed"
    assert details["groups"] == ["keepers"] and details["is_staff"] is True


def test_setting_a_password_leaves_one_entry_or_changes_nothing(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, user = superuser(), make_user(name="bob")
    url = reverse("admin:auth_user_password_change", args=[user.pk])
    new = "a-new-password-for-bob"
    form = {"usable_password": "true", "password1": new, "password2": new}
    before = last_entry_id()

    client.post(url, form)

    user.refresh_from_db()
    assert user.check_password(new)
    (entry,) = entries_after(before)
    assert entry.action == "user.changed" and new not in entry.details

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the trail is gone")

    monkeypatch.setattr("audit.trail.record", fail)
    with pytest.raises(RuntimeError):
        client.post(url, {**form, "password1": "never-" + new, "password2": "never-" + new})
    user.refresh_from_db()
    assert user.check_password(new)


def test_deleting_a_user_and_a_group_leaves_one_entry_each(db: None) -> None:
    client, user, group = superuser(), make_user(name="bob"), Group.objects.create(name="keepers")
    before = last_entry_id()

    client.post(reverse("admin:auth_user_delete", args=[user.pk]), {"post": "yes"})
    client.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"})

    entries = [(entry.action, entry.target_id) for entry in entries_after(before)]
    assert entries == [("user.deleted", "bob"), ("group.deleted", "keepers")]


def test_a_group_leaves_the_permissions_it_grants(db: None) -> None:
    client = superuser()
    before = last_entry_id()

    client.post(reverse("admin:auth_group_add"), {"name": "keepers", "permissions": []})
    client.post(
        reverse("admin:auth_group_change", args=[Group.objects.get(name="keepers").pk]),
        {"name": "keepers", "permissions": [permission_id(VIEW)]},
    )

    created, changed = entries_after(before)
    assert json.loads(created.details) == {"permissions": []}
    assert json.loads(changed.details)["permissions"] == [VIEW]


def permission_id(name: str) -> int:
    user = make_user(name, name=f"holder of {name}")
    return user.user_permissions.get().pk


def test_only_superusers_change_users_and_groups(db: None) -> None:
    acts = ("view", "add", "change", "delete")
    rights = [f"auth.{act}_{kind}" for act in acts for kind in ("user", "group")]
    manager = staff(*rights, name="manager", groups=("operator",))
    bob, group = make_user(name="bob"), Group.objects.get(name="operator")
    held = set(group.permissions.values_list("pk", flat=True))
    user_fields = {"usable_password": "true", "password1": "taken-1-x", "password2": "taken-1-x"}
    posts = {
        reverse("admin:auth_user_add"): {"username": "eve", **user_fields},
        reverse("admin:auth_user_change", args=[bob.pk]): user_form(bob, is_superuser="on"),
        reverse("admin:auth_user_password_change", args=[bob.pk]): user_fields,
        reverse("admin:auth_user_delete", args=[bob.pk]): {"post": "yes"},
        reverse("admin:auth_group_add"): {"name": "eves"},
        reverse("admin:auth_group_change", args=[group.pk]): {
            "name": "operator",
            "permissions": [permission_id("audit.view_auditentry")],
        },
        reverse("admin:auth_group_delete", args=[group.pk]): {"post": "yes"},
    }
    before = last_entry_id()

    answers = {url: manager.post(url, fields).status_code for url, fields in posts.items()}

    assert answers == dict.fromkeys(posts, 403)
    bob.refresh_from_db()
    assert not bob.is_superuser and bob.check_password(PASSWORD)
    assert set(group.permissions.values_list("pk", flat=True)) == held
    assert not User.objects.filter(username="eve").exists()
    assert not Group.objects.filter(name="eves").exists()
    assert entries_after(before) == []


def test_groups_are_not_deleted_in_bulk_but_by_superusers(db: None) -> None:
    group = Group.objects.create(name="keepers")
    bulk = {"action": "delete_selected", "_selected_action": [group.pk], "post": "yes"}

    staff("auth.view_group", "auth.delete_group").post(reverse("admin:auth_group_changelist"), bulk)

    assert Group.objects.filter(pk=group.pk).exists()


def test_users_and_groups_are_seen_by_permission(db: None) -> None:
    bob, group = make_user(name="bob"), Group.objects.create(name="keepers")
    viewer = staff("auth.view_user", "auth.view_group", name="viewer")
    other = staff(name="other")
    pages = [
        reverse("admin:auth_user_change", args=[bob.pk]),
        reverse("admin:auth_group_change", args=[group.pk]),
        reverse("admin:auth_user_changelist"),
        reverse("admin:auth_group_changelist"),
    ]

    assert [viewer.get(page).status_code for page in pages] == [200] * 4
    assert [other.get(page).status_code for page in pages] == [403] * 4
    assert bob.password not in viewer.get(pages[0]).content.decode()


def test_history_is_the_audit_trail_of_the_object(db: None) -> None:
    client = superuser()
    user = add_user(client)

    response = client.get(reverse("admin:auth_user_history", args=[user.pk]), follow=True)

    entries = list(response.context["cl"].result_list)
    assert [(entry.action, entry.target_id) for entry in entries] == [("user.created", "bob")]
    assert AuditEntry.objects.count() >= 1
