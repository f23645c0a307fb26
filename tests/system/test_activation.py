"""Several activators at once under live traffic: one version serves, and answers name it rightly.

SYSTEM_ACTIVATIONS sets how many activations each of the four tries.
"""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.system.databases import database_url, databases
from tests.system.server import (
    ANSWER_SECONDS,
    Answer,
    Installation,
    ask_on,
    fill,
    make_installation,
    running,
)

N_ACTIVATIONS = int(os.environ.get("SYSTEM_ACTIVATIONS", "6"))
N_ACTIVATORS = 4
N_CLUSTERS = (2, 3, 5)
N_PROBES = 40
PAUSE_SECONDS = 0.02
"""Between the requests of a client: traffic, without taking the activators' processor."""
ACTIVATORS_SECONDS = 600.0

Segments = dict[str, int]
"""Segment by customer id."""


@pytest.mark.parametrize("kind", databases("postgresql"))
def test_four_activators_leave_one_active_version_and_answers_agree_with_the_one_they_name(
    kind: str, tmp_path: Path
) -> None:
    with database_url(kind) as url:
        installation = make_installation(tmp_path, DATABASE_URL=url)
        fill(installation, n_clusters=N_CLUSTERS)
        expected = expected_segments(installation)

        with running(installation):
            outcomes, predictions, listings = under_traffic(installation)

        log = installation.log()[-4000:]
        assert {answer.status for answer in predictions + listings} == {200}, log
        for answer in listings:
            assert_one_is_active(answer)
        for answer in predictions:
            assert_agrees(answer, expected)
        assert sum(map(sum, (o.values() for o in outcomes))) == N_ACTIVATORS * N_ACTIVATIONS
        n_won = sum(outcome.get("won", 0) for outcome in outcomes)
        assert sum(outcome.get("lost", 0) for outcome in outcomes) > 0, "they never met"
        assert len({answer.body["version"] for answer in predictions}) > 1, "they saw no switch"
        assert_ledger_is_whole(installation, n_moves=1 + n_won)


def expected_segments(installation: Installation) -> dict[int, Segments]:
    """Who is where under each version, as training stored it."""
    expected: dict[int, Segments] = {}
    for number, customer_id, segment_id in installation.rows(
        "SELECT v.number, a.customer_id, a.segment_id FROM segments_assignment a"
        " JOIN modelregistry_modelversion v ON v.id = a.version_id WHERE v.model_type = ?",
        "kmeans",
    ):
        expected.setdefault(number, {})[customer_id] = segment_id
    assert len(expected) == len(N_CLUSTERS)
    return expected


def under_traffic(
    installation: Installation,
) -> tuple[list[dict[str, int]], list[Answer], list[Answer]]:
    """Run the activators; meanwhile four clients predict and one reads `GET /models`."""
    ended = threading.Event()
    probes = installation.records[:N_PROBES]

    def predict() -> list[Answer]:
        return repeat("POST", "/predict/kmeans?store=false", probes)

    def read() -> list[Answer]:
        return repeat("GET", "/models", None)

    def repeat(method: str, path: str, body: object) -> list[Answer]:
        answers = []
        link = HTTPConnection("127.0.0.1", installation.port, timeout=ANSWER_SECONDS)
        with closing(link):
            while not ended.wait(PAUSE_SECONDS):
                answers.append(ask_on(link, method, path, key=installation.api_key, body=body))
        return answers

    with ThreadPoolExecutor(5) as pool:
        predicting = [pool.submit(predict) for _ in range(4)]
        reading = pool.submit(read)
        try:
            outcomes = run_activators(installation)
        finally:
            ended.set()
        answers = [answer for client in predicting for answer in client.result()]
        return outcomes, answers, reading.result()


def run_activators(installation: Installation) -> list[dict[str, int]]:
    printed = installation.python(
        *("-m", "tests.system.activator", str(N_ACTIVATIONS), str(N_ACTIVATORS)),
        seconds=ACTIVATORS_SECONDS,
    )
    outcomes = json.loads(printed)
    assert len(outcomes) == N_ACTIVATORS
    return outcomes


def assert_one_is_active(answer: Answer) -> None:
    for listed in answer.body["models"]:
        shown = [listed["active"], listed["previous"], *listed["candidates"]]
        states = [version["state"] for version in shown if version is not None]
        assert states.count("active") == 1
        assert listed["active"] is not None and listed["active"]["state"] == "active"


def assert_agrees(answer: Answer, expected: dict[int, Segments]) -> None:
    segments = expected[answer.body["version"]]
    predictions = answer.body["predictions"]
    assert len(predictions) == N_PROBES
    for row in predictions:
        assert row["segment"] == segments[row["customer_id"]]


def assert_ledger_is_whole(installation: Installation, *, n_moves: int) -> None:
    """Generations 1 to n; each move starts where the one before it ended; the pointer is last."""
    moves = installation.rows(
        "SELECT generation, from_version_id, to_version_id FROM modelregistry_activation"
        " WHERE model_type = ? ORDER BY generation",
        "kmeans",
    )
    assert [move[0] for move in moves] == list(range(1, n_moves + 1))
    assert moves[0][1] is None
    assert [move[1] for move in moves[1:]] == [move[2] for move in moves[:-1]]
    assert all(move[1] != move[2] for move in moves)
    pointer = installation.rows(
        "SELECT generation, previous_id, active_id FROM modelregistry_activemodel"
        " WHERE model_type = ?",
        "kmeans",
    )
    assert pointer == [moves[-1]]
    entries = installation.rows(
        "SELECT COUNT(*) FROM audit_auditentry WHERE action = ? AND target_id LIKE ?",
        "model_version.activated",
        "kmeans %",
    )
    assert entries == [(n_moves,)]
