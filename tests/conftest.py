"""Fixtures that every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import connection, transaction
from django.test import Client, TransactionTestCase

from audit import append_only
from tests.factories import TrainedModels, make_trained_models

SHARED_DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of real tables beside the project; CI must have it."""
    if not SHARED_DATA.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("the real tables are missing")
        pytest.skip("the real tables are not beside the project")
    return SHARED_DATA.resolve()


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    """Each test starts with nothing counted against its key or address."""
    caches["ratelimit"].clear()


@pytest.fixture(autouse=True, scope="session")
def flush_may_empty_the_trail() -> Iterator[None]:
    """Django empties tables after a TransactionTestCase, which the trail's triggers refuse."""
    tear_down = TransactionTestCase._fixture_teardown

    def tear_down_without_triggers(self: Any) -> None:
        append_only.remove(connection)
        tear_down(self)
        append_only.install(connection)

    TransactionTestCase._fixture_teardown = tear_down_without_triggers
    yield
    TransactionTestCase._fixture_teardown = tear_down


@pytest.fixture
def api() -> Client:
    """An HTTP client with the bootstrap key: every scope."""
    return Client(headers={"X-API-Key": settings.API_KEY})


@pytest.fixture(scope="module")
def trained_once(django_db_setup: None, django_db_blocker: Any) -> Iterator[TrainedModels]:
    """Models that the tests of a module share: each test's changes are rolled back to here."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield make_trained_models()
        transaction.set_rollback(True)


@pytest.fixture
def trained(request: pytest.FixtureRequest) -> TrainedModels:
    """300 stored customers with an active version of each type."""
    if {"transactional_db", "live_server"} & set(request.fixturenames):
        request.getfixturevalue("transactional_db")
        return make_trained_models()
    models: TrainedModels = request.getfixturevalue("trained_once")
    request.getfixturevalue("db")
    return models
