"""Whatever is killed under load: each answer that a client got has its entry, and the seals fit.

SYSTEM_AUDIT_KILLS sets how often server and sealers are killed.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from segmentation_project.processes import gunicorn_command
from tests.system.databases import database_url, databases
from tests.system.server import (
    PROJECT,
    START_SECONDS,
    Installation,
    ask_on,
    fill,
    make_installation,
    wait_until_ready,
)

N_KILLS = int(os.environ.get("SYSTEM_AUDIT_KILLS", "1"))
N_CLIENTS = 8
N_SEALS = 2
"""In each round before the kill, so that it falls among requests and seals."""
SEALER = [sys.executable, "manage.py", "seal_audit", "--every", "1", "--quiet", "--skip-checks"]


@pytest.mark.parametrize("kind", databases("sqlite"))
def test_each_answer_has_its_entry_and_the_seals_fit_whatever_is_killed(
    kind: str, tmp_path: Path
) -> None:
    with database_url(kind) as url:
        installation = make_installation(tmp_path, DATABASE_URL=url)
        fill(installation)
        answered: set[str] = set()
        for _ in range(N_KILLS):
            answered |= answered_until_killed(installation)

        assert len(answered) > N_KILLS * N_CLIENTS
        in_trail = {
            name for (name,) in installation.rows("SELECT request_id FROM audit_auditentry")
        }
        assert answered - in_trail == set()
        if kind == "sqlite":
            assert installation.rows("PRAGMA integrity_check") == [("ok",)]
        said = installation.python("manage.py", "seal_audit", "--skip-checks")
        assert "sealed by" in said
        anchors = Path(installation.variables["LOG_DIR"]) / "audit_anchors.log"
        installation.python("manage.py", "verify_audit", "--anchor", str(anchors), "--skip-checks")


def answered_until_killed(installation: Installation) -> set[str]:
    """The request ids of answers that clients read before server and sealers were killed."""
    stated = n_seals(installation)
    with ExitStack() as stack:
        server = stack.enter_context(killed(installation, gunicorn_command()))
        wait_until_ready(installation.port, lambda: server.poll() is None)
        groups = [server, *(stack.enter_context(killed(installation, SEALER)) for _ in range(2))]
        with ThreadPoolExecutor(N_CLIENTS) as pool:
            clients = [pool.submit(answered_to_one, installation) for _ in range(N_CLIENTS)]
            try:
                wait_for_seals(installation, stated + N_SEALS, clients)
            finally:
                for process in groups:
                    kill(process)
        return {name for client in clients for name in client.result()}


def answered_to_one(installation: Installation) -> list[str]:
    """Ask again and again until the server is gone."""
    names: list[str] = []
    body = installation.records[:3]
    with closing(http.client.HTTPConnection("127.0.0.1", installation.port, timeout=60)) as link:
        while True:
            try:
                answer = ask_on(
                    link, "POST", "/predict/kmeans?store=false", key=installation.api_key, body=body
                )
            except (OSError, http.client.HTTPException):
                return names
            assert answer.status == 200, answer.content
            names.append(answer.headers["X-Request-ID"])


def wait_for_seals(
    installation: Installation, n_wanted: int, clients: list[Future[list[str]]]
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while n_seals(installation) < n_wanted:
        assert time.monotonic() < deadline, installation.log()[-4000:]
        assert not any(client.done() for client in clients), installation.log()[-4000:]
        time.sleep(0.1)


def n_seals(installation: Installation) -> int:
    [(n,)] = installation.rows("SELECT COUNT(*) FROM audit_auditseal")
    return int(n)


@contextmanager
def killed(installation: Installation, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group of its own, of which nothing is left in the end."""
    with (installation.directory / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=installation.variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
