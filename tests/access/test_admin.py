"""API keys, users and groups in the admin: one entry each, no secret where it does not belong."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from access.authentication import verify
from access.form_changes import MAX_TEXT
from access.keys import rotate
from access.models import ApiKey
from audit.models import AuditEntry
from tests.factories import BY, make_key
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


# -- rotation -----------------------------------------------------------------------------------


def rotate_url(key: ApiKey) -> str:
    return reverse("admin:access_apikey_rotate", args=[key.pk])


def test_a_key_is_rotated_and_the_new_secret_shown_once(db: None) -> None:
    key, old_secret = make_key(scopes=["predict"], rate="600/m")
    client = staff(VIEW, ADD, CHANGE)
    before = last_entry_id()

    asked = client.get(rotate_url(key)).content.decode()
    response = client.post(rotate_url(key), {"overlap_hours": "48"})

    page = response.content.decode()
    secret = re.search(r'id="secret">([^<]+)<', page)[1]
    new = ApiKey.objects.exclude(pk=key.pk).get()
    assert 'value="24"' in asked
    assert verify(secret).id == new.pk
    assert verify(old_secret) is not None
    assert "no-store" in response.headers["Cache-Control"]
    assert f"The old key {key.pk} works until" in page
    (entry,) = entries_after(before)
    assert (entry.action, entry.target_id, entry.actor_id) == ("api_key.rotated", key.pk, "ann")
    assert secret[13:] not in entry.details
    later = [client.get(page_of(each)).content.decode() for each in (key, new)]
    assert f">{new.pk}</a>" in later[0] and f">{key.pk}</a>" in later[1]
    assert secret[13:] not in "".join(later) + str(client.cookies) + str(dict(client.session))
    assert rotate_url(key) not in later[0] and rotate_url(new) in later[1]


def page_of(key: ApiKey) -> str:
    return reverse("admin:access_apikey_change", args=[key.pk])


@pytest.mark.parametrize("hours", ["-1", "721", "soon", ""])
def test_a_bad_overlap_is_shown_at_its_field(db: None, hours: str) -> None:
    key, _ = make_key(scopes=["predict"])

    response = staff(VIEW, ADD, CHANGE).post(rotate_url(key), {"overlap_hours": hours})

    assert response.context["form"].errors.keys() == {"overlap_hours"}
    assert ApiKey.objects.count() == 1


def test_a_page_sent_twice_rotates_once(db: None) -> None:
    key, _ = make_key(scopes=["predict"])
    client = staff(VIEW, ADD, CHANGE)
    client.post(rotate_url(key), {"overlap_hours": "24"})

    again = client.post(rotate_url(key), {"overlap_hours": "24"})

    assert "rotate that one" in client.get(again.headers["Location"]).content.decode()
    asked = client.get(rotate_url(key), follow=True)
    assert asked.redirect_chain == [(page_of(key), 302)]
    assert "Issue the new key" not in asked.content.decode()
    assert ApiKey.objects.count() == 2


@pytest.mark.parametrize("permissions", [(), (VIEW,), (VIEW, ADD), (VIEW, CHANGE), (ADD, CHANGE)])
def test_rotating_needs_its_permissions(db: None, permissions: tuple[str, ...]) -> None:
    key, _ = make_key(scopes=["predict"])
    client = staff(*permissions)

    statuses = [
        client.get(rotate_url(key)).status_code,
        client.post(rotate_url(key), {"overlap_hours": "24"}).status_code,
    ]

    allowed = [200, 200] if permissions == (ADD, CHANGE) else [403, 403]  # to change is to view
    assert statuses == allowed
    assert ApiKey.objects.count() == (2 if permissions == (ADD, CHANGE) else 1)


def test_only_who_reads_the_trail_may_rotate_a_key_that_does(db: None) -> None:
    key, _ = make_key(scopes=["audit:read"])
    without = staff(VIEW, ADD, CHANGE)
    auditor = staff(VIEW, ADD, CHANGE, "audit.view_auditentry", name="auditor")

    assert without.post(rotate_url(key), {"overlap_hours": "24"}).status_code == 403
    assert rotate_url(key) not in without.get(page_of(key)).content.decode()
    assert auditor.post(rotate_url(key), {"overlap_hours": "24"}).status_code == 200


def test_the_list_tells_the_state_and_the_last_use_of_each_key(
    db: None, django_assert_max_num_queries: Any
) -> None:
    for name, change in {
        "fresh": {},
        "used": {"last_used_at": timezone.now()},
        "gone": {"revoked": True},
        "over": {"expiry_date": timezone.now() - timedelta(days=1)},
    }.items():
        key, _ = make_key(scopes=["predict", "metrics"])
        ApiKey.objects.filter(pk=key.pk).update(name=name, **change)
    rotate(ApiKey.objects.get(name="used"), by=BY)
    client = staff(VIEW)

    with django_assert_max_num_queries(10):
        page = client.get(reverse("admin:access_apikey_changelist")).content.decode()

    text = " ".join(re.sub("<[^>]*>", " ", page).split())
    states = re.findall(r"(\w+) \w{8} (\w+) metrics, predict", text)
    assert sorted(states) == [
        ("fresh", "usable"),
        ("gone", "revoked"),
        ("over", "expired"),
        ("used", "rotated"),
        ("used", "usable"),
    ]
    n_without_end, n_unused = 3, 4
    assert len(re.findall(r"\bnever\b", text)) == n_without_end + n_unused


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
    return {"username": user.username, "is_active": "on", **fields}


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


def test_a_change_of_a_user_tells_each_field_before_and_after(db: None) -> None:
    client, user = superuser(), make_user(VIEW, name="bob", groups=("viewer",))
    operator = Group.objects.get(name="operator")
    sent = user_form(
        user,
        first_name="B" * 150,
        email="b@example.org",
        groups=[operator.pk],
        user_permissions=[permission_id(ADD), permission_id(CHANGE)],
    )
    before = last_entry_id()

    client.post(reverse("admin:auth_user_change", args=[user.pk]), sent)

    (entry,) = entries_after(before)
    changes = json.loads(entry.details)["changes"]
    assert changes == {
        "is_staff": [True, False],
        "first_name": ["", "B" * 150],
        "email": ["", "b@example.org"],
        "groups_removed": ["viewer", None],
        "groups_added": [None, "operator"],
        "user_permissions_removed": [VIEW, None],
        "user_permissions_added": [None, f"{ADD}, {CHANGE}"],
    }
    assert json.loads(entry.details)["permissions"] == [ADD, CHANGE]
    assert user.password not in entry.details


def test_the_longest_changes_fit_into_an_entry(db: None) -> None:
    client, group = superuser(), Group.objects.create(name="keepers")
    everything = list(Permission.objects.values_list("pk", flat=True))
    before = last_entry_id()

    client.post(
        reverse("admin:auth_group_change", args=[group.pk]),
        {"name": "k" * 150, "permissions": everything},
    )

    (entry,) = entries_after(before)
    details = json.loads(entry.details)
    assert details["changes"]["name"] == ["keepers", "k" * 150]
    assert len(details["changes"]["permissions_added"][1]) == MAX_TEXT
    assert len(details["permissions"]) == len(everything)


def test_several_groups_deleted_at_once_are_one_entry_with_their_digest(db: None) -> None:
    client = superuser()
    chosen = [Group.objects.create(name=name).pk for name in ("keepers", "guests")]
    before = last_entry_id()

    client.post(
        reverse("admin:auth_group_changelist"),
        {"action": "delete_selected", "_selected_action": chosen, "post": "yes"},
    )

    (entry,) = entries_after(before)
    assert (entry.action, entry.target_id, entry.n_items) == ("group.deleted", "", 2)
    details = json.loads(entry.details)
    assert sorted(details["ids"]) == ["guests", "keepers"]
    assert details["sha256"] == hashlib.sha256(b"guests\nkeepers").hexdigest()


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
    assert (entry.action, entry.target_id) == ("user.password_changed", "bob")
    assert entry.details == '{"changes":{"password":[null,"changed"]}}'

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
    assert [entry.action for entry in entries_after(before)] == ["admin.refused"] * len(posts)


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

    response = client.get(reverse("admin:auth_user_history", args=[user.pk]))

    entries = [line.entry for line in response.context["timeline"].lines]
    assert [(entry.action, entry.target_id) for entry in entries] == [("user.created", "bob")]
    assert AuditEntry.objects.count() >= 1
