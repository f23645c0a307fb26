"""Who calls: the two headers, and one and the same 401 for every key that is not valid."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from access.keys import revoke
from access.scopes import Scope
from tests.expectations import one_entry, problem_of
from tests.factories import BY, make_key

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": settings.API_KEY},
        {"Authorization": f"Api-Key {settings.API_KEY}"},
        {"Authorization": f"api-key   {settings.API_KEY}"},
    ],
)
def test_the_bootstrap_key_has_every_scope(headers: dict[str, str]) -> None:
    with one_entry(action="models.read", actor_kind="api_key", actor_id="bootstrap"):
        response = Client(headers=headers).get("/models")

    assert response.status_code == 200


def test_a_stored_key_is_named_by_its_prefix_in_the_trail() -> None:
    key, secret = make_key(scopes=[Scope.MODELS_READ])

    with one_entry(actor_kind="api_key", actor_id=key.prefix, actor_label="tests"):
        response = Client(headers={"X-API-Key": secret}).get("/models")

    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer abc"}]
)
def test_no_key_is_a_401_that_says_how_to_send_one(headers: dict[str, str]) -> None:
    with one_entry(action="models.read", actor_kind="anonymous", outcome="refused"):
        response = Client(headers=headers).get("/models")

    problem_of(response, status=401, code="no-key")
    assert response.headers["WWW-Authenticate"].startswith("Api-Key ")


def bad_keys() -> dict[str, str]:
    revoked, revoked_secret = make_key(scopes=[Scope.MODELS_READ])
    revoke(revoked, by=BY)
    yesterday = timezone.now() - timedelta(days=1)
    _, expired_secret = make_key(scopes=[Scope.MODELS_READ], expires_at=yesterday)
    _, good_secret = make_key(scopes=[Scope.MODELS_READ])
    return {
        "unknown": "AbCdEf12." + "x" * 32,
        "wrong": good_secret[:-1] + ("a" if good_secret[-1] != "a" else "b"),
        "another prefix": "AbCdEf12." + good_secret.partition(".")[2],
        "revoked": revoked_secret,
        "expired": expired_secret,
        "almost the bootstrap key": settings.API_KEY[:-1],
        "empty": "",
        "a dot": ".",
        "long": "k" * 10_000,
        "not ASCII": "schl\u00fcssel",
        "an injection": "' OR 1=1 --.x",
    }


def test_every_invalid_key_gets_one_and_the_same_answer() -> None:
    answers = {}
    for name, key in bad_keys().items():
        with one_entry(actor_kind="anonymous", actor_id="", outcome="refused", status_code=401):
            response = Client(headers={"X-API-Key": key}).get("/models")
        body = problem_of(response, status=401, code="invalid-key")
        del body["request_id"]
        answers[name] = (body, response.headers["WWW-Authenticate"])

    first = next(iter(answers.values()))
    assert all(answer == first for answer in answers.values()), answers


def test_a_nul_in_a_key_is_an_invalid_key() -> None:
    response = Client().get("/models", HTTP_X_API_KEY="AbC\x00Ef12.x")

    problem_of(response, status=401, code="invalid-key")


def test_no_part_of_a_refused_key_is_kept() -> None:
    key = "AbCdEf12." + "x" * 32

    with one_entry() as entries:
        response = Client(headers={"X-API-Key": key}).get("/models")

    assert key not in response.text
    assert "AbCdEf12" not in entries[0].details + entries[0].actor_id + entries[0].actor_label


def test_a_key_in_the_url_is_not_a_key() -> None:
    response = Client().get(f"/models?api_key={settings.API_KEY}")

    problem_of(response, status=401, code="no-key")


def test_a_valid_key_costs_one_query(django_assert_num_queries: object) -> None:
    from access.authentication import verify

    _, secret = make_key(scopes=[Scope.PREDICT])

    with django_assert_num_queries(1):  # type: ignore[operator]
        assert verify(secret) is not None
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert verify(settings.API_KEY) is not None
