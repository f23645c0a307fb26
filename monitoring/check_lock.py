"""One run of checks at a time: on this machine with SQLite, on all that share a PostgreSQL."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

LOCK_FILE = "check_drift.lock"
LOCK_NUMBER = int.from_bytes(b"checking", "big")
"""Of the advisory lock, which PostgreSQL keeps for each database apart."""
SECONDS_BETWEEN = 0.2


class AlreadyRunning(Exception):
    """Another run holds the lock."""


@contextmanager
def only_one_run(*, directory: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock, which goes with the process (SQLite) or its session, however these end.

    Raises `AlreadyRunning` when another run still holds it after `wait_seconds`.
    """
    held = advisory_lock() if connection.vendor == "postgresql" else file_lock(directory)
    with held as acquire:
        deadline = time.monotonic() + wait_seconds
        while not acquire():
            if time.monotonic() >= deadline:
                raise AlreadyRunning("Another check_drift is running; this one did nothing.")
            time.sleep(SECONDS_BETWEEN)
        yield


def is_running(*, directory: Path) -> bool:
    """Whether a run holds the lock now."""
    try:
        with only_one_run(directory=directory):
            return False
    except AlreadyRunning:
        return True


@contextmanager
def file_lock(directory: Path) -> Iterator[Callable[[], bool]]:
    with (directory / LOCK_FILE).open("w") as file:

        def acquire() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        yield acquire


@contextmanager
def advisory_lock() -> Iterator[Callable[[], bool]]:
    acquired = False

    def acquire() -> bool:
        nonlocal acquired
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_NUMBER])
            (acquired,) = cursor.fetchone()
        return acquired

    try:
        yield acquire
    finally:
        if acquired and connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK_NUMBER])
