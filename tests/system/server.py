"""Installations of their own, the real server over them, and clients that press it.

installation: directories, a database and secrets that no other test shares.
"""

from __future__ import annotations

import atexit
import fcntl
import http.client
import json
import os
import random
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from segmentation_project.processes import gunicorn_command

PROJECT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 40.0
ANSWER_SECONDS = 60.0
UNLIMITED = "100000000/m"
PORTS = range(20_000, 32_000)
"""Below those that the system gives to outgoing connections."""

given_ports: set[int] = set()
port_locks = (Path(tempfile.gettempdir()) / f"test-ports-{os.getuid()}.lock").open("a")


@dataclass(frozen=True)
class Answer:
    """One answer as a client saw it; `seconds` from the first byte sent to the last received."""

    status: int
    headers: dict[str, str]
    content: bytes
    seconds: float

    @property
    def body(self) -> Any:
        return json.loads(self.content)


@dataclass
class Installation:
    """A product of its own under `directory`; `variables` is its whole environment."""

    directory: Path
    variables: dict[str, str]
    records: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def api_key(self) -> str:
        return self.variables["API_KEY"]

    @property
    def port(self) -> int:
        return int(self.variables["API_PORT"])

    @property
    def models(self) -> Path:
        return Path(self.variables["MODEL_DIR"])

    def python(self, *arguments: str, seconds: float = 120.0) -> str:
        """What a Python process in this environment prints; it must succeed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a statement, read past the product."""
        url = self.variables["DATABASE_URL"]
        if url:
            with psycopg.connect(url, autocommit=True) as connection:
                cursor = connection.execute(sql.replace("?", "%s"), values)
                return cursor.fetchall() if cursor.description else []
        with closing(sqlite3.connect(self.variables["DB_PATH"], timeout=20)) as connection:
            found = connection.execute(sql, values).fetchall()
            connection.commit()
            return found

    def log(self) -> str:
        log = self.directory / "server.log"
        return log.read_text() if log.exists() else ""


def make_installation(directory: Path, **variables: str) -> Installation:
    """An empty installation; a variable set to nothing hides the one of a `.env`."""
    return Installation(
        directory,
        {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "DJANGO_SETTINGS_MODULE": "segmentation_project.settings",
            "SECRET_KEY": secrets.token_urlsafe(64),
            "API_KEY": secrets.token_urlsafe(32),
            "JWT_SECRET_KEY": secrets.token_urlsafe(64),
            "API_HOST": "127.0.0.1",
            "API_PORT": str(free_port()),
            "API_WORKERS": "2",
            "API_THREADS": "",
            "API_DEBUG": "",
            "API_CONFIG": str(directory / "no-such-config.json"),
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "HTTPS_ONLY": "",
            "DATA_DIR": str(directory / "data"),
            "MODEL_DIR": str(directory / "models"),
            "LOG_DIR": str(directory / "logs"),
            "DB_PATH": str(directory / "customers.db"),
            "DATABASE_URL": "",
            "REDIS_URL": "",
            "RATE_LIMIT": UNLIMITED,
            "ALERT_EMAIL": "",
            "SMTP_SERVER": "",
            "AUDIT_HEAD_MAIL": "false",
            "TRUSTED_PROXY_COUNT": "",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            **variables,
        },
    )


def fill(
    installation: Installation,
    *,
    n_customers: int = 300,
    n_clusters: Sequence[int] = (4,),
    n_keys: int = 0,
) -> None:
    """Customers, K-means versions 1, 2… with the given clusters (1 active), DBSCAN, and keys."""

    def prepare() -> None:
        printed = installation.python(
            "-m",
            "tests.system.prepare",
            f"--customers={n_customers}",
            "--n-clusters",
            *map(str, n_clusters),
            f"--keys={n_keys}",
        )
        prepared = json.loads(printed)
        installation.records = prepared["records"]
        installation.keys = prepared["keys"]

    fill_once(installation, (n_customers, tuple(n_clusters), n_keys), prepare)


_filled: dict[object, Installation] = {}
"""What this process has filled already, as it was then."""


def fill_once(installation: Installation, kind: object, prepare: Callable[[], object]) -> None:
    """Prepare it; on SQLite the next of a kind is a copy, as no row or file knows its place."""
    if installation.variables["DATABASE_URL"]:
        prepare()
    elif kind in _filled:
        copy_filled(_filled[kind], installation)
    else:
        prepare()
        aside = Path(tempfile.mkdtemp(prefix="segmentation-filled-"))
        atexit.register(shutil.rmtree, aside, ignore_errors=True)
        _filled[kind] = make_installation(aside)
        copy_filled(installation, _filled[kind])


def copy_filled(filled: Installation, empty: Installation) -> None:
    shutil.copytree(filled.models, empty.models, dirs_exist_ok=True)
    with (
        closing(sqlite3.connect(filled.variables["DB_PATH"])) as source,
        closing(sqlite3.connect(empty.variables["DB_PATH"])) as target,
    ):
        source.backup(target)
    empty.records, empty.keys = list(filled.records), dict(filled.keys)


@contextmanager
def running(
    installation: Installation, application: str = "", *, path: str = "/readyz"
) -> Iterator[subprocess.Popen[bytes]]:
    """The server as `manage.py serve` starts it, ready; nothing of it is left afterwards.

    Another `application` than ours is ready at once; without a model only `/healthz` ever is.
    """
    command = gunicorn_command()
    if application:
        command[-1], path = application, "/"
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
        wait_until_ready(installation.port, lambda: process.poll() is None, path)
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[Any]) -> None:
    """End the process, and with it its whole group."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_ready(port: int, is_running: Callable[[], bool], path: str = "/readyz") -> None:
    deadline = time.monotonic() + START_SECONDS
    last = "nothing listens"
    while time.monotonic() < deadline:
        assert is_running(), "the server ended by itself"
        try:
            answer = ask(port, "GET", path)
        except OSError:
            time.sleep(0.1)
            continue
        if answer.status == 200:
            return
        last = answer.content.decode()
        time.sleep(0.1)
    raise AssertionError(f"The server is not ready after {START_SECONDS:.0f} s: {last}")


def free_port() -> int:
    """A port that nothing listens on, and that no other test is given while this process lives.

    A port is chosen seconds before its server listens; of one given twice, the later server would
    answer for the earlier one's test. A lock on its place in a file of all test processes tells.
    """
    for port in random.sample(PORTS, len(PORTS)):
        if port in given_ports:
            continue
        try:
            fcntl.lockf(port_locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except BlockingIOError:
            continue
        given_ports.add(port)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("No port is free.")


def ask(
    port: int,
    method: str,
    path: str,
    *,
    key: str = "",
    body: object = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)) as link:
        return ask_on(link, method, path, key=key, body=body, headers=headers)


def ask_on(
    link: http.client.HTTPConnection,
    method: str,
    path: str,
    *,
    key: str = "",
    body: object = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    sent = {"X-API-Key": key} if key else {}
    content = None
    if body is not None:
        content = json.dumps(body)
        sent["Content-Type"] = "application/json"
    started = time.perf_counter()
    link.request(method, path, content, {**sent, **(headers or {})})
    response = link.getresponse()
    received = response.read()
    seconds = time.perf_counter() - started
    return Answer(response.status, dict(response.headers), received, seconds)


Ask = Callable[[http.client.HTTPConnection, int], Answer]


def press(
    port: int,
    request: Ask,
    *,
    n_clients: int,
    n_each: int | None = None,
    seconds: float | None = None,
) -> list[Answer]:
    """Closed-loop clients, each with its own connection, for a time or a number of requests.

    `request(link, number)` sends one; numbers are distinct over all clients.
    """
    deadline = time.monotonic() + seconds if seconds is not None else float("inf")

    def client(place: int) -> list[Answer]:
        answers: list[Answer] = []
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        with closing(link):
            while time.monotonic() < deadline and (n_each is None or len(answers) < n_each):
                answers.append(request(link, place + n_clients * len(answers)))
        return answers

    with ThreadPoolExecutor(n_clients) as pool:
        return [answer for answers in pool.map(client, range(n_clients)) for answer in answers]


def quantile(answers: Sequence[Answer], share: float) -> float:
    """Seconds within which this share of the answers came."""
    ordered = sorted(answer.seconds for answer in answers)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def statuses(answers: Sequence[Answer]) -> dict[int, int]:
    """How many answers of each status."""
    counted: dict[int, int] = {}
    for answer in answers:
        counted[answer.status] = counted.get(answer.status, 0) + 1
    return counted
