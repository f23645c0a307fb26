"""Who calls: the two headers, and one and the same 401 for every key that is not valid."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from rest_framework_api_key.crypto import KeyGenerator, Sha512ApiKeyHasher

from access.authentication import NO_KEY_ID, verify
from access.key_format import SECRET_LENGTH, key_id_of, key_text
from access.keys import revoke
from access.models import ApiKey
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
    "headers", [{}, {"Authorization": "Basic abc"}, {"Authorization": "ApiKey abc"}]
)
def test_no_key_is_a_401_that_says_how_to_send_one(headers: dict[str, str]) -> None:
    with one_entry(action="models.read", actor_kind="anonymous", outcome="refused"):
        response = Client(headers=headers).get("/models")

    problem_of(response, status=401, code="no-key")
    realm = 'realm="Customer Segmentation API"'
    assert response.headers["WWW-Authenticate"] == f"Api-Key {realm}, Bearer {realm}"


def bad_keys() -> dict[str, str]:
    revoked, revoked_secret = make_key(scopes=[Scope.MODELS_READ])
    revoke(revoked, by=BY)
    yesterday = timezone.now() - timedelta(days=1)
    _, expired_secret = make_key(scopes=[Scope.MODELS_READ], expires_at=yesterday)
    _, good_secret = make_key(scopes=[Scope.MODELS_READ])
    good_id = key_id_of(good_secret)
    return {
        "unknown": key_text("AbCdEf12", "x" * SECRET_LENGTH),
        "unknown, of the earlier form": "AbCdEf12." + "x" * 32,
        "wrong": key_text(good_id, "x" * SECRET_LENGTH),
        "wrong, of the earlier form": f"{good_id}." + "x" * 32,
        "another prefix": key_text("AbCdEf12", good_secret[13:-6]),
        "a typo": good_secret[:-1] + ("a" if good_secret[-1] != "a" else "b"),
        "a typo in the prefix": good_secret.replace("seg_", "sag_"),
        "cut off": good_secret[:-1],
        "with more behind it": good_secret + "\n",
        "revoked": revoked_secret,
        "expired": expired_secret,
        "almost the bootstrap key": settings.API_KEY[:-1],
        "empty": "",
        "a dot": ".",
        "long": "k" * 10_000,
        "not ASCII": "schl\u00fcssel",
        "an injection": "' OR 1=1 --.x",
    }


def test_every_invalid_key_gets_one_and_the_same_answer(settings: Any) -> None:
    settings.BAD_KEY_LIMIT = "1000/m"
    answers = {}
    for name, key in bad_keys().items():
        with one_entry(actor_kind="anonymous", actor_id="", outcome="refused", status_code=401):
            response = Client(headers={"X-API-Key": key}).get("/models")
        body = problem_of(response, status=401, code="invalid-key")
        del body["request_id"]
        varying = {"X-Request-ID", "RateLimit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
        answers[name] = (body, {k: v for k, v in response.headers.items() if k not in varying})

    first = next(iter(answers.values()))
    assert all(answer == first for answer in answers.values()), answers


def test_a_nul_in_a_key_is_an_invalid_key() -> None:
    response = Client().get("/models", HTTP_X_API_KEY="AbC\x00Ef12.x")

    problem_of(response, status=401, code="invalid-key")


@pytest.mark.parametrize("key", ["AbCdEf12." + "x" * 32, key_text("AbCdEf12", "x" * SECRET_LENGTH)])
def test_no_part_of_a_refused_key_is_kept(key: str) -> None:

    with one_entry() as entries:
        response = Client(headers={"X-API-Key": key}).get("/models")

    assert key not in response.text
    assert "AbCdEf12" not in entries[0].details + entries[0].actor_id + entries[0].actor_label


def test_a_key_of_the_earlier_form_goes_on_working() -> None:
    secret = "AbCdEf12." + "x" * 32
    hashed = KeyGenerator().hash(secret)
    ApiKey.objects.create(prefix="AbCdEf12", hashed_key=hashed, name="old", scopes=["models:read"])

    with one_entry(actor_id="AbCdEf12", actor_label="old"):
        response = Client(headers={"X-API-Key": secret}).get("/models")

    assert response.status_code == 200


def test_a_good_key_costs_one_query(django_assert_num_queries: Any) -> None:
    _, secret = make_key(scopes=[Scope.PREDICT])

    with django_assert_num_queries(1):
        assert verify(secret) is not None
    with django_assert_num_queries(0):
        assert verify(settings.API_KEY) is not None


@pytest.mark.parametrize("kind", ["unknown", "wrong", "revoked", "expired", "a typo", "empty"])
def test_every_refusal_costs_one_query_and_one_hash(
    kind: str, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    hashed = []
    encode = Sha512ApiKeyHasher.encode
    monkeypatch.setattr(
        Sha512ApiKeyHasher,
        "encode",
        lambda self, text, salt: hashed.append(len(text)) or encode(self, text, salt),
    )
    key = bad_keys()[kind]
    hashed.clear()

    with django_assert_num_queries(1) as queries:
        assert verify(key) is None

    assert hashed == [62]
    asked = [query["sql"] for query in queries.captured_queries]
    assert (NO_KEY_ID in asked[0]) == (kind in ("a typo", "empty"))
