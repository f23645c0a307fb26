"""A webhook receiver on this machine for tests: it answers as told, or misbehaves."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

ANSWERS = {
    "ok": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "no-content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "error": b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    "redirect": b"HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:%d/other\r\n\r\n",
    "garbage": b"\x00\xff\xfe garbage\r\n\r\n",
    "nothing": b"",
    "endless-body": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000,
}
"""`hang` and `tarpit` are told apart from these: they never come to an end."""


@dataclass(frozen=True)
class Post:
    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    port: int
    posts: list[Post] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?team=crm"


@contextmanager
def http_sink(*behaviours: str) -> Iterator[Receiver]:
    """Each request is answered by the next behaviour, all later ones by the last."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        receiver = Receiver(server.getsockname()[1])
        arguments = (server, receiver, behaviours or ("ok",))
        thread = threading.Thread(target=_serve, args=arguments, daemon=True)
        thread.start()
        yield receiver
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def _serve(server: socket.socket, receiver: Receiver, behaviours: Sequence[str]) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:  # the test is over
            return
        with client, suppress(OSError):  # the client may just go
            receiver.posts.append(_read(client))
            n_before = len(receiver.posts) - 1
            _answer(client, behaviours[min(n_before, len(behaviours) - 1)], receiver.port)


def _read(client: socket.socket) -> Post:
    with client.makefile("rb") as file:
        line = file.readline().decode().strip()
        headers = {}
        while name := file.readline().decode().strip():
            key, _, value = name.partition(":")
            headers[key.lower()] = value.strip()
        return Post(line, headers, file.read(int(headers.get("content-length", 0))))


def _answer(client: socket.socket, behaviour: str, port: int) -> None:
    if behaviour == "hang":
        client.recv(1)  # until the other side goes
    elif behaviour == "tarpit":
        while True:
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(0.05)
    else:
        answer = ANSWERS[behaviour]
        client.sendall(answer % port if behaviour == "redirect" else answer)
