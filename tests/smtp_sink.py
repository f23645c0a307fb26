"""A mail server on this machine for tests: it takes mail, refuses the client, or says nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from typing import Literal

Behaviour = Literal["accept", "refuse-recipient", "refuse-client", "hang"]
GREETINGS = {"refuse-client": b"554 not you\r\n", "hang": b""}


@dataclass
class Sink:
    """`mails` are the messages taken; `n_connections` counts who came."""

    port: int
    mails: list[Message] = field(default_factory=list)
    n_connections: int = 0


@contextmanager
def smtp_sink(behaviour: Behaviour = "accept") -> Iterator[Sink]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = Sink(server.getsockname()[1])
        thread = threading.Thread(target=_serve, args=(server, sink, behaviour), daemon=True)
        thread.start()
        yield sink
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def _serve(server: socket.socket, sink: Sink, behaviour: Behaviour) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:  # the test is over
            return
        sink.n_connections += 1
        with client, client.makefile("rb") as lines:
            client.sendall(GREETINGS.get(behaviour, b"220 sink\r\n"))
            _converse(client, iter(lines), sink, behaviour)


def _converse(
    client: socket.socket, lines: Iterator[bytes], sink: Sink, behaviour: Behaviour
) -> None:
    for line in lines:
        command = line[:4].upper().strip()
        if behaviour == "hang":
            continue
        if command == b"DATA":
            client.sendall(b"354 go on\r\n")
            content = list(iter(lambda: next(lines), b".\r\n"))
            sink.mails.append(message_from_bytes(b"".join(content)))
        refused = command == b"RCPT" and behaviour == "refuse-recipient"
        client.sendall(b"550 nobody of that name\r\n" if refused else b"250 fine\r\n")
        if command == b"QUIT":
            return
