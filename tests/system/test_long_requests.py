"""Addresses and header fields that no view gets to see are refused as the schema says."""

from __future__ import annotations

from pathlib import Path

from tests.contract.answers import assert_documented, operations
from tests.system.server import ask, fill, make_installation, running

LONG = "x" * 9_000


def test_what_is_too_long_gets_the_documented_problem_on_every_operation(tmp_path: Path) -> None:
    installation = make_installation(tmp_path, API_WORKERS="1")
    fill(installation)

    with running(installation):
        for status, query, headers in ((414, f"?limit={LONG}", {}), (431, "", {"X-Long": LONG})):
            answers = [
                (operation, ask(installation.port, method, path + query, headers=headers))
                for method, path, operation in operations()
                if str(status) in operation["responses"]
            ]

            assert len(answers) > 30
            for operation, answer in answers:
                assert answer.status == status
                assert_documented(operation, answer.status, answer.headers, answer.content)
