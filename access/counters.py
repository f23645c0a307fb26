"""Counters for the rate limit that lose no increment, whatever the number of processes.

Stock database and file caches read, add one and write back, and so lose increments under
concurrency. Here each step is one statement that the database or Redis makes atomic.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.redis import RedisCache

logger = logging.getLogger(__name__)

PURGE_EVERY = 1_000
"""New counters between two sweeps of the expired ones."""
BUSY_TIMEOUT_SECONDS = 5.0
RETRY_REDIS_AFTER_SECONDS = 5.0
FALLBACK_SECONDS = 86_400
"""How long a counter taken over from Redis may live; the limiter's longest period is a day."""

NO_ANSWER = object()

SCHEMA = """CREATE TABLE IF NOT EXISTS counter (
    name TEXT PRIMARY KEY, value INTEGER NOT NULL, expires_at REAL NOT NULL) WITHOUT ROWID"""
ADD = """INSERT INTO counter VALUES (:name, :value, :expires_at)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
    WHERE counter.expires_at <= :now"""
INCREMENT = """UPDATE counter SET value = value + :delta
    WHERE name = :name AND expires_at > :now RETURNING value"""


class OwnConnection(sqlite3.Connection):
    """A thread's connection, closed when the thread that held it is gone."""

    def __del__(self) -> None:
        self.close()


class SQLiteCounterCache(BaseCache):
    """Counters in an SQLite file of their own, shared by the processes of one machine.

    The file is a cache: nothing is fsynced, and losing it restarts the counts.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._path = location
        self._local = threading.local()
        self._n_added = 0

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        now = time.time()
        self._n_added += 1
        if self._n_added % PURGE_EVERY == 0:
            self._connection().execute("DELETE FROM counter WHERE expires_at <= ?", (now,))
        row = {
            "name": self.make_and_validate_key(key, version=version),
            "value": value,
            "expires_at": self._expires_at(timeout),
            "now": now,
        }
        return self._connection().execute(ADD, row).rowcount == 1

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        row = {
            "name": self.make_and_validate_key(key, version=version),
            "delta": delta,
            "now": time.time(),
        }
        found = self._connection().execute(INCREMENT, row).fetchall()
        if not found:
            raise ValueError("no such counter")
        return int(found[0][0])

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        name = self.make_and_validate_key(key, version=version)
        found = (
            self._connection()
            .execute(
                "SELECT value FROM counter WHERE name = ? AND expires_at > ?", (name, time.time())
            )
            .fetchone()
        )
        return default if found is None else found[0]

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        row = (self.make_and_validate_key(key, version=version), value, self._expires_at(timeout))
        self._connection().execute("INSERT OR REPLACE INTO counter VALUES (?, ?, ?)", row)

    def delete(self, key: str, version: int | None = None) -> bool:
        name = self.make_and_validate_key(key, version=version)
        return (
            self._connection().execute("DELETE FROM counter WHERE name = ?", (name,)).rowcount == 1
        )

    def clear(self) -> None:
        self._connection().execute("DELETE FROM counter")

    def _expires_at(self, timeout: Any) -> float:
        expires_at = self.get_backend_timeout(timeout)
        return float("inf") if expires_at is None else expires_at

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path,
                timeout=BUSY_TIMEOUT_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # the one that closes it may be another
                factory=OwnConnection,
            )
            use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute(SCHEMA)
            self._local.connection = connection
        return connection


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Wait as any other statement would: SQLite gives up at once when others read a new file."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)


class RedisCounterCache(RedisCache):
    """Django's Redis cache that falls back to this machine's counters while Redis is away.

    After a failure Redis is left alone for a few seconds; then one request of the process tries it
    again. So a hanging server costs one short wait now and then, not one for each request.
    """

    _left_alone_until = 0.0  # monotonic seconds; the process's own, as each thread has an instance
    _trial = threading.Lock()

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        options = dict(params.get("OPTIONS", {}))
        self._fallback = SQLiteCounterCache(options.pop("fallback_path"), {})
        super().__init__(server, {**params, "OPTIONS": options})

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        added = self._answer_of(lambda cache: cache.add(key, value, timeout, version))
        if added is NO_ANSWER:
            return self._fallback.add(key, value, timeout, version)
        return bool(added)

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        count = self._answer_of(lambda cache: cache.incr(key, delta, version))
        if count is not NO_ANSWER:
            return int(count)
        # The counter may have been started in Redis: then it starts anew on this machine.
        if self._fallback.add(key, delta, FALLBACK_SECONDS, version):
            return delta
        return self._fallback.incr(key, delta, version)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        value = self._answer_of(lambda cache: cache.get(key, default, version))
        return self._fallback.get(key, default, version) if value is NO_ANSWER else value

    def answers(self) -> bool:
        """Whether Redis answers now, as far as it is asked."""
        return self._answer_of(lambda cache: cache.get("any")) is not NO_ANSWER

    def _answer_of(self, question: Callable[[Any], Any]) -> Any:
        """What Redis answers; `NO_ANSWER` when it does not, or is left alone."""
        if not self._is_asked():
            return NO_ANSWER
        try:
            answer = question(super())
        except redis.RedisError as error:
            RedisCounterCache._left_alone_until = time.monotonic() + RETRY_REDIS_AFTER_SECONDS
            logger.warning("Redis does not answer, limiting on this machine: %s", error)
            return NO_ANSWER
        RedisCounterCache._left_alone_until = 0.0
        return answer

    @classmethod
    def _is_asked(cls) -> bool:
        """Whether this request asks Redis; after a failure, only the one that tries it again."""
        if not cls._left_alone_until:
            return True
        with cls._trial:
            now = time.monotonic()
            if now < cls._left_alone_until:
                return False
            RedisCounterCache._left_alone_until = now + RETRY_REDIS_AFTER_SECONDS
            return True
