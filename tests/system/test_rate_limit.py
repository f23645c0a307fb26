"""The rate limit across two worker processes: exact, not to be fooled, and never an outage."""

from __future__ import annotations

import os
import secrets
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from ipaddress import IPv4Address
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

from tests.system.server import (
    Answer,
    Installation,
    ask_on,
    fill,
    free_port,
    make_installation,
    press,
    quantile,
    running,
    statuses,
)

LIMIT = 60
PERIOD_SECONDS = 60
N_CLIENTS = 64
N_EACH = 10
N_KEYS = 24
ENOUGH_SECONDS = 30
"""Left of a key's window when its burst starts: far more than the burst takes."""
REDIS_DATABASE = 13
P99_SECONDS = 0.4
"""A hanging Redis may cost its time-out of 0.2 s, once in a while, and no more."""
N_PATIENT_CLIENTS = 4
"""As many as leave the answer's time to the server instead of to the queue before it."""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    made = make_installation(tmp_path_factory.mktemp("limited"), RATE_LIMIT=f"{LIMIT}/m")
    fill(made, n_customers=60, n_keys=N_KEYS)
    return made


@pytest.fixture(scope="module")
def serving(installation: Installation) -> Iterator[Installation]:
    """With the embedded counters; each test has keys or an address of its own to be counted."""
    with running(installation):
        yield installation


def seconds_left(key_id: str) -> int:
    """Until this key's window ends: the limiter gives each key a phase of its own."""
    phase = zlib.crc32(f"key {key_id}".encode()) % PERIOD_SECONDS
    return int(phase - time.time()) % PERIOD_SECONDS


def take_key(installation: Installation) -> str:
    """A key not used yet whose window lasts long enough, waiting for one if need be."""
    while True:
        key_id = max(installation.keys, key=seconds_left)
        if seconds_left(key_id) >= ENOUGH_SECONDS:
            return installation.keys.pop(key_id)
        time.sleep(0.5)


def burst(
    installation: Installation, *, forged: bool = False, n_clients: int = N_CLIENTS
) -> list[Answer]:
    """640 requests with one key."""
    key = take_key(installation)

    def predict(link: HTTPConnection, number: int) -> Answer:
        address = str(IPv4Address(secrets.randbits(32)))
        return ask_on(
            link,
            "POST",
            "/predict/kmeans",
            key=key,
            body=[installation.records[number % len(installation.records)]],
            headers={"X-Forwarded-For": address} if forged else {},
        )

    n_each = N_CLIENTS * N_EACH // n_clients
    return press(installation.port, predict, n_clients=n_clients, n_each=n_each)


def assert_limited(answers: list[Answer]) -> None:
    assert statuses(answers) == {200: LIMIT, 429: N_CLIENTS * N_EACH - LIMIT}
    for answer in answers:
        assert answer.headers["X-RateLimit-Limit"] == str(LIMIT)
        assert answer.headers["RateLimit-Policy"] == f'"default";q={LIMIT};w={PERIOD_SECONDS}'
        assert answer.headers["RateLimit"].startswith('"default";r=')
        if answer.status == 429:
            assert 1 <= int(answer.headers["Retry-After"]) <= PERIOD_SECONDS
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.body["code"] == "rate-limited"


def on_redis(installation: Installation, url: str) -> Installation:
    """The same installation on a port of its own, with its counters in the Redis at `url`."""
    return Installation(
        installation.directory,
        {**installation.variables, "REDIS_URL": url, "API_PORT": str(free_port())},
        installation.records,
        installation.keys,
    )


@contextmanager
def hanging_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@contextmanager
def refused_server() -> Iterator[str]:
    """Bound, so that nobody else takes the port, but not listening."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{holder.getsockname()[1]}/0"


@pytest.mark.parametrize("forged", [False, True], ids=["plain", "forged addresses"])
def test_exactly_60_of_640_pass_the_embedded_counters(
    serving: Installation, *, forged: bool
) -> None:
    answers = burst(serving, forged=forged)

    assert_limited(answers)


@pytest.mark.services("TEST_REDIS_URL")
@pytest.mark.parametrize("forged", [False, True], ids=["plain", "forged addresses"])
def test_exactly_60_of_640_pass_redis(installation: Installation, *, forged: bool) -> None:
    parts = urlsplit(os.environ["TEST_REDIS_URL"])
    url = urlunsplit(parts._replace(path=f"/{REDIS_DATABASE}"))

    with running(counted := on_redis(installation, url)):
        answers = burst(counted, forged=forged)

    with redis.Redis.from_url(url) as counters:
        n_counters = counters.dbsize()
        counters.flushdb()
    assert_limited(answers)
    assert n_counters >= 1, "the limit was not counted in Redis"


@pytest.mark.parametrize("broken", [refused_server, hanging_server])
def test_without_redis_the_limit_holds_and_answers_come_in_time(
    installation: Installation, broken: type
) -> None:
    with broken() as url, running(limited := on_redis(installation, url)):
        answers = burst(limited)
        patient = burst(limited, n_clients=N_PATIENT_CLIENTS)

    assert_limited(answers)
    assert_limited(patient)
    assert quantile(patient, 0.99) <= P99_SECONDS


def test_a_forged_address_does_not_escape_the_limit_of_callers_without_a_key(
    serving: Installation,
) -> None:
    def anonymous(link: HTTPConnection, number: int) -> Answer:
        address = str(IPv4Address(secrets.randbits(32)))
        return ask_on(link, "GET", "/models", headers={"X-Forwarded-For": address})

    answers = press(serving.port, anonymous, n_clients=16, n_each=40)

    # The window of this address may end once during the burst.
    assert statuses(answers).keys() == {401, 429}
    assert LIMIT <= statuses(answers)[401] <= 2 * LIMIT
