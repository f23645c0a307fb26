"""Exactly the stated number of requests pass, per key and per address, and answers say so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.test import Client, RequestFactory

from access.authentication import Credential
from access.rate_limit import count_request
from access.scopes import ALL_SCOPES, Scope
from audit.models import AuditEntry
from tests.expectations import one_entry, problem_of
from tests.factories import make_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def limited(settings: Any) -> None:
    settings.RATE_LIMIT = "3/d"


@pytest.mark.usefixtures("limited")
def test_requests_beyond_the_limit_are_429_with_their_headers(api: Client) -> None:
    passed = [api.get("/models") for _ in range(3)]
    with one_entry(outcome="refused", status_code=429, actor_id="bootstrap") as entries:
        refused = api.get("/models")

    assert [response.status_code for response in passed] == [200, 200, 200]
    assert [r.headers["X-RateLimit-Remaining"] for r in passed] == ["2", "1", "0"]
    assert passed[0].headers["RateLimit-Policy"] == '"default";q=3;w=86400'
    assert passed[0].headers["RateLimit"].startswith('"default";r=2;t=')
    assert "Retry-After" not in passed[2].headers
    problem_of(refused, status=429, code="rate-limited")
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    assert refused.headers["Retry-After"] == refused.headers["X-RateLimit-Reset"]
    assert '"code":"rate-limited"' in entries[0].details


@pytest.mark.usefixtures("limited")
def test_keys_are_counted_apart_and_may_have_a_rate_of_their_own(api: Client) -> None:
    _, slow = make_key(scopes=[Scope.MODELS_READ], rate="1/h")
    for _ in range(4):
        api.get("/models")

    first, second = (Client(headers={"X-API-Key": slow}).get("/models") for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 429)
    assert first.headers["RateLimit-Policy"] == '"default";q=1;w=3600'


@pytest.mark.usefixtures("limited")
def test_callers_without_a_valid_key_are_counted_by_address() -> None:
    wrong = [
        Client(headers={"X-API-Key": f"AbCdEf12.{number:032}"}).get("/models")
        for number in range(3)
    ]
    fourth = Client().get("/models")
    elsewhere = Client(REMOTE_ADDR="10.9.8.7").get("/models")

    assert [response.status_code for response in wrong] == [401, 401, 401]
    problem_of(fourth, status=429, code="rate-limited")
    assert elsewhere.status_code == 401


@pytest.mark.usefixtures("limited")
def test_a_forged_forwarding_header_buys_nothing() -> None:
    statuses = [
        Client(headers={"X-Forwarded-For": f"6.6.6.{number}"}).get("/models").status_code
        for number in range(5)
    ]

    assert statuses == [401, 401, 401, 429, 429]


@pytest.mark.usefixtures("limited")
def test_behind_a_trusted_proxy_the_forwarded_address_counts(settings: Any) -> None:
    settings.TRUSTED_PROXY_COUNT = 1

    statuses = [
        Client(headers={"X-Forwarded-For": f"{forged}, 1.1.1.1"}).get("/models").status_code
        for forged in ("6.6.6.1", "6.6.6.2", "6.6.6.3", "6.6.6.4")
    ]
    other = Client(headers={"X-Forwarded-For": "1.1.1.1, 2.2.2.2"}).get("/models").status_code

    assert statuses == [401, 401, 401, 429]
    assert other == 401


@pytest.mark.usefixtures("limited")
def test_a_refused_scope_counts_and_says_where_the_key_stands() -> None:
    _, secret = make_key(scopes=[])

    response = Client(headers={"X-API-Key": secret}).get("/models")

    assert response.status_code == 403
    assert response.headers["X-RateLimit-Remaining"] == "2"


def test_of_many_threads_exactly_the_limit_passes() -> None:
    credential = Credential("threads", "tests", ALL_SCOPES, rate="60/d")
    requests = [RequestFactory().get("/models") for _ in range(160)]

    with ThreadPoolExecutor(8) as pool:
        usages = list(pool.map(lambda r: count_request(r, credential, "10.0.0.1"), requests))

    assert sum(not usage.exceeded for usage in usages) == 60


def test_pages_without_a_key_are_not_limited(settings: Any) -> None:
    settings.RATE_LIMIT = "1/d"

    statuses = [Client().get(path).status_code for path in ("/", "/healthz", "/", "/healthz")]

    assert statuses == [200, 200, 200, 200]


def test_an_answer_in_no_accepted_form_counts_like_any_other(api: Client) -> None:
    answer = api.get("/models", headers={"Accept": "application/xml"})

    assert answer.status_code == 406
    assert "RateLimit" in answer.headers
    assert AuditEntry.objects.get().actor_id == "bootstrap"
