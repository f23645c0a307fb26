"""Signing in and out of the admin: one entry each, in the transaction of the session."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.urls import reverse

from segmentation_project import sign_in
from tests.expectations import one_entry
from tests.staff import PASSWORD, client_of, entries_after, last_entry_id, make_user

pytestmark = pytest.mark.django_db
LOGIN, LOGOUT, HOME = "/admin/login/", "/admin/logout/", "/admin/"


def posted(client: Client, name: str, password: str = PASSWORD) -> Any:
    return client.post(LOGIN, {"username": name, "password": password})


def is_signed_in(client: Client) -> bool:
    return client.get(HOME).status_code == 200


def test_signing_in_and_out_leaves_an_entry_each() -> None:
    make_user()
    client = Client(headers={"X-Request-ID": "request-of-ann"})

    with one_entry(
        action="user.signed_in", actor_kind="user", actor_id="ann", target_id="ann",
        outcome="succeeded", request_id="request-of-ann", peer_address="127.0.0.1",
    ) as entries:  # fmt: skip
        response = posted(client, "ann")

    assert response.status_code == 302 and is_signed_in(client)
    assert PASSWORD not in entries[0].details
    with one_entry(action="user.signed_out", actor_kind="user", actor_id="ann"):
        client.post(LOGOUT)
    assert not is_signed_in(client)


@pytest.mark.parametrize(
    ("name", "password", "known"),
    [
        ("ann", "wrong", "ann"),
        ("nobody", PASSWORD, ""),
        (PASSWORD, "ann", ""),
        ("", "", ""),
        ("ann\0", PASSWORD, ""),
        ("n" * 10_000, PASSWORD, ""),
        ("gone", PASSWORD, "gone"),
        ("customer", PASSWORD, "customer"),
    ],
)
def test_a_failed_sign_in_names_only_users_there_are(name: str, password: str, known: str) -> None:
    make_user()
    User.objects.create_user("gone", password=PASSWORD, is_staff=True, is_active=False)
    User.objects.create_user("customer", password=PASSWORD)
    client = Client()

    with one_entry(
        action="user.sign_in_failed", actor_kind="anonymous", outcome="refused",
        actor_id="", target_type="user", target_id=known, peer_address="127.0.0.1",
    ) as entries:  # fmt: skip
        response = posted(client, name, password)

    assert response.status_code == 200 and not is_signed_in(client)
    assert entries[0].request_id == response.headers["X-Request-ID"]
    assert entries[0].details == "{}"


def test_a_signed_in_user_who_opens_the_page_leaves_none_and_who_signs_in_again_one() -> None:
    client = client_of(make_user())
    before = last_entry_id()

    assert client.get(LOGIN).status_code == 302
    assert entries_after(before) == []
    with one_entry(action="user.signed_in", actor_id="ann"):
        posted(client, "ann")
    with one_entry(action="user.sign_in_failed", target_id="ann"):
        posted(client, "ann", "wrong")
    assert is_signed_in(client)


def test_who_is_not_signed_in_cannot_sign_out() -> None:
    before = last_entry_id()

    Client().post(LOGOUT)
    client_of(make_user()).get(LOGOUT)

    assert entries_after(before) == []


def test_a_wrong_method_is_no_sign_in() -> None:
    before = last_entry_id()

    assert Client().delete(LOGIN).status_code == 405
    assert Client().get(LOGIN).status_code == 200

    assert entries_after(before) == []


def test_a_forged_form_is_refused_before_it_is_looked_at() -> None:
    make_user()
    before = last_entry_id()

    response = posted(Client(enforce_csrf_checks=True), "ann")

    assert response.status_code == 403
    assert entries_after(before) == []


def test_the_password_is_checked_outside_the_transaction_of_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slow hash in it would keep every other writer waiting on SQLite."""
    user, depths = make_user(), []
    check = User.check_password

    def watched(self: User, password: str) -> bool:
        depths.append(len(connection.savepoint_ids))
        return check(self, password)

    monkeypatch.setattr(User, "check_password", watched)
    outside = len(connection.savepoint_ids)

    posted(Client(), user.username)

    assert depths == [outside]


def test_the_session_is_whole_with_its_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    make_user()
    seen: list[str | None] = []
    record = sign_in.trail.record

    def look_first(*args: Any, **fields: Any) -> Any:
        seen.extend(row.get_decoded().get("_auth_user_id") for row in Session.objects.all())
        return record(*args, **fields)

    monkeypatch.setattr(sign_in.trail, "record", look_first)

    posted(Client(), "ann")

    assert seen == [str(User.objects.get().pk)]


def test_changing_the_password_on_either_page_has_one_name() -> None:
    client = client_of(User.objects.create_superuser("root", password=PASSWORD))
    first, second = "a-first-new-password", "a-second-new-password"

    with one_entry(action="user.password_changed", target_id="root"):
        client.post(
            reverse("admin:password_change"),
            {"old_password": PASSWORD, "new_password1": first, "new_password2": first},
        )
    with one_entry(action="user.password_changed", target_id="root"):
        client.post(
            reverse("admin:auth_user_password_change", args=[User.objects.get().pk]),
            {"usable_password": "true", "password1": second, "password2": second},
        )

    assert User.objects.get().check_password(second)
    assert is_signed_in(client)


def test_taking_a_password_away_says_so() -> None:
    client = client_of(User.objects.create_superuser("root", password=PASSWORD))
    bob = make_user(name="bob")

    with one_entry(
        action="user.password_changed", target_id="bob",
        details='{"changes":{"password":[null,"disabled"]}}',
    ):  # fmt: skip
        client.post(
            reverse("admin:auth_user_password_change", args=[bob.pk]),
            {"usable_password": "false", "unset-password": "1"},
        )

    bob.refresh_from_db()
    assert not bob.has_usable_password()
