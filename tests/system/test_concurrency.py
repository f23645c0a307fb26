"""Many clients at once on the real server, storing what they send.

SYSTEM_SECONDS sets how long they press; a longer run says more, the short one is for every day.
"""

from __future__ import annotations

import os
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.system.databases import database_url, databases
from tests.system.server import (
    Answer,
    ask_on,
    fill,
    make_installation,
    press,
    quantile,
    running,
    statuses,
)

SECONDS = float(os.environ.get("SYSTEM_SECONDS", "3"))
N_CLIENTS = 64


@pytest.mark.parametrize("kind", databases("postgresql"))
def test_64_storing_clients_get_nothing_but_200_and_an_audit_entry_each(
    kind: str, tmp_path: Path, record_property: pytest.RecordProperty, capsys: pytest.CaptureFixture
) -> None:
    with database_url(kind) as url:
        installation = make_installation(tmp_path, DATABASE_URL=url)
        fill(installation)

        def predict(link: HTTPConnection, number: int) -> Answer:
            record = installation.records[number % len(installation.records)]
            body = [{**record, "customer_id": f"{record['customer_id']}-{number % 1000}"}]
            return ask_on(link, "POST", "/predict/kmeans", key=installation.api_key, body=body)

        with running(installation):
            answers = press(installation.port, predict, n_clients=N_CLIENTS, seconds=SECONDS)
        entries = installation.rows(
            "SELECT request_id, n_items, outcome FROM audit_auditentry WHERE action = ?",
            "segments.predicted",
        )
        assigned = installation.rows(
            "SELECT customer_id FROM segments_assignment a JOIN modelregistry_activemodel m"
            " ON m.active_id = a.version_id WHERE m.model_type = ?",
            "kmeans",
        )

    figures = (
        f"{kind}: {len(answers) / SECONDS:.0f} requests/s at {N_CLIENTS} clients, "
        f"p50 {quantile(answers, 0.5) * 1000:.0f} ms, p99 {quantile(answers, 0.99) * 1000:.0f} ms"
    )
    record_property("figures", figures)
    with capsys.disabled():
        if "SYSTEM_SECONDS" in os.environ:
            print(f"\n{figures}")
    assert statuses(answers) == {200: len(answers)}, installation.log()[-4000:]
    assert len(answers) >= N_CLIENTS
    assert sorted(row[0] for row in entries) == sorted(a.headers["X-Request-ID"] for a in answers)
    assert {row[1:] for row in entries} == {(1, "succeeded")}
    answered = {a.body["predictions"][0]["customer_id"] for a in answers}
    assert answered <= {row[0] for row in assigned}
