"""Access tokens: what a key gets for itself, what a token opens, and what is no token of ours."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from access import tokens
from access.keys import revoke, rotate
from access.models import ApiKey
from access.scopes import Scope
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import BY, make_key

pytestmark = pytest.mark.django_db

READ, PREDICT = Scope.MODELS_READ.value, Scope.PREDICT.value


def exchange(secret: str, body: Any = None, **headers: str) -> Any:
    client = Client(headers={"X-API-Key": secret, **headers})
    if body is None:
        return client.generic("POST", "/auth/token")
    return client.post("/auth/token", json.dumps(body), content_type="application/json")


def token_of(secret: str, *scopes: str) -> str:
    response = exchange(secret, {"scopes": scopes} if scopes else None)
    assert response.status_code == 200, response.content
    return str(response.json()["access_token"])


def bearer(token: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"})


# -- exchange -----------------------------------------------------------------------------------


def test_a_key_gets_a_token_with_its_scopes() -> None:
    key, secret = make_key(scopes=[PREDICT, READ])

    with one_entry(
        action="token.issued", actor_id=key.pk, target_type="api_key", target_id=key.pk
    ) as entries:
        response = exchange(secret)

    body = response.json()
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert body.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 30 * 60)
    assert body["scope"] == f"{READ} {PREDICT}"
    details = json.loads(entries[0].details)
    assert details["scopes"] == [READ, PREDICT]
    assert body["access_token"] not in entries[0].details
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["jti"] == details["token"]
    assert (claims["sub"], claims["scopes"]) == (key.pk, [READ, PREDICT])
    assert claims["exp"] - claims["iat"] == 30 * 60


def test_a_token_does_not_outlive_its_key() -> None:
    key, secret = make_key(scopes=[READ])
    ends_at = timezone.now() + timedelta(seconds=90)
    ApiKey.objects.filter(pk=key.pk).update(expiry_date=ends_at)

    body = exchange(secret).json()

    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["exp"] == int(ends_at.timestamp())
    assert body["expires_in"] == claims["exp"] - claims["iat"] <= 90


def test_a_token_may_have_fewer_scopes() -> None:
    _, secret = make_key(scopes=[PREDICT, READ])

    client = bearer(token_of(secret, READ))

    assert client.get("/models").status_code == 200
    refused = client.post("/predict/kmeans", "[]", content_type="application/json")
    problem_of(refused, status=403, code="scope-missing")


def test_a_key_without_scopes_gets_a_token_that_may_do_nothing() -> None:
    _, secret = make_key(scopes=[])

    response = exchange(secret)

    assert response.json()["scope"] == ""
    problem_of(
        bearer(response.json()["access_token"]).get("/models"), status=403, code="scope-missing"
    )


def test_no_scope_is_given_that_the_key_lacks() -> None:
    _, secret = make_key(scopes=[READ])

    with one_entry(action="token.issued", outcome="refused", status_code=403):
        response = exchange(secret, {"scopes": [READ, PREDICT]})

    body = problem_of(response, status=403, code="scope-missing")
    assert body["detail"] == "The key lacks the scope predict."


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": []}, "#/scopes"),
        ({"scopes": ["very-secret"]}, "#/scopes/0"),
        ({"scopes": [READ, 1]}, "#/scopes/1"),
        ({"scopes": [None]}, "#/scopes/0"),
        ({"scopes": [[READ]]}, "#/scopes/0"),
        ({"scopes": "models:read"}, "#/scopes"),
        ({"scopes": None}, "#/scopes"),
        ({"scopes": [READ] * 100}, "#/scopes"),
        ({"scope": "very-secret"}, "#/scope"),
        ([], "#/non_field_errors"),
        ("very-secret", "#/non_field_errors"),
    ],
)
def test_a_bad_body_is_refused_by_the_place(body: Any, pointer: str) -> None:
    with one_entry(action="token.issued", outcome="refused", status_code=400):
        response = exchange(settings.API_KEY, body)

    problem = problem_of(response, status=400, code="invalid-parameter")
    assert pointer in {found for found, _ in errors_of(problem)} or pointer == "#/non_field_errors"
    assert "very-secret" not in response.text


def test_a_token_gets_no_token() -> None:
    client = bearer(token_of(settings.API_KEY))

    with one_entry(action="token.issued", outcome="refused", status_code=403):
        response = client.generic("POST", "/auth/token")

    problem_of(response, status=403, code="key-needed")


# -- use ----------------------------------------------------------------------------------------


def test_the_trail_names_the_key_and_says_that_it_was_a_token() -> None:
    key, secret = make_key(scopes=[READ])
    client = bearer(token_of(secret))

    with one_entry(actor_kind="api_key", actor_id=key.pk, actor_label="tests (token)"):
        assert client.get("/models").status_code == 200


def test_the_scheme_is_read_in_any_case() -> None:
    token = token_of(settings.API_KEY)

    for scheme in ("bearer", "BEARER", "Bearer "):
        client = Client(headers={"Authorization": f"{scheme} {token}"})
        assert client.get("/models").status_code == 200


def test_a_token_counts_against_the_limit_of_its_key() -> None:
    _, secret = make_key(scopes=[READ], rate="3/d")
    client = bearer(token_of(secret))
    Client(headers={"X-API-Key": secret}).get("/models")

    statuses = [client.get("/models").status_code for _ in range(2)]

    assert statuses == [200, 429]


def test_a_token_costs_one_query(django_assert_num_queries: Any) -> None:
    from access.authentication import verify_token

    _, secret = make_key(scopes=[READ])
    token = token_of(secret)

    with django_assert_num_queries(1):
        assert verify_token(token) is not None


def test_a_token_is_a_use_of_its_key() -> None:
    key, secret = make_key(scopes=[READ])

    token_of(secret)

    assert ApiKey.objects.get(pk=key.pk).last_used_at is not None


def revoked(key: ApiKey) -> None:
    revoke(key, by=BY)


def expired(key: ApiKey) -> None:
    ApiKey.objects.filter(pk=key.pk).update(expiry_date=timezone.now() - timedelta(seconds=1))


def rotated_away(key: ApiKey) -> None:
    rotate(key, by=BY, overlap_hours=0)


@pytest.mark.parametrize("ended", [revoked, expired, rotated_away])
def test_a_token_ends_with_its_key(ended: Callable[[ApiKey], None]) -> None:
    key, secret = make_key(scopes=[READ])
    client = bearer(token_of(secret))
    assert client.get("/models").status_code == 200

    ended(key)

    problem_of(client.get("/models"), status=401, code="invalid-key")


def test_a_token_has_no_scope_that_its_key_lost() -> None:
    key, secret = make_key(scopes=[READ, PREDICT])
    client = bearer(token_of(secret))

    ApiKey.objects.filter(pk=key.pk).update(scopes=[PREDICT, Scope.AUDIT_READ])

    problem_of(client.get("/models"), status=403, code="scope-missing")
    problem_of(client.get("/audit/logs"), status=403, code="scope-missing")


def test_a_token_of_the_bootstrap_key_ends_when_that_changes(settings: Any) -> None:
    client = bearer(token_of(settings.API_KEY))
    with one_entry(actor_id="bootstrap", actor_label="API_KEY of the environment (token)"):
        assert client.get("/models").status_code == 200

    settings.API_KEY = "another-bootstrap-key-" + "c" * 32

    problem_of(client.get("/models"), status=401, code="invalid-key")


def test_all_tokens_end_when_the_secret_changes(settings: Any) -> None:
    client = bearer(token_of(settings.API_KEY))

    settings.JWT_SECRET_KEY = "another-secret-for-tokens-" + "s" * 64

    problem_of(client.get("/models"), status=401, code="invalid-key")


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_each_algorithm_that_may_be_set_works(algorithm: str, settings: Any) -> None:
    settings.JWT_ALGORITHM = algorithm

    token = token_of(settings.API_KEY)

    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": "JWT"}
    assert bearer(token).get("/models").status_code == 200


# -- attacks ------------------------------------------------------------------------------------


def claims_of(**changed: Any) -> dict[str, Any]:
    """The claims of a good token for the bootstrap key; None leaves one out."""
    good = jwt.decode(token_of(settings.API_KEY), options={"verify_signature": False})
    return {name: value for name, value in (good | changed).items() if value is not None}


def signed(claims: Any, *, key: str = "", header: Any = None, algorithm: str = "HS256") -> str:
    """Signed by PyJWT's lower level, which takes any header and payload."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    secret = key or settings.JWT_SECRET_KEY
    return jwt.PyJWS().encode(payload, secret, algorithm, headers=header)


def part(content: Any) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(header: Any) -> str:
    return f"{part(header)}.{part(claims_of())}."


def tampered() -> str:
    head, _, signature = signed(claims_of(scopes=[READ])).split(".")
    return f"{head}.{part(claims_of())}.{signature}"


NOW = int(time.time())
DAY = 86_400  # longer than any run of the tests
FORGERIES: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "a word": lambda: "abc",
    "dots": lambda: "..",
    "a key": lambda: settings.API_KEY,
    "not base64": lambda: "a.b.c",
    "no algorithm": lambda: unsigned({"alg": "none", "typ": "JWT"}),
    "no algorithm, in capitals": lambda: unsigned({"alg": "NONE"}),
    "no algorithm, but a signature": lambda: unsigned({"alg": "none"}) + part(b"signature"),
    "no header field": lambda: unsigned({}) + part(b"signature"),
    "another secret": lambda: signed(claims_of(), key="another-secret-" + "s" * 64),
    "an empty secret": lambda: unsigned({"alg": "HS256"}) + part(bytes(32)),
    "another algorithm of the kind": lambda: signed(claims_of(), algorithm="HS512"),
    "another kind of algorithm": lambda: unsigned({"alg": "RS256"}) + part(b"x" * 256),
    "the signature cut": lambda: signed(claims_of())[:-4],
    "the payload changed": tampered,
    "the header changed": lambda: (
        f"{part({'alg': 'HS256'})}.{signed(claims_of()).partition('.')[2]}"
    ),
    "expired": lambda: signed(claims_of(exp=NOW - 60, iat=NOW - 120, nbf=NOW - 120)),
    "not yet valid": lambda: signed(claims_of(nbf=NOW + DAY)),
    "issued in the future": lambda: signed(claims_of(iat=NOW + DAY)),
    "another audience": lambda: signed(claims_of(aud="another-service")),
    "another issuer": lambda: signed(claims_of(iss="another-service")),
    **{
        f"no {name}": lambda name=name: signed(claims_of(**{name: None}))  # type: ignore[misc]
        for name in (*tokens.CLAIMS, "mark")
    },
    "another mark": lambda: signed(claims_of(mark="0" * 64)),
    "a mark beyond ASCII": lambda: signed(claims_of(mark="\u00fc")),
    "a mark that is half a character": lambda: signed(claims_of(mark="\ud800")),
    "an unknown key": lambda: signed(claims_of(sub="AbCdEf12")),
    "no key's name": lambda: signed(claims_of(sub="' OR 1=1 --")),
    "a NUL for a key": lambda: signed(claims_of(sub="\x00")),
    "a number for a key": lambda: signed(claims_of(sub=1)),
    "scopes in a text": lambda: signed(claims_of(scopes="models:read")),
    "scopes that are none": lambda: signed(claims_of(scopes=[1, {}])),
    "an infinite end": lambda: signed(json.dumps(claims_of()).replace("1", "1e999", 1).encode()),
    "a list of claims": lambda: signed([1]),
    "a deep header": lambda: f"{part(b'[' * 2_900)}.e30.c2ln",
    "an unknown critical field": lambda: signed(claims_of(), header={"crit": ["exp"], "exp": 1}),
    "a key of its own": lambda: signed(
        claims_of(), key="k" * 64, header={"jwk": {"kty": "oct", "k": part(b"k" * 64)}}
    ),
    "a path for a key": lambda: signed(claims_of(), key="k" * 64, header={"kid": "/dev/null"}),
    "huge": lambda: signed(claims_of(padding="x" * 100_000)),
    "not ASCII": lambda: signed(claims_of())[:-1] + "\u00fc",
    "a line more": lambda: signed(claims_of()) + "\n.x",
    "two tokens": lambda: f"{signed(claims_of())} {signed(claims_of())}",
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_token_is_a_401_like_any_other(kind: str) -> None:
    token = FORGERIES[kind]()
    refused_key = Client(headers={"X-API-Key": "no-such-key"}).get("/models")

    with one_entry(actor_kind="anonymous", actor_id="", outcome="refused", status_code=401):
        response = Client().get("/models", HTTP_AUTHORIZATION=f"Bearer {token}")

    body, other = (
        problem_of(each, status=401, code="invalid-key") for each in (response, refused_key)
    )
    assert {**body, "request_id": ""} == {**other, "request_id": ""}
    assert response.headers["WWW-Authenticate"] == refused_key.headers["WWW-Authenticate"]


def test_the_forger_of_these_tests_can_make_a_good_one() -> None:
    assert bearer(signed(claims_of())).get("/models").status_code == 200
    assert bearer(signed(claims_of(exp=NOW + DAY, nbf=NOW))).get("/models").status_code == 200
