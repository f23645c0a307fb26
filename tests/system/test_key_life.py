"""Keys that change while clients call: rotating loses no request, revoking is felt at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from access.key_format import key_id_of
from tests.system.databases import database_url, databases
from tests.system.server import (
    Answer,
    Installation,
    ask,
    ask_on,
    make_installation,
    press,
    running,
    statuses,
)

N_CLIENTS = 8
PAUSE_SECONDS = 0.05
"""Between two requests of a client: leaves some of the processors to the commands."""
N_CONNECTIONS = 32
"""Enough to reach both workers."""
FELT_WITHIN_SECONDS = 1.0
PREPARE = """
import json
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from tests.factories import make_key
names = ("rotated", "revoked", "wanted")
print(json.dumps({name: make_key(scopes=["models:read"])[1] for name in names}))
"""
ROTATE_AT_ONCE = """
import json, os, sys, time
import django; django.setup()
from django.core.exceptions import ValidationError
from django.db import connections
from access.keys import rotate
from access.models import ApiKey
from tests.factories import BY
key = ApiKey.objects.get(pk=sys.argv[1])
connections.close_all()
start = time.time() + 0.3
def rotate_in_fork():
    pid = os.fork()
    if pid:
        return pid
    outcome = 2
    try:
        time.sleep(max(0, start - time.time()))
        rotate(key, by=BY)
        outcome = 0
    except ValidationError:
        outcome = 1
    finally:
        os._exit(outcome)
pids = [rotate_in_fork() for _ in range(6)]
print(json.dumps(sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)))
"""
REVOKE = "UPDATE access_apikey SET revoked = ? WHERE prefix = ?"


@pytest.fixture(scope="module", params=databases("postgresql"))
def serving(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    with database_url(request.param) as url:
        made = make_installation(tmp_path_factory.mktemp("keys"), DATABASE_URL=url)
        made.keys = json.loads(made.python("-c", PREPARE))
        with running(made, path="/healthz"):
            yield made


class Pressing:
    """Clients that read with the key they are given, until they are told to stop."""

    def __init__(self, installation: Installation, key: str) -> None:
        self.key = key
        self.answers: list[Answer] = []
        self.begun_at: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(installation.port,)) for _ in range(N_CLIENTS)
        ]

    def __enter__(self) -> Pressing:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, port: int) -> None:
        link = HTTPConnection("127.0.0.1", port, timeout=30)
        while not self._stop.is_set():
            begun_at = time.monotonic()
            answer = ask_on(link, "GET", "/models", key=self.key)
            self.answers.append(answer)
            self.begun_at.append((begun_at, answer.status))
            time.sleep(PAUSE_SECONDS)
        link.close()

    def wait_for_more(self) -> None:
        goal = len(self.answers) + 5 * N_CLIENTS
        while len(self.answers) < goal:
            time.sleep(0.01)


def test_clients_that_swap_keys_within_the_overlap_lose_no_request(serving: Installation) -> None:
    old = serving.keys["rotated"]

    with Pressing(serving, old) as pressing:
        pressing.wait_for_more()
        printed = serving.python("manage.py", "rotate_api_key", str(key_id_of(old)))
        new = printed.splitlines()[-1]
        pressing.wait_for_more()
        pressing.key = new
        pressing.wait_for_more()

    assert statuses(pressing.answers) == {200: len(pressing.answers)}
    actors = serving.rows(
        "SELECT actor_id, COUNT(*) FROM audit_auditentry WHERE action = ? AND actor_id IN (?, ?)"
        " GROUP BY 1",
        "models.read", key_id_of(old), key_id_of(new),
    )  # fmt: skip
    assert dict(actors).keys() == {key_id_of(old), key_id_of(new)}
    assert sum(dict(actors).values()) == len(pressing.answers)
    used = serving.rows(
        "SELECT COUNT(*) FROM access_apikey WHERE last_used_at IS NOT NULL AND prefix IN (?, ?)",
        key_id_of(old), key_id_of(new),
    )  # fmt: skip
    assert used == [(2,)]


def test_of_several_who_rotate_a_key_at_once_one_does(serving: Installation) -> None:
    key_id = str(key_id_of(serving.keys["wanted"]))

    outcomes = json.loads(serving.python("-c", ROTATE_AT_ONCE, key_id))

    assert outcomes == [0, 1, 1, 1, 1, 1]
    successors = serving.rows(
        "SELECT COUNT(*) FROM access_apikey WHERE rotated_from_id = ?", key_id
    )
    assert successors == [(1,)]


def test_a_revoked_key_and_its_tokens_are_refused_at_once_by_every_worker(
    serving: Installation,
) -> None:
    key = serving.keys["revoked"]
    token = ask(serving.port, "POST", "/auth/token", key=key).body["access_token"]

    def with_token(link: HTTPConnection, number: int) -> Answer:
        return ask_on(link, "GET", "/models", headers={"Authorization": f"Bearer {token}"})

    before = press(serving.port, with_token, n_clients=N_CONNECTIONS, n_each=2)
    with Pressing(serving, key) as pressing:
        pressing.wait_for_more()
        serving.rows(REVOKE, True, key_id_of(key))
        revoked_at = time.monotonic()
        pressing.wait_for_more()
    after = press(serving.port, with_token, n_clients=N_CONNECTIONS, n_each=2)

    assert statuses(before) == {200: len(before)}
    let_in = [at for at, status in pressing.begun_at if status == 200]
    assert max(let_in) < revoked_at + FELT_WITHIN_SECONDS
    refused = [status for at, status in pressing.begun_at if at > revoked_at]
    assert len(refused) >= N_CLIENTS and set(refused) <= {401, 429}
    assert statuses(after).keys() <= {401, 429}
