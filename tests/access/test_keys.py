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

from access.keys import create_key, revoke
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
    assert secret.partition(".")[2] not in stored
    assert secret.partition(".")[2] not in entries[0].details
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


def test_a_key_expires_at_its_moment() -> None:
    _, secret = make_key(
        scopes=[Scope.MODELS_READ], expires_at=timezone.now() - timedelta(seconds=1)
    )

    response = Client(headers={"X-API-Key": secret}).get("/models")

    problem_of(response, status=401, code="invalid-key")
