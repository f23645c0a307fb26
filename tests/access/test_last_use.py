"""When a key was last used: once a minute, after the answer, and never in its way."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from access import last_use
from access.keys import revoke
from access.models import ApiKey
from access.scopes import Scope
from tests.factories import BY, make_key

pytestmark = pytest.mark.django_db


def client_of(secret: str) -> Client:
    return Client(headers={"X-API-Key": secret})


def writes_of(client: Client) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get("/models").status_code == 200
    return sum("last_used_at" in query["sql"] for query in queries)


def test_the_first_use_is_written_and_the_next_ones_ask_nothing() -> None:
    key, secret = make_key(scopes=[Scope.MODELS_READ])
    before = timezone.now()

    counts = [writes_of(client_of(secret)) for _ in range(3)]

    assert counts == [1, 0, 0]
    assert ApiKey.objects.get(pk=key.pk).last_used_at >= before


def test_a_minute_later_it_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    key, secret = make_key(scopes=[Scope.MODELS_READ])
    writes_of(client_of(secret))
    old = timezone.now() - timedelta(seconds=61)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=old)
    monkeypatch.setitem(last_use._tried_at, key.pk, last_use._tried_at[key.pk] - 61)

    assert writes_of(client_of(secret)) == 1

    assert ApiKey.objects.get(pk=key.pk).last_used_at > old


def test_what_another_process_wrote_within_the_minute_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, secret = make_key(scopes=[Scope.MODELS_READ])
    fresh = timezone.now() - timedelta(seconds=30)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=fresh)

    writes_of(client_of(secret))

    assert ApiKey.objects.get(pk=key.pk).last_used_at == fresh


def test_a_write_that_fails_costs_the_request_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, secret = make_key(scopes=[Scope.MODELS_READ])

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(last_use.ApiKey.objects, "filter", fail)
        statuses = [client_of(secret).get("/models").status_code for _ in range(3)]

    assert statuses == [200, 200, 200]
    assert len(caplog.records) == 1, "it is not tried again at once"
    assert secret not in caplog.text


def test_a_refused_key_is_not_used() -> None:
    key, secret = make_key(scopes=[Scope.MODELS_READ])
    revoke(key, by=BY)

    assert client_of(secret).get("/models").status_code == 401

    assert ApiKey.objects.get(pk=key.pk).last_used_at is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_use, "MAX_REMEMBERED", 3)
    monkeypatch.setattr(last_use, "_tried_at", {})
    monkeypatch.setattr(last_use._request, "key_id", None, raising=False)

    for number in range(10):
        last_use.note_use(f"key-{number:04}")

    assert len(last_use._tried_at) <= 3
