"""A key in a query string: refused as exposed, whoever sends it, and kept nowhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from urllib.parse import quote, unquote

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from access.api import typed_query
from access.key_format import SECRET_LENGTH, key_text
from access.scopes import Scope
from segments.customers import upsert_customers
from tests.expectations import one_entry, problem_of
from tests.factories import make_key

pytestmark = pytest.mark.django_db

KEY = key_text("AbCdEf12", "x" * SECRET_LENGTH)
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJBYkNkRWYxMiJ9.c2lnbmF0dXJl"


def encoded(text: str) -> str:
    """Percent-encoded, each character."""
    return "".join(f"%{ord(character):02x}" for character in text)


QUERIES = [
    *(f"{name}=some-value" for name in ("api_key", "apikey", "X-API-Key", "key", "token")),
    "access_token=",
    f"limit={KEY}",
    f"limit=10&segment={KEY}",
    f"segment=Bearer%20{TOKEN}",
    "segment=AbCdEf12." + "x" * 32,
    KEY,
    "limit=" + encoded(KEY),
    f"since={quote(settings.API_KEY)}",
    f"since=a{settings.API_KEY}b",
    f"limit=1;since={settings.API_KEY}",
    *(f"limit=1;{name}=some-value" for name in ("api_key", "jwt", "secret")),
    *(f"{name}=x" for name in ("access-token", "accessToken", "api.key", "apitoken", "Bearer")),
    *(f"{name}=x" for name in ("authorization", "auth", "secret", "api%5Fkey", "api%255Fkey")),
    "limit=" + encoded(encoded(KEY)),
    "limit=" + encoded(encoded(settings.API_KEY)),
    f"limit=a{encoded(TOKEN)}",
]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("path", ["/segments/kmeans", "/audit/logs"])
def test_a_key_in_the_url_is_a_400_that_says_to_revoke_it(path: str, query: str) -> None:
    with one_entry(actor_kind="anonymous", outcome="refused", status_code=400) as entries:
        response = Client().get(f"{path}?{query}")

    body = problem_of(response, status=400, code="key-in-url")
    assert "Revoke it" in body["detail"]
    assert body["instance"] == path
    details = json.loads(entries[0].details)
    assert details.items() >= {"method": "GET", "path": path, "code": "key-in-url"}.items()
    assert details.keys() <= {"method", "path", "code", "exposed_key"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_value_is_kept_nowhere(method: str, caplog: pytest.LogCaptureFixture) -> None:
    _, secret = make_key(scopes=[Scope.PREDICT])
    typed_query.cache_clear()

    with caplog.at_level(logging.DEBUG), one_entry() as entries:
        response = Client().generic(method, f"/monitor/drift?since={secret}")

    assert response.status_code == 400
    kept = (response.text, str(response.headers), entries[0].details, entries[0].actor_label)
    assert not [text for text in kept if secret[13:] in text]
    assert not [record for record in caplog.records if secret[13:] in record.getMessage()]
    assert typed_query.cache_info().currsize == 0


def test_the_entry_names_the_key_that_is_to_be_revoked() -> None:
    key, secret = make_key(scopes=[Scope.MODELS_READ])

    with one_entry(action="models.read", actor_kind="anonymous") as entries:
        Client().get(f"/models?key={secret}")

    assert json.loads(entries[0].details)["exposed_key"] == key.pk


def test_a_good_key_beside_it_changes_nothing(api: Client) -> None:
    with one_entry(actor_id="bootstrap", status_code=400):
        response = api.get(f"/models?api_key={settings.API_KEY}")

    problem_of(response, status=400, code="key-in-url")


@pytest.mark.parametrize("path", ["/", "/healthz", "/docs", "/schema", "/no/such/page"])
@pytest.mark.parametrize("query", [f"x={KEY}", f"a=1;api_key={settings.API_KEY}", "jwt=x"])
def test_where_nobody_needs_a_key_one_is_refused_too(path: str, query: str) -> None:
    with one_entry(action="api_key.exposed", actor_kind="anonymous", status_code=400) as entries:
        response = Client().get(f"{path}?{query}")

    problem_of(response, status=400, code="key-in-url")
    for secret in (KEY, settings.API_KEY):
        assert secret not in entries[0].details + response.text


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/", "/admin/no-such-page"])
def test_in_the_admin_it_is_a_page_that_says_so(path: str) -> None:
    with one_entry(action="api_key.exposed", actor_kind="anonymous", status_code=400):
        response = Client().get(f"{path}?api_key={KEY}")

    assert response.status_code == 400
    assert response.headers["Content-Type"].startswith("text/html")
    assert "Revoke it" in response.text and KEY not in response.text


@pytest.mark.parametrize("place", ["/customers/{}", "/x/{}", "/{}", "/jobs/1{}/x", "/admin/{}/"])
@pytest.mark.parametrize("secret", [KEY, settings.API_KEY, TOKEN])
@pytest.mark.parametrize("written", [quote, lambda text: encoded(encoded(text))])
def test_a_key_in_the_path_is_refused_and_kept_nowhere(
    place: str, secret: str, written: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), one_entry(status_code=400, outcome="refused") as entries:
        response = Client().get(place.format(written(secret)))

    assert response.status_code == 400
    assert "Revoke it" in response.text
    kept = [response.text, entries[0].details, entries[0].target_id]
    kept += [record.getMessage() for record in caplog.records]
    assert not [text for text in kept if secret in unquote(unquote(text))]


@pytest.mark.parametrize("customer_id", ["seg_standard_1", "customer." + "5" * 32, "eyJ.x"])
def test_an_id_that_only_looks_a_bit_like_a_key_is_read(api: Client, customer_id: str) -> None:
    upsert_customers({customer_id: {"x": 1}}, at=timezone.now())

    assert api.get(f"/customers/{customer_id}").json()["customer_id"] == customer_id


@pytest.mark.parametrize(
    "query",
    [
        *("", "limit=10", "segment=3&limit=5", "cursor=cD1DLTAwMDAwMg%3D%3D", "until=%25"),
        *("keys=1", "since=token", "author=x", "limit=key"),
    ],
)
def test_an_ordinary_query_is_no_key(api: Client, query: str) -> None:
    response = api.get(f"/audit/logs?{query}")

    assert b"key-in-url" not in response.content
