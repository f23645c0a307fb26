"""A key in a query string: refused as exposed, whoever sends it, and kept nowhere."""

from __future__ import annotations

import json
import logging
from urllib.parse import quote

import pytest
from django.conf import settings
from django.test import Client

from access.api import typed_query
from access.key_format import SECRET_LENGTH, key_text
from access.scopes import Scope
from tests.expectations import one_entry, problem_of
from tests.factories import make_key

pytestmark = pytest.mark.django_db

KEY = key_text("AbCdEf12", "x" * SECRET_LENGTH)
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJBYkNkRWYxMiJ9.c2lnbmF0dXJl"
QUERIES = [
    *(f"{name}=some-value" for name in ("api_key", "apikey", "X-API-Key", "key", "token")),
    "access_token=",
    f"limit={KEY}",
    f"limit=10&segment={KEY}",
    f"segment=Bearer%20{TOKEN}",
    "segment=AbCdEf12." + "x" * 32,
    KEY,
    "limit=" + "".join(f"%{ord(character):02x}" for character in KEY),
    f"since={quote(settings.API_KEY)}",
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


@pytest.mark.parametrize("path", ["/", "/healthz", "/docs", "/schema"])
def test_where_nobody_needs_a_key_one_is_refused_too(path: str) -> None:
    _, secret = make_key(scopes=[Scope.MODELS_READ])

    with one_entry(action="api_key.exposed", actor_kind="anonymous", status_code=400) as entries:
        response = Client().get(f"{path}?x={secret}")

    problem_of(response, status=400, code="key-in-url")
    assert secret[13:] not in entries[0].details + response.text


def test_a_key_in_the_path_is_not_kept_either() -> None:
    with one_entry(actor_kind="anonymous", status_code=401) as entries:
        response = Client().get(f"/customers/{KEY}")

    assert problem_of(response, status=401, code="no-key")["instance"] == "/customers/[redacted]"
    assert KEY not in entries[0].details + entries[0].target_id


@pytest.mark.parametrize(
    "query", ["", "limit=10", "segment=3&limit=5", "cursor=cD1DLTAwMDAwMg%3D%3D"]
)
def test_an_ordinary_query_is_no_key(api: Client, query: str) -> None:
    response = api.get(f"/audit/logs?{query}")

    assert b"key-in-url" not in response.content
