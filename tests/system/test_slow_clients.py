"""Slow clients hold nobody up, in the configuration as shipped; nor do they see HTML."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from tests.system import large_answers
from tests.system.server import (
    Answer,
    Installation,
    ask,
    fill,
    make_installation,
    running,
)

N_SLOW_BODIES = N_SLOW_HEADS = 24
"""More than the server has threads."""
N_IDLE = 50
N_SLOW_READERS = 12
LARGE = 8_000_000
"""More than the kernel takes off the server."""
ANSWER_SECONDS = 1.0
HEAD = "POST /predict/kmeans HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
REFUSED = {
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
    "Content-Length: 2\r\nContent-Length: 5\r\n\r\n[]": 400,
    "Content-Length: -1\r\n\r\n": 400,
    "Content-Length : 2\r\n\r\n[]": 400,
    "Transfer-Encoding: identity\r\n\r\n": 400,
    "Transfer-Encoding: unheard-of\r\n\r\n": 501,
    "X-Secret: very\r\n secret\r\n\r\n": 400,
    "X-Secret: very\0secret\r\n\r\n": 400,
    "very-secret\r\n\r\n": 400,
    "Expect: very-secret\r\n\r\n": 417,
    "X-Secret: " + "very-secret" * 1_000 + "\r\n\r\n": 431,
    "X-Secret: " + "very-secret" * 9_000: 431,
    "Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n": 401,
}
"""What follows the head, and the status of the one answer to it."""


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = make_installation(tmp_path_factory.mktemp("slow"))
    fill(installation)
    with running(installation):
        for _ in range(4):  # both workers have loaded the model, most likely
            predict(installation)
        yield installation


def predict(installation: Installation, **headers: str) -> Answer:
    return ask(
        installation.port,
        "POST",
        "/predict/kmeans",
        key=installation.api_key,
        body=installation.records[:1],
        headers=headers,
    )


def connected(stack: ExitStack, installation: Installation, sent: str) -> socket.socket:
    link = stack.enter_context(socket.create_connection(("127.0.0.1", installation.port), 10))
    link.sendall(sent.encode())
    return link


def received(link: socket.socket) -> bytes:
    """All there is until the server closes or says nothing for long."""
    answer = b""
    with suppress(OSError):
        while chunk := link.recv(65_536):
            answer += chunk
    return answer


def test_slow_bodies_slow_headers_and_idle_sockets_hold_nobody_up(serving: Installation) -> None:
    body = f"{HEAD}X-API-Key: {serving.api_key}\r\nContent-Length: 100000\r\n\r\n[{{"
    with ExitStack() as stack:
        slow = [connected(stack, serving, body) for _ in range(N_SLOW_BODIES)]
        slow += [connected(stack, serving, HEAD) for _ in range(N_SLOW_HEADS)]
        for _ in range(N_IDLE):
            connected(stack, serving, "")
        answers = []
        for _ in range(5):
            for link in slow:
                link.sendall(b" ")
            answers += [ask(serving.port, "GET", "/healthz"), predict(serving)]

    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) <= ANSWER_SECONDS


def test_a_body_that_comes_in_pieces_is_read_whole(serving: Installation) -> None:
    sent = f"{HEAD}X-API-Key: {serving.api_key}\r\nExpect: 100-continue\r\n"
    with ExitStack() as stack:
        link = connected(stack, serving, f"{sent}Content-Length: 600003\r\n\r\n")
        asked_for = link.recv(100)
        for piece in (b"[", b" " * 600_000, b"1", b"]"):
            link.sendall(piece)
        answer = link.recv(65_536)

    assert asked_for == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"code":"wrong-type"' in answer


def test_clients_that_do_not_read_their_answers_hold_nobody_up(tmp_path: Path) -> None:
    installation = make_installation(tmp_path, API_WORKERS="1")
    large = f"GET /{LARGE} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = "GET /2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with running(installation, "tests.system.large_answers:application"), ExitStack() as stack:
        links = [connected(stack, installation, large + last) for _ in range(N_SLOW_READERS)]
        answers = [ask(installation.port, "GET", "/2") for _ in range(3)]
        late = received(links[0])
        file = ask(installation.port, "GET", "/file")

    assert file.content == Path(large_answers.__file__).read_bytes()
    assert [answer.content for answer in answers] == [b"xx"] * 3
    assert max(answer.seconds for answer in answers) <= ANSWER_SECONDS
    assert late.count(b"x" * LARGE) == 1
    assert late.endswith(b"\r\n\r\nxx")


def test_pipelined_requests_are_answered_in_order(serving: Installation) -> None:
    with ExitStack() as stack:
        first = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        second = "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answers = received(connected(stack, serving, first + second + first))

    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404"]


@pytest.mark.parametrize(("rest", "status"), REFUSED.items(), ids=lambda value: str(value)[:40])
def test_what_is_refused_before_the_application_is_a_problem_too(
    serving: Installation, rest: str, status: int
) -> None:
    with ExitStack() as stack:
        answer = received(connected(stack, serving, HEAD + rest))

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Content-Type: application/problem+json\r\n" in answer
    assert b"\r\nX-Request-ID: " in answer
    assert b"secret" not in answer


def test_too_long_an_address_is_a_problem(serving: Installation) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", serving.port, timeout=10)) as link:
        link.request("GET", "/" + "a" * 9_000)
        answer = link.getresponse()
        content = answer.read()

    assert answer.status == 414
    assert b'"type":"/docs/problems#uri-too-long"' in content
