"""Keys are shown once, hashed at rest, bounded by scopes, and each change leaves its entry."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from access.keys import MAX_OVERLAP_HOURS, create_key, revoke, rotate
from access.models import ApiKey
from access.scopes import Scope
from tests.expectations import one_entry, problem_of
from tests.factories import BY, make_key

pytestmark = pytest.mark.django_db


def test_the_secret_is_stored_nowhere() -> None:
    with one_entry(action="api_key.created", actor_id="tests") as entries:
        key, secret = make_key(scopes=[Scope.PREDICT])

    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM access_apikey")
        stored = str(cursor.fetchall())
    assert secret[13:] not in stored
    assert secret[13:] not in entries[0].details
    assert key.hashed_key not in entries[0].details
    assert entries[0].target_id == key.prefix
    assert json.loads(entries[0].details)["scopes"] == ["predict"]


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": ["everything"]},
        {"scopes": [], "rate": "60 per minute"},
        {"scopes": [], "rate": "5/x"},
        {"scopes": [], "name": ""},
        {"scopes": [], "expires_at": timezone.now() - timedelta(seconds=1)},
    ],
)
def test_a_key_with_nonsense_is_not_made(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        create_key(**{"name": "tests", "by": BY, **fields})

    assert not ApiKey.objects.exists()


def test_a_revoked_key_is_refused_from_now_on() -> None:
    key, secret = make_key(scopes=[Scope.MODELS_READ])
    client = Client(headers={"X-API-Key": secret})
    assert client.get("/models").status_code == 200

    with one_entry(action="api_key.revoked", target_id=key.prefix):
        revoke(key, by=BY)
        revoke(key, by=BY)

    problem_of(client.get("/models"), status=401, code="invalid-key")


def test_the_command_shows_the_key_once_and_it_works() -> None:
    out = StringIO()

    with one_entry(action="api_key.created", actor_kind="command"):
        call_command(
            "create_api_key", "crm", "--scopes", "models:read", "--rate", "5/m",
            "--expires", "2999-01-31T00:00:00", stdout=out,
        )  # fmt: skip

    secret = out.getvalue().splitlines()[-1]
    response = Client(headers={"X-API-Key": secret}).get("/models")
    assert response.status_code == 200
    assert response.headers["X-RateLimit-Limit"] == "5"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--expires", "soon"],
        ["--expires", "2999-02-31T00:00:00"],
        ["--expires", "2001-01-31T00:00:00"],
        ["--rate", "fast"],
        ["--rate", "60/m\n"],
    ],
)
def test_the_command_refuses_nonsense(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("create_api_key", "crm", *arguments, stdout=StringIO())

    assert not ApiKey.objects.exists()


# -- rotation -----------------------------------------------------------------------------------


def test_both_keys_work_until_the_overlap_ends() -> None:
    old, old_secret = make_key(scopes=[Scope.MODELS_READ], rate="600/m")
    before = timezone.now()

    with one_entry(action="api_key.rotated", target_id=old.pk, actor_id="tests") as entries:
        new, new_secret = rotate(old, by=BY)

    for secret in (old_secret, new_secret):
        assert Client(headers={"X-API-Key": secret}).get("/models").status_code == 200
    assert (new.name, new.scopes, new.rate) == (old.name, old.scopes, old.rate)
    assert (new.rotated_from_id, new.expiry_date) == (old.pk, None)
    old.refresh_from_db()
    overlap = old.expiry_date - before
    assert timedelta(hours=24) <= overlap < timedelta(hours=24, minutes=1)
    details = json.loads(entries[0].details)
    assert details["rotated_to"] == new.pk
    assert details["old_expires_at"] == old.expiry_date.isoformat()
    assert details["changes"] == {"expires_at": [None, old.expiry_date.isoformat()]}
    assert new_secret[13:] not in entries[0].details


def test_without_an_overlap_the_old_key_ends_at_once() -> None:
    old, old_secret = make_key(scopes=[Scope.MODELS_READ])

    _, new_secret = rotate(old, by=BY, overlap_hours=0)

    statuses = [
        Client(headers={"X-API-Key": secret}).get("/models").status_code
        for secret in (old_secret, new_secret)
    ]
    assert statuses == [401, 200]


def test_no_key_outlives_its_end_by_the_overlap_and_the_new_one_lives_as_long() -> None:
    ends_at = timezone.now() + timedelta(hours=3)
    old, _ = make_key(scopes=[])
    created_at = timezone.now() - timedelta(days=90)
    ApiKey.objects.filter(pk=old.pk).update(created=created_at, expiry_date=ends_at)

    new, _ = rotate(old, by=BY)

    old.refresh_from_db()
    assert old.expiry_date == ends_at
    life = new.expiry_date - timezone.now()
    assert timedelta(days=90) < life < timedelta(days=90, hours=4)


@pytest.mark.parametrize("hours", [-1, MAX_OVERLAP_HOURS + 1])
def test_an_overlap_has_bounds(hours: int) -> None:
    key, _ = make_key(scopes=[])

    with pytest.raises(ValidationError):
        rotate(key, by=BY, overlap_hours=hours)

    assert ApiKey.objects.count() == 1


def test_a_dead_key_is_not_rotated() -> None:
    revoked, _ = make_key(scopes=[])
    revoke(revoked, by=BY)
    expired, _ = make_key(scopes=[], expires_at=timezone.now() - timedelta(seconds=1))

    for key in (revoked, expired):
        with pytest.raises(ValidationError, match="not usable"):
            rotate(key, by=BY)

    assert ApiKey.objects.count() == 2


def test_a_key_is_rotated_once_and_then_its_successor() -> None:
    first, _ = make_key(scopes=[])
    second, _ = rotate(first, by=BY)

    with pytest.raises(ValidationError, match=f"rotated to {second.pk}"):
        rotate(first, by=BY)

    third, _ = rotate(second, by=BY)
    assert third.rotated_from_id == second.pk


def test_the_command_rotates_a_key() -> None:
    old, old_secret = make_key(scopes=[Scope.MODELS_READ])
    out = StringIO()

    with one_entry(action="api_key.rotated", actor_kind="command", target_id=old.pk):
        call_command("rotate_api_key", old.pk, "--overlap", "2", stdout=out)

    secret = out.getvalue().splitlines()[-1]
    assert Client(headers={"X-API-Key": secret}).get("/models").status_code == 200
    old.refresh_from_db()
    assert old.expiry_date < timezone.now() + timedelta(hours=2)


def test_the_command_revokes_a_key_once() -> None:
    key, secret = make_key(scopes=[Scope.MODELS_READ])

    for outcome in ("succeeded", "refused"):
        with one_entry(action="api_key.revoked", outcome=outcome, target_id=key.pk) as entries:
            call_command("revoke_api_key", key.pk, stdout=StringIO())
        assert entries[0].actor_kind == "command"

    problem_of(Client(headers={"X-API-Key": secret}).get("/models"), status=401, code="invalid-key")


@pytest.mark.parametrize("command", ["rotate_api_key", "revoke_api_key"])
def test_a_command_given_the_key_itself_does_not_repeat_it(command: str) -> None:
    _, secret = make_key(scopes=[])

    with one_entry(outcome="refused") as entries, pytest.raises(CommandError) as refusal:
        call_command(command, secret, stdout=StringIO())

    assert secret not in str(refusal.value) + entries[0].details + entries[0].target_id


@pytest.mark.parametrize("hours", ["-1", "1000000", "soon"])
def test_the_command_refuses_an_overlap_out_of_bounds(hours: str) -> None:
    key, _ = make_key(scopes=[])

    with pytest.raises(CommandError):
        call_command("rotate_api_key", key.pk, "--overlap", hours, stdout=StringIO())

    assert ApiKey.objects.count() == 1


def test_the_library_reads_our_keys() -> None:
    _, secret = make_key(scopes=[])

    assert ApiKey.objects.is_valid(secret)
    assert not ApiKey.objects.is_valid(secret[:-1])


def test_a_key_expires_at_its_moment() -> None:
    _, secret = make_key(
        scopes=[Scope.MODELS_READ], expires_at=timezone.now() - timedelta(seconds=1)
    )

    response = Client(headers={"X-API-Key": secret}).get("/models")

    problem_of(response, status=401, code="invalid-key")
