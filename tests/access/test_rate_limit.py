"""Exactly the stated number of requests pass, per key and per address, and answers say so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import Client, RequestFactory

from access.authentication import Credential
from access.rate_limit import count_request
from access.scopes import ALL_SCOPES, Scope
from audit.models import AuditEntry
from tests.expectations import one_entry, problem_of
from tests.factories import make_key

pytestmark = pytest.mark.django_db

LIMIT_HEADERS = {
    "ratelimit-policy",
    "ratelimit",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
}


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


def statuses_of(key: str, *, n: int, **client: Any) -> list[int]:
    return [
        Client(headers={"X-API-Key": key}, **client).get("/models").status_code for _ in range(n)
    ]


def test_addresses_of_one_ipv6_network_are_counted_together(settings: Any) -> None:
    settings.RATE_LIMIT = "2/m"

    statuses = [
        Client(REMOTE_ADDR=f"2001:db8::{network}:0:0:0:{host}").get("/models").status_code
        for network, host in [("1", 1), ("1", 2), ("1", 3), ("2", 1)]
    ]

    assert statuses == [401, 401, 429, 401]


def test_after_20_bad_keys_an_address_gets_429_for_more_and_good_ones_go_on(api: Client) -> None:
    _, good = make_key(scopes=[Scope.MODELS_READ])

    statuses = [status for n in range(20) for status in statuses_of(f"AbCdEf12.{n:032}", n=1)]
    with one_entry(actor_kind="anonymous", outcome="refused", status_code=429):
        refused = Client(headers={"X-API-Key": "one more"}).get("/models")
    token = Client(headers={"Authorization": "Bearer no.such.token"}).get("/models")

    assert statuses == [401] * 20
    body = problem_of(refused, status=429, code="rate-limited")
    assert body["detail"] == "Too many invalid keys from this address."
    assert refused.headers["RateLimit-Policy"] == '"bad-keys";q=20;w=60'
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert token.status_code == 429
    assert statuses_of(good, n=2) == [200, 200]
    assert api.get("/models").status_code == 200
    assert statuses_of("elsewhere", n=1, REMOTE_ADDR="10.9.8.7") == [401]
    assert Client().get("/models").status_code == 401


def test_good_keys_and_missing_ones_do_not_count_as_bad(api: Client, settings: Any) -> None:
    settings.BAD_KEY_LIMIT = "1/d"
    for _ in range(3):
        api.get("/models")
        Client().get("/models")

    assert statuses_of("bad", n=2) == [401, 429]


def test_bad_keys_behind_a_trusted_proxy_are_counted_by_client(settings: Any) -> None:
    settings.BAD_KEY_LIMIT, settings.TRUSTED_PROXY_COUNT = "1/d", 1

    statuses = [
        Client(headers={"X-API-Key": "bad", "X-Forwarded-For": address}).get("/models").status_code
        for address in ("1.1.1.1", "1.1.1.1", "2.2.2.2")
    ]

    assert statuses == [401, 429, 401]


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
    credential = Credential("threads", "tests", ALL_SCOPES, "threads", rate="60/d")
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


@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("GET", "/models?x=1", {}, 400),
        ("GET", "/models", {"headers": {"X-API-Key": "bad"}}, 401),
        ("GET", "/jobs/999999", {}, 404),
        ("PUT", "/models", {}, 405),
        ("GET", "/models", {"headers": {"X-API-Key": settings.API_KEY, "Accept": "x/y"}}, 406),
        ("POST", "/predict/kmeans", {"headers": {"Transfer-Encoding": "chunked"}}, 411),
        ("POST", "/predict/kmeans", {"CONTENT_LENGTH": "99999999"}, 413),
        ("POST", "/predict/kmeans", {"data": "{}", "content_type": "text/plain"}, 415),
        ("POST", "/predict/kmeans", {"data": "[{}]", "content_type": "application/json"}, 503),
    ],
)
def test_every_answer_of_a_limited_route_says_where_the_caller_stands(
    method: str, path: str, fields: dict[str, Any], status: int
) -> None:
    client = Client(**({} if "headers" in fields else {"headers": {"X-API-Key": settings.API_KEY}}))
    if status == 411:
        fields = {"headers": fields["headers"] | {"X-API-Key": settings.API_KEY}}

    answer = client.generic(method, path, **fields)

    assert answer.status_code == status, answer.content
    assert {name.lower() for name in answer.headers} >= LIMIT_HEADERS


def test_a_crash_and_a_database_that_is_away_say_where_the_caller_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raising(error: Exception) -> Callable[..., None]:
        def crash(*args: Any) -> None:
            raise error

        return crash

    client = Client(raise_request_exception=False, headers={"X-API-Key": settings.API_KEY})
    answers = []
    for error, place in (
        (RuntimeError(), "modelregistry.views.catalogue"),
        (OperationalError(), "modelregistry.views.catalogue"),
        (OperationalError(), "access.api.ApiView.perform_authentication"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, raising(error))
            answers.append(client.get("/models"))

    assert [answer.status_code for answer in answers] == [500, 503, 503]
    for answer in answers:
        assert {name.lower() for name in answer.headers} >= LIMIT_HEADERS
