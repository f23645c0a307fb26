"""One Idempotency-Key, many requests at once, and a worker killed among them: one work."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.system.databases import database_url, databases
from tests.system.server import Answer, Installation, ask, fill, make_installation, running

N_KEYS = 24
N_AT_ONCE = 4
"""Requests of each key."""
N_CLIENTS = 8
KILL_AFTER_SECONDS = 0.3


@contextmanager
def serving(kind: str, directory: Path) -> Iterator[tuple[Installation, subprocess.Popen[bytes]]]:
    with database_url(kind) as url:
        installation = make_installation(directory, DATABASE_URL=url)
        fill(installation, n_customers=60)
        with running(installation) as process:
            yield installation, process


def predict(installation: Installation, number: int) -> Answer | None:
    """The answer to a customer of the key's own; None when the connection broke."""
    record = installation.records[number % len(installation.records)]
    try:
        return ask(
            installation.port,
            "POST",
            "/predict/kmeans",
            key=installation.api_key,
            body=[record | {"customer_id": f"N-{number}"}],
            headers={"Idempotency-Key": f"key-{number}"},
        )
    except (OSError, HTTPException):
        return None


def all_at_once(installation: Installation) -> list[list[Answer | None]]:
    """The answers of each key, whose requests come at the same time."""
    numbers = [number for number in range(N_KEYS) for _ in range(N_AT_ONCE)]
    with ThreadPoolExecutor(N_CLIENTS) as pool:
        answers = list(pool.map(lambda number: predict(installation, number), numbers))
    return [answers[start : start + N_AT_ONCE] for start in range(0, len(answers), N_AT_ONCE)]


def works(installation: Installation) -> Counter[str]:
    """How often each request id stands in the trail as carried out."""
    rows = installation.rows(
        "SELECT request_id FROM audit_auditentry WHERE action = ? AND outcome = ?",
        "segments.predicted",
        "succeeded",
    )
    return Counter(row[0] for row in rows)


@pytest.mark.parametrize("kind", databases("postgresql"))
def test_of_many_at_once_one_is_carried_out_and_a_killed_worker_does_nothing_twice(
    kind: str, tmp_path: Path
) -> None:
    with serving(kind, tmp_path) as (installation, process):
        predict(installation, N_KEYS)  # the models are loaded
        with ThreadPoolExecutor(1) as pool:
            pool.submit(kill_a_worker, process)
            pressed = all_at_once(installation)
        n_before_the_end = works(installation).total() - 1
        again = [predict(installation, number) for number in range(N_KEYS)]
        carried_out = works(installation)

    replayed = {
        a.headers["X-Request-ID"] for a in again if a and "Idempotent-Replayed" in a.headers
    }
    for answers, last in zip(pressed, again, strict=True):
        heard = [answer for answer in [*answers, last] if answer is not None]
        assert {answer.status for answer in heard} <= {200, 409}
        first = {a.content for a in heard if a.status == 200}
        assert len(first) <= 1, "all who hear of a key's work hear the same"
    assert n_before_the_end <= N_KEYS
    assert carried_out.total() - 1 <= N_KEYS
    assert set(carried_out.values()) == {1}
    assert len(replayed) >= N_KEYS - N_CLIENTS, "only what the killed worker held is unanswered"


def kill_a_worker(process: subprocess.Popen[bytes]) -> None:
    time.sleep(KILL_AFTER_SECONDS)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
