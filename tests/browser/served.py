"""A real server of its own, empty or filled, for the tests in a browser and for pictures."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.browser.prepare import PASSWORD
from tests.system.server import free_port, make_installation, wait_until_ready
from tests.system.workers import command

MINUTES_TO_FILL = 10
ASSETS_LOCK = Path(tempfile.gettempdir()) / "segmentation-collectstatic.lock"


@dataclass(frozen=True)
class Server:
    """Where it listens; everybody on it has the same password."""

    url: str
    password: str = PASSWORD


@contextmanager
def served(directory: Path, *options: str) -> Iterator[Server]:
    """`manage.py serve` after `tests.browser.prepare` with the options: web, worker, monitor."""
    for name in ("data", "models", "logs"):
        (directory / name).mkdir()
    installation = make_installation(directory)
    with ASSETS_LOCK.open("w") as lock:  # all servers of the project share the directory
        fcntl.flock(lock, fcntl.LOCK_EX)
        installation.python(
            "manage.py", "collectstatic", "--noinput", "--verbosity=0", "--skip-checks"
        )
    installation.python("-m", "tests.browser.prepare", *options, seconds=60 * MINUTES_TO_FILL)
    # Chosen late: while the rest was made ready, somebody else may have taken the first one.
    installation.variables["API_PORT"] = str(free_port())
    with command(installation, "serve") as process:
        wait_until_ready(installation.port, lambda: process.poll() is None, "/healthz")
        yield Server(f"http://127.0.0.1:{installation.port}")
