"""No increment is lost, by threads or processes, embedded or on Redis; Redis may go away."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache
from redis.backoff import NoBackoff
from redis.retry import Retry

from access.counters import PURGE_EVERY, RedisCounterCache, SQLiteCounterCache

N_NEW_FILES = 60
N_THREADS, N_EACH, N_PROCESSES = 8, 50, 3


@pytest.fixture
def embedded(tmp_path: Path) -> SQLiteCounterCache:
    return SQLiteCounterCache(str(tmp_path / "counters.db"), {})


def redis_cache(url: str, path: Path) -> RedisCounterCache:
    options = {
        "fallback_path": str(path),
        "socket_connect_timeout": 0.1,
        "socket_timeout": 0.2,
        "retry": Retry(NoBackoff(), 0),
    }
    return RedisCounterCache(url, {"OPTIONS": options})


@pytest.fixture(params=["embedded", "redis"] if settings.REDIS_URL else ["embedded"])
def counters(request: pytest.FixtureRequest, tmp_path: Path) -> BaseCache:
    if request.param == "redis":
        return redis_cache(settings.REDIS_URL, tmp_path / "fallback.db")
    return SQLiteCounterCache(str(tmp_path / "counters.db"), {})


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def redis_is_away() -> Iterator[None]:
    yield
    RedisCounterCache._left_alone_until = 0.0


def test_add_starts_a_counter_once(counters: BaseCache, name: str) -> None:
    assert counters.add(name, 1, 60)
    assert not counters.add(name, 1, 60)
    assert counters.incr(name) == 2
    assert counters.get(name) == 2


def test_an_expired_counter_starts_anew(embedded: SQLiteCounterCache, name: str) -> None:
    embedded.add(name, 5, -1)

    assert embedded.get(name) is None
    with pytest.raises(ValueError, match="no such counter"):
        embedded.incr(name)
    assert embedded.add(name, 1, 60)
    assert embedded.get(name) == 1


def test_set_delete_and_clear(embedded: SQLiteCounterCache, name: str) -> None:
    embedded.set(name, 7, 60)
    assert embedded.get(name) == 7

    assert embedded.delete(name)
    assert not embedded.delete(name)
    assert embedded.get(name, "none") == "none"

    embedded.set(name, 7, None)
    embedded.clear()
    assert embedded.get(name) is None


def test_expired_counters_are_swept(embedded: SQLiteCounterCache) -> None:
    for number in range(PURGE_EVERY):
        embedded.add(f"old-{number}", 1, -1)

    embedded.add("new", 1, 60)

    rows = embedded._connection().execute("SELECT count(*) FROM counter").fetchone()[0]
    assert rows < 10


def test_no_increment_of_many_threads_is_lost(counters: BaseCache, name: str) -> None:
    def count(_: int) -> list[int]:
        return [1 if counters.add(name, 1, 60) else counters.incr(name) for _ in range(N_EACH)]

    with ThreadPoolExecutor(N_THREADS) as pool:
        seen = [value for values in pool.map(count, range(N_THREADS)) for value in values]

    assert sorted(seen) == list(range(1, N_THREADS * N_EACH + 1))


def test_no_increment_of_several_processes_is_lost(embedded: SQLiteCounterCache, name: str) -> None:
    program = (
        "import sys; from django.conf import settings; settings.configure()\n"
        "from access.counters import SQLiteCounterCache\n"
        "cache = SQLiteCounterCache(sys.argv[1], {})\n"
        f"for _ in range({N_EACH}): cache.add({name!r}, 1, 60) or cache.incr({name!r})"
    )

    processes = [
        subprocess.Popen([sys.executable, "-c", program, embedded._path], cwd=settings.BASE_DIR)
        for _ in range(N_PROCESSES)
    ]

    assert [process.wait(60) for process in processes] == [0] * N_PROCESSES
    assert embedded.get(name) == N_PROCESSES * N_EACH


@pytest.mark.usefixtures("redis_is_away")
def test_without_redis_this_machine_counts(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = redis_cache("redis://127.0.0.1:1/0", tmp_path / "fallback.db")

    with caplog.at_level(logging.WARNING):
        started = cache.add(name, 1, 60)
        counts = [cache.incr(name) for _ in range(3)]

    assert started
    assert counts == [2, 3, 4]
    assert cache.get(name) == 4
    assert len(caplog.records) == 1, "a dead Redis is tried once, not once a request"


@pytest.mark.usefixtures("redis_is_away")
def test_a_counter_begun_in_redis_goes_on_without_it(tmp_path: Path, name: str) -> None:
    cache = redis_cache("redis://127.0.0.1:1/0", tmp_path / "fallback.db")

    assert [cache.incr(name), cache.incr(name)] == [1, 2]


@pytest.mark.usefixtures("redis_is_away")
def test_after_a_while_one_request_tries_redis_again_and_the_others_do_not_wait(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = redis_cache("redis://127.0.0.1:1/0", tmp_path / "fallback.db")
    cache.add(name, 1, 60)
    caplog.clear()
    RedisCounterCache._left_alone_until = 1e-9  # long ago

    with caplog.at_level(logging.WARNING):
        cache.incr(name)
        cache.incr(name)
    tried_again = len(caplog.records)
    RedisCounterCache._left_alone_until = 1e-9
    monkeypatch.setattr(RedisCache, "get", lambda self, *args: 7)

    assert tried_again == 1
    assert [cache.get(name), RedisCounterCache._left_alone_until] == [7, 0.0]


def test_processes_that_open_a_new_file_at_once_wait_for_each_other(
    tmp_path: Path, name: str
) -> None:
    program = (
        "import sys, time; from django.conf import settings; settings.configure()\n"
        "from access.counters import SQLiteCounterCache\n"
        f"for number in range({N_NEW_FILES}):\n"
        "    while time.time() < float(sys.argv[2]) + number / 100: pass\n"
        f"    SQLiteCounterCache(f'{{sys.argv[1]}}/{{number}}.db', {{}}).add({name!r}, 1, 60)"
    )
    begin = str(time.time() + 1.5)  # when all of them have started

    processes = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path, begin], cwd=settings.BASE_DIR)
        for _ in range(N_PROCESSES)
    ]

    assert [process.wait(60) for process in processes] == [0] * N_PROCESSES


def test_two_caches_share_one_file(tmp_path: Path, name: str) -> None:
    path: Any = str(tmp_path / "counters.db")
    first, second = SQLiteCounterCache(path, {}), SQLiteCounterCache(path, {})

    first.add(name, 1, 60)

    assert second.incr(name) == 2
