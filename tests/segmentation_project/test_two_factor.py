"""The second factor at sign-in: set up, asked for, never twice with one code, and taken away."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from access import second_factor
from access.models import RecoveryCode
from audit.models import AuditEntry
from tests.expectations import one_entry
from tests.factories import BY
from tests.staff import (
    PASSWORD,
    client_of,
    entries_after,
    last_entry_id,
    make_user,
    staff,
    superuser,
)

pytestmark = pytest.mark.django_db
LOGIN, CODE, HOME = "/admin/login/", "/admin/login/code/", "/admin/"
PAGE = "/admin/two-factor/"


def code_of(device: TOTPDevice, *, steps: int = 0) -> str:
    totp = TOTP(device.bin_key)
    totp.time = time.time() + 30 * steps
    return f"{totp.token():06}"


def enrolled(user: User) -> tuple[TOTPDevice, list[str]]:
    device = second_factor.begin(user, by=BY)
    codes = second_factor.confirm(device, code_of(device, steps=-1), by=BY)
    assert codes is not None
    device.refresh_from_db()
    return device, codes


def password_sent(client: Client, **query: str) -> Any:
    return client.post(LOGIN, {"username": "ann", "password": PASSWORD, **query})


def is_signed_in(client: Client) -> bool:
    return client.get(HOME).status_code == 200


# -- setting up ---------------------------------------------------------------------------------


def test_a_person_sets_it_up_and_gets_the_recovery_codes_once() -> None:
    client = client_of(make_user())
    before = last_entry_id()

    secret_page = client.post(PAGE + "set-up/", {"password": PASSWORD}).content.decode()
    device = TOTPDevice.objects.get()
    codes_page = client.post(PAGE + "confirm/", {"code": code_of(device)})

    assert "<svg" in secret_page and second_factor.key_text(device) in secret_page
    codes = re.findall(r"<code>([a-z2-7-]{19})</code>", codes_page.content.decode())
    assert len(set(codes)) == 10
    assert "no-store" in codes_page.headers["Cache-Control"]
    assert {each.digest for each in RecoveryCode.objects.all()} == set(
        map(second_factor.digest_of, codes)
    )
    begun, enabled = entries_after(before)
    assert (begun.action, enabled.action) == (
        "user.second_factor_begun", "user.second_factor_enabled",
    )  # fmt: skip
    overview = client.get(PAGE).content.decode()
    secrets = [device.key, second_factor.key_text(device), *codes]
    assert not [s for s in secrets if s in overview + begun.details + enabled.details]
    assert "10 recovery codes left" in overview


def test_the_app_is_told_who_and_where() -> None:
    device = second_factor.begin(make_user(), by=BY)

    assert device.config_url.startswith("otpauth://totp/Customer%20Segmentation%3Aann?secret=")


def test_a_wrong_first_code_turns_nothing_on() -> None:
    client = client_of(make_user())
    client.post(PAGE + "set-up/", {"password": PASSWORD})

    with one_entry(action="user.second_factor_enabled", outcome="refused", actor_id="ann"):
        response = client.post(PAGE + "confirm/", {"code": "abcdef"})

    assert "This code is wrong" in response.content.decode()
    assert not TOTPDevice.objects.filter(confirmed=True).exists()
    assert not RecoveryCode.objects.exists()


@pytest.mark.parametrize("place", ["set-up/", "codes/", "off/"])
def test_each_change_asks_for_the_password(place: str) -> None:
    user = make_user()
    if place != "set-up/":
        enrolled(user)
    client = client_of(user)
    devices = list(TOTPDevice.objects.values_list())
    codes = list(RecoveryCode.objects.values_list())

    assert client.get(PAGE + place).status_code == 200
    with one_entry(outcome="refused", actor_id="ann", target_id="ann"):
        response = client.post(PAGE + place, {"password": "wrong"})

    assert "This is not your password" in response.content.decode()
    assert list(TOTPDevice.objects.values_list()) == devices
    assert list(RecoveryCode.objects.values_list()) == codes


def test_guessing_the_password_there_is_locked(settings: Any) -> None:
    settings.LOGIN_FAILURES = 1
    client = client_of(make_user())
    client.post(PAGE + "set-up/", {"password": "wrong"})

    response = client.post(PAGE + "set-up/", {"password": PASSWORD})

    assert "Too many attempts" in response.content.decode()
    assert not TOTPDevice.objects.exists()


def test_another_session_cannot_confirm_what_this_one_began() -> None:
    user = make_user()
    client_of(user).post(PAGE + "set-up/", {"password": PASSWORD})

    client_of(user).post(PAGE + "confirm/", {"code": code_of(TOTPDevice.objects.get())})

    assert not TOTPDevice.objects.filter(confirmed=True).exists()


def test_a_second_phone_needs_the_first_turned_off() -> None:
    user = make_user()
    device, _ = enrolled(user)

    client_of(user).post(PAGE + "set-up/", {"password": PASSWORD})

    assert TOTPDevice.objects.get() == device


def test_new_codes_end_the_old_ones_and_turning_off_ends_all() -> None:
    user = make_user()
    _, old = enrolled(user)
    client = client_of(user)

    with one_entry(action="user.recovery_codes_renewed", actor_id="ann"):
        client.post(PAGE + "codes/", {"password": PASSWORD})
    assert second_factor.verify(user, old[0]) == ""
    assert RecoveryCode.objects.count() == 10
    with one_entry(action="user.second_factor_disabled", actor_id="ann", target_id="ann"):
        client.post(PAGE + "off/", {"password": PASSWORD})

    assert not TOTPDevice.objects.exists() and not RecoveryCode.objects.exists()


# -- signing in ---------------------------------------------------------------------------------


def test_the_password_alone_signs_nobody_in_who_has_a_second_factor() -> None:
    enrolled(make_user())
    client = Client()

    with one_entry(action="user.sign_in_code_asked", actor_kind="anonymous", target_id="ann"):
        response = password_sent(client, next="/admin/audit/")

    assert response["Location"] == f"{CODE}?next=%2Fadmin%2Faudit%2F"
    assert not is_signed_in(client)


def test_the_code_signs_in_and_leads_on() -> None:
    device, _ = enrolled(make_user())
    client = Client()
    page = password_sent(client, next="/admin/password_change/")["Location"]

    asked = client.get(page).content.decode()
    with one_entry(action="user.signed_in", actor_id="ann", details='{"second_factor":"app"}'):
        response = client.post(page, {"code": code_of(device)})

    assert 'autocomplete="one-time-code"' in asked
    assert response["Location"] == "/admin/password_change/"
    assert is_signed_in(client)


def test_no_code_works_twice() -> None:
    device, _ = enrolled(make_user())
    code = code_of(device)
    first, second = Client(), Client()
    for client in (first, second):
        password_sent(client)
    first.post(CODE, {"code": code})

    with one_entry(
        action="user.sign_in_failed", actor_kind="anonymous", target_id="ann",
        details='{"step":"code"}',
    ):  # fmt: skip
        second.post(CODE, {"code": code})

    assert is_signed_in(first) and not is_signed_in(second)


def test_a_recovery_code_works_once_however_it_is_typed() -> None:
    _, codes = enrolled(make_user())
    first, second = Client(), Client()
    for client in (first, second):
        password_sent(client)

    with one_entry(
        action="user.signed_in", details='{"codes_left":9,"second_factor":"recovery code"}'
    ):
        first.post(f"{CODE}?recovery=1", {"code": codes[0].upper().replace("-", " ")})
    second.post(f"{CODE}?recovery=1", {"code": codes[0]})

    assert is_signed_in(first) and not is_signed_in(second)


def test_wrong_codes_count_towards_the_lock(settings: Any) -> None:
    settings.LOGIN_FAILURES = 3
    device, _ = enrolled(make_user())
    client = Client()
    password_sent(client)
    for _ in range(2):
        client.post(CODE, {"code": "abcdef"})

    with one_entry(action="user.sign_in_locked", target_id="ann"):
        response = client.post(CODE, {"code": code_of(device)})

    assert response.status_code == 429 and "Too many attempts" in response.content.decode()
    assert not is_signed_in(client)


@pytest.mark.parametrize("change", ["late", "password", "inactive", "never"])
def test_a_code_needs_the_password_shortly_before(change: str) -> None:
    user = make_user()
    device, _ = enrolled(user)
    client = Client()
    if change != "never":
        password_sent(client)
    if change == "late":
        session = client.session
        session["sign_in_pending"] = {**session["sign_in_pending"], "until": time.time() - 1}
        session.save()
    if change == "password":
        user.set_password("another one")
    user.is_active = change != "inactive"
    user.save()

    response = client.post(CODE, {"code": code_of(device)})

    assert response["Location"] == LOGIN
    assert not is_signed_in(client)


# -- required, and taken away -------------------------------------------------------------------


def test_where_it_is_required_nothing_opens_before_it_is_set_up(settings: Any) -> None:
    settings.REQUIRE_TOTP = True
    user = User.objects.create_superuser("ann", password=PASSWORD)
    client = client_of(user)

    for url in (HOME, "/admin/audit/auditentry/", "/admin/auth/user/add/"):
        assert client.get(url)["Location"] == PAGE
    before = User.objects.count()
    sent = {"username": "bob", "password1": PASSWORD, "password2": PASSWORD}
    assert client.post("/admin/auth/user/add/", sent)["Location"] == PAGE
    assert User.objects.count() == before
    assert "required" in client.get(PAGE).content.decode()
    enrolled(user)

    assert is_signed_in(client)


def test_a_superuser_takes_it_away_from_another() -> None:
    user = make_user()
    enrolled(user)
    root = superuser()
    page = reverse("admin:auth_user_remove_second_factor", args=[user.pk])

    assert page in root.get(reverse("admin:auth_user_change", args=[user.pk])).content.decode()
    assert staff("auth.change_user", name="bob").post(page).status_code == 403
    assert root.get(page).status_code == 200 and TOTPDevice.objects.exists()
    with one_entry(action="user.second_factor_removed", actor_id="root", target_id="ann"):
        root.post(page)

    assert not TOTPDevice.objects.exists() and not RecoveryCode.objects.exists()


def test_a_command_takes_it_away() -> None:
    enrolled(make_user())

    with one_entry(action="user.second_factor_removed", actor_kind="command", target_id="ann"):
        call_command("remove_second_factor", "ann")

    assert not TOTPDevice.objects.exists()
    with (
        one_entry(action="user.second_factor_removed", outcome="refused", target_id="ann"),
        pytest.raises(CommandError, match="has no second factor"),
    ):
        call_command("remove_second_factor", "ann")


def test_no_secret_is_in_the_trail_or_on_a_page_of_the_admin() -> None:
    user = make_user(name="ann")
    device, codes = enrolled(user)
    root = superuser()

    page = root.get(reverse("admin:auth_user_change", args=[user.pk])).content.decode()

    text = page + "".join(AuditEntry.objects.values_list("details", flat=True))
    assert not [s for s in (device.key, second_factor.key_text(device), *codes) if s in text]
