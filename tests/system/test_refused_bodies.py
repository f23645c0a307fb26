"""Clients whose body is refused: a silent one holds nobody up, a talkative one reads the answer."""

from __future__ import annotations

import http.client
import socket
from contextlib import ExitStack, closing
from pathlib import Path

from tests.system.server import ask, fill, make_installation, running

N_SILENT = 24
"""More than the server has threads."""
HEAD = (
    b"POST /predict/kmeans HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 30000000\r\n\r\n"
)


def test_silent_clients_without_a_key_do_not_stop_the_others(tmp_path: Path) -> None:
    installation = make_installation(tmp_path)
    fill(installation)

    with running(installation), ExitStack() as links:
        for _ in range(N_SILENT):
            link = links.enter_context(socket.create_connection(("127.0.0.1", installation.port)))
            link.sendall(HEAD)
        answers = [ask(installation.port, "GET", "/healthz") for _ in range(3)]
        refusal = link.recv(12)
        too_large = send_too_much(installation.port, installation.api_key)

    assert [answer.status for answer in answers] == [200] * 3
    assert refusal == b"HTTP/1.1 401"
    assert too_large == 413


def send_too_much(port: int, key: str) -> int:
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as link:
        link.request("POST", "/predict/kmeans", body=b" " * 25_000_000, headers=headers)
        return link.getresponse().status
