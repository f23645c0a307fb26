"""Deliverers that are killed, and several at once: each message arrives, and once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.smtp_sink import smtp_sink
from tests.system.databases import database_url, databases
from tests.system.killed_deliveries import N_MESSAGES
from tests.system.server import make_installation


@pytest.mark.parametrize("kind", databases("sqlite"))
def test_every_message_arrives_once_unless_its_deliverer_died_with_the_answer_in_hand(
    kind: str, tmp_path: Path
) -> None:
    with database_url(kind) as url, smtp_sink() as sink:
        installation = make_installation(tmp_path, DATABASE_URL=url)

        printed = installation.python("-m", "tests.system.killed_deliveries", str(sink.port))

        ids: dict[str, list[str]] = json.loads(printed)
        states = installation.rows("SELECT state, COUNT(*) FROM monitoring_notification GROUP BY 1")
        entries = installation.rows(
            "SELECT COUNT(DISTINCT target_id), COUNT(*) FROM audit_auditentry WHERE action = ?",
            "notification.sent",
        )
    arrived = Counter(mail["Message-ID"] for mail in sink.mails)
    n_arrived = {
        name: [arrived[message_id] for message_id in of_name] for name, of_name in ids.items()
    }
    assert n_arrived == {
        "before the commit": [],  # neither the alert nor the message was ever there
        "before the claim": [1],
        "before the server took it": [1],
        "after the server took it": [2],  # recognisable by its id
        "sent by several at once": [1] * N_MESSAGES,
        "queued by several at once": [1],
    }
    n_messages = sum(map(len, ids.values()))
    assert states == [("sent", n_messages)]
    assert entries == [(n_messages, n_messages)]
