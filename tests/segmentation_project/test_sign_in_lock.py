"""Sign-ins that fail make the next wait: who is locked out, who is not, and who may end it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse

from tests.expectations import one_entry
from tests.staff import PASSWORD, client_of, make_user, staff, superuser

pytestmark = pytest.mark.django_db
LOGIN, HOME = "/admin/login/", "/admin/"
LIMIT = 3
STRANGER, OTHER, OFFICE = "192.0.2.1", "192.0.2.2", "198.51.100.7"


@pytest.fixture(autouse=True)
def few_failures(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.LOGIN_FAILURES = LIMIT
    # Counts end with their window: the tests all lie within one.
    monkeypatch.setattr("django_ratelimit.core.time.time", lambda: 1_800_000_000.0)


def sign_in(
    client: Client, name: str = "ann", password: str = PASSWORD, *, address: str = STRANGER
) -> Any:
    return client.post(LOGIN, {"username": name, "password": password}, REMOTE_ADDR=address)


def fail(times: int, name: str = "ann", *, address: str = STRANGER) -> None:
    for _ in range(times):
        assert sign_in(Client(), name, "wrong", address=address).status_code == 200


def test_after_too_many_failures_even_the_right_password_waits_and_says_until_when() -> None:
    make_user()
    fail(LIMIT)

    with one_entry(
        action="user.sign_in_locked", outcome="refused", actor_kind="anonymous", target_id="ann",
        address=STRANGER,
    ) as entries:  # fmt: skip
        response = sign_in(Client())

    assert response.status_code == 429
    wait = int(response.headers["Retry-After"])
    assert 0 < wait <= 15 * 60
    assert f'"retry_after_seconds":{wait}' in entries[0].details
    page = response.content.decode()
    assert 'role="alert"' in page and "Too many attempts that failed. Try again in" in page
    assert PASSWORD not in page


def test_a_name_that_nobody_has_is_locked_with_the_same_words() -> None:
    make_user()
    answers = []
    for name in ("ann", "nobody"):
        fail(LIMIT, name)
        response = sign_in(Client(), name)
        pages = response.content.decode().replace(f'value="{name}"', "")
        answers.append((response.status_code, [w for w in pages.split() if "csrf" not in w][:50]))

    assert answers[0] == answers[1]


def test_the_password_is_not_looked_at_while_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the time it takes would tell, and each guess would cost a hash."""
    make_user()
    fail(LIMIT)
    looked: list[str] = []
    monkeypatch.setattr(User, "check_password", lambda self, password: looked.append(password))
    monkeypatch.setattr(User, "set_password", lambda self, password: looked.append(password))

    sign_in(Client())

    assert looked == []


def test_a_success_forgives_the_failures_before_it() -> None:
    make_user()
    for _ in range(2):
        fail(LIMIT - 1)
        assert sign_in(Client()).status_code == 302

    assert sign_in(Client()).status_code == 302


def test_a_stranger_locks_out_neither_other_addresses_nor_known_browsers() -> None:
    make_user()
    known = Client()
    sign_in(known, address=STRANGER)
    fail(LIMIT)

    from_office = sign_in(Client(), address=OFFICE)
    from_known = sign_in(known, address=STRANGER)

    assert (from_office.status_code, from_known.status_code) == (302, 302)


def test_a_name_guessed_from_many_addresses_is_locked_but_for_known_browsers() -> None:
    make_user()
    known = Client()
    sign_in(known, address=OFFICE)
    for last in range(4):
        fail(LIMIT, address=f"203.0.113.{last}")

    assert sign_in(Client(), address=OTHER).status_code == 429
    assert sign_in(known, address=OFFICE).status_code == 302


def test_a_known_browser_has_a_count_of_its_own() -> None:
    make_user()
    make_user(name="bob")
    known = Client()
    sign_in(known)
    for _ in range(LIMIT):
        assert sign_in(known, "ann", "wrong").status_code == 200

    assert sign_in(known).status_code == 429
    assert sign_in(Client()).status_code == 302
    assert sign_in(known, "bob").status_code == 302


def test_a_forged_cookie_is_no_known_browser() -> None:
    make_user()
    fail(LIMIT)
    client = Client()
    client.cookies["known_browser"] = "WyJ4IiwieSJd:1abcde:forged"

    assert sign_in(client).status_code == 429


def test_an_address_that_tries_many_names_is_locked() -> None:
    make_user()
    for number in range(10):
        fail(LIMIT, f"name {number}")

    assert sign_in(Client()).status_code == 429
    assert sign_in(Client(), address=OTHER).status_code == 302


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    make_user()
    for last in range(LIMIT):
        fail(1, address=f"2001:db8::{last}")

    assert sign_in(Client(), address="2001:db8::ffff").status_code == 429


def test_behind_a_trusted_proxy_the_client_is_counted(settings: Any) -> None:
    settings.TRUSTED_PROXY_COUNT = 1
    make_user()
    for _ in range(LIMIT):
        Client(headers={"X-Forwarded-For": STRANGER}).post(
            LOGIN, {"username": "ann", "password": "wrong"}
        )

    fields = {"username": "ann", "password": PASSWORD}
    locked = Client(headers={"X-Forwarded-For": STRANGER}).post(LOGIN, fields)
    free = Client(headers={"X-Forwarded-For": OTHER}).post(LOGIN, fields)

    assert (locked.status_code, free.status_code) == (429, 302)


def test_a_superuser_unlocks_a_name() -> None:
    user = make_user()
    fail(LIMIT)
    page = reverse("admin:auth_user_unlock", args=[user.pk])

    assert "Unlock the sign-in of ann" in (root := superuser()).get(page).content.decode()
    with one_entry(action="user.sign_in_unlocked", actor_id="root", target_id="ann"):
        root.post(page)

    assert sign_in(Client()).status_code == 302


def test_unlocking_is_for_superusers() -> None:
    user = make_user(name="bob")
    page = reverse("admin:auth_user_unlock", args=[user.pk])

    assert staff("auth.change_user", "auth.view_user").post(page).status_code == 403


def test_a_command_unlocks_a_name_and_an_address() -> None:
    make_user()
    fail(LIMIT)
    with one_entry(action="user.sign_in_unlocked", actor_kind="command", target_id="ann"):
        call_command("unlock_sign_in", "ann")
    assert sign_in(Client()).status_code == 302
    for number in range(10):
        fail(LIMIT, f"name {number}", address=OTHER)
    with one_entry(action="user.sign_in_unlocked", target_type="address", target_id=OTHER):
        call_command("unlock_sign_in", address=OTHER)

    assert sign_in(Client(), address=OTHER).status_code == 302


@pytest.mark.parametrize("given", [["nobody"], ["--address=localhost"], []])
def test_the_command_refuses_what_it_does_not_know(given: list[str]) -> None:
    with (
        one_entry(action="user.sign_in_unlocked", outcome="refused", target_id=""),
        pytest.raises(CommandError, match="does not exist|is no address|give either"),
    ):
        call_command("unlock_sign_in", *given)


def test_guessing_the_old_password_of_a_session_found_open_is_locked_too() -> None:
    client = client_of(make_user())
    page = reverse("admin:password_change")
    new = "another-password-of-the-tests"
    sent = {"new_password1": new, "new_password2": new}
    for _ in range(LIMIT):
        client.post(page, {**sent, "old_password": "wrong"})

    with one_entry(action="user.password_changed", outcome="refused", actor_id="ann"):
        response = client.post(page, {**sent, "old_password": PASSWORD})

    assert "Too many attempts" in client.get(response["Location"]).content.decode()
    assert User.objects.get().check_password(PASSWORD)
