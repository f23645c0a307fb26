"""A short run of Schemathesis; `python -m tests.contract.fuzz` makes the long ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contract.fuzz import filled_installation, fuzz
from tests.system.databases import BOTH, database_url
from tests.system.server import running

pytestmark = pytest.mark.tools


@pytest.mark.parametrize("database", BOTH)
def test_nothing_is_found_in_any_phase(tmp_path: Path, database: str) -> None:
    with database_url(database) as url:
        installation, key = filled_installation(tmp_path, DATABASE_URL=url)
        with running(installation):
            done = fuzz(installation, key, seed=1, max_examples=1, options=[])

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    n_cases = re.search(r"(\d+) generated", done.stdout)
    assert n_cases and int(n_cases[1]) > 500
