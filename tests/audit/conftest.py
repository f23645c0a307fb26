"""Databases that hold a trail alone, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.audit.attacks import PreparedTrail, prepared_trail
from tests.audit.trail_databases import VENDORS, TrailDatabase


@pytest.fixture(scope="module", params=VENDORS)
def trail_database(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: Any,
) -> Iterator[TrailDatabase]:
    """One for the tests of a module, which put back in it what they need."""
    with django_db_blocker.unblock():
        made = TrailDatabase.new(request.param, tmp_path_factory.mktemp("trail"))
        yield made
        made.drop()


@pytest.fixture(scope="module")
def prepared(trail_database: TrailDatabase) -> PreparedTrail:
    return prepared_trail(trail_database)
