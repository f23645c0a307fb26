"""Fixtures that every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.cache import caches
from django.db import connection, transaction
from django.test import Client, TransactionTestCase

from audit import append_only
from modelregistry.models import ActiveModel, ModelType
from tests.factories import TrainedModels
from tests.training_once import trained_models

SHARED_DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--browser", action="store_true", help="also run the browser tests")
    parser.addoption(
        "--tools", action="store_true", help="also run what needs the tools of requirements-dev.txt"
    )
    parser.addoption(
        "--database", action="store_true", help="run only the tests that touch the database"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Playwright is for who works on the pages: without `--browser` it need not be installed."""
    is_unasked = collection_path.name == "browser" and not config.getoption("--browser")
    return True if is_unasked else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of real tables beside the project; CI must have it."""
    if not SHARED_DATA.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("the real tables are missing")
        pytest.skip("the real tables are not beside the project")
    return SHARED_DATA.resolve()


SERVICE_URLS = ("TEST_POSTGRES_URL",)
"""What a test marked `services` needs, unless its mark names other variables."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of services whose address nobody gave, and what was not asked for."""
    left_out = [item for item in items if lacks_a_service(item)]
    if not config.getoption("--tools"):
        left_out += [item for item in items if item.get_closest_marker("tools")]
    if config.getoption("--database"):
        left_out += [item for item in items if not touches_the_database(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]
    # Those that take longest come first: at the end one process would wait for the other.
    items.sort(key=lambda item: not item.path.is_relative_to(config.rootpath / "tests" / "system"))
    for item in items:  # `trained` asks for the database too late for pytest-django to see it
        names = getattr(item, "fixturenames", [])
        if "trained" in names and not {"db", "transactional_db", "live_server"} & set(names):
            names.append("db")


def touches_the_database(item: pytest.Item) -> bool:
    """Whether it could end otherwise on another database."""
    fixtures = {"db", "transactional_db", "live_server", "trained", "trained_once"}
    names = fixtures & set(getattr(item, "fixturenames", []))
    return bool(names) or item.get_closest_marker("django_db") is not None


def lacks_a_service(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("services")
    return mark is not None and not all(map(os.environ.get, mark.args or SERVICE_URLS))


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    """Each test starts with nothing counted against its key or address."""
    caches["ratelimit"].clear()
    caches["default"].clear()


@pytest.fixture(autouse=True)
def fresh_anchors() -> None:
    """Each test starts with a trail that was never sealed, and so with no anchors of another."""
    settings.AUDIT_ANCHOR_FILE.unlink(missing_ok=True)


@pytest.fixture(autouse=True, scope="session")
def flush_may_empty_the_trail() -> Iterator[None]:
    """Django empties tables after a TransactionTestCase, which the trail's triggers refuse."""
    tear_down = TransactionTestCase._fixture_teardown

    def tear_down_without_triggers(self: Any) -> None:
        append_only.remove(connection)
        tear_down(self)
        if connection.vendor == "sqlite":  # an id that was given and is not there looks removed
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [append_only.ENTRIES])
        append_only.install(connection)
        for model_type in ModelType.values:  # as the migrations left them
            ActiveModel.objects.create(model_type=model_type)
        import_module("segments.migrations.0002_lost_jobs_schedule").create_schedule(apps, None)
        import_module("segments.migrations.0004_lost_jobs_moved").move_schedule(apps, None)
        import_module("segments.migrations.0005_jobs_looked_after").rename_schedule(apps, None)
        import_module("segments.migrations.0007_assignment_history").begin_history(apps, None)
        import_module("access.migrations.0002_staff_groups").create_groups(apps, None)
        import_module("access.migrations.0003_monitoring_permissions").extend_groups(apps, None)
        import_module("access.migrations.0006_roles_and_second_factor").renew_roles(apps, None)

    TransactionTestCase._fixture_teardown = tear_down_without_triggers
    yield
    TransactionTestCase._fixture_teardown = tear_down


@pytest.fixture
def api() -> Client:
    """An HTTP client with the bootstrap key: every scope."""
    return Client(headers={"X-API-Key": settings.API_KEY})


@pytest.fixture(scope="module")
def trained_once(django_db_setup: None, django_db_blocker: Any) -> Iterator[TrainedModels]:
    """Models that the tests of a module share: each test's changes are rolled back to here.

    Tests with real transactions belong in a module of their own: this one's is open to its end.
    """
    with django_db_blocker.unblock(), transaction.atomic():
        yield trained_models()
        transaction.set_rollback(True)


@pytest.fixture
def trained(request: pytest.FixtureRequest) -> TrainedModels:
    """300 stored customers with an active version of each type."""
    if {"transactional_db", "live_server"} & set(request.fixturenames):
        request.getfixturevalue("transactional_db")
        return trained_models()
    models: TrainedModels = request.getfixturevalue("trained_once")
    request.getfixturevalue("db")
    return models
