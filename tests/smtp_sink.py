"""A mail server on this machine for tests: it takes mail, refuses it, or misbehaves."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from typing import Literal

Behaviour = Literal[
    "accept",
    "refuse-client",  # 554 for a greeting
    "refuse-recipient",
    "refuse-one",  # the first of the recipients
    "refuse-login",
    "take-login",
    "refuse-message",  # 550 after DATA
    "try-later",  # 451 after DATA
    "greylist",  # 450 for every recipient
    "drop-in-data",
    "hang",  # no greeting
    "hang-after-data",  # the message taken, no reply to it
    "hang-on-quit",
    "tarpit",  # a greeting that never ends, a byte now and then
    "garbage",  # a greeting that is no SMTP
    "hang-in-tls",
    "garbage-in-tls",
]
GREETINGS: dict[Behaviour, bytes] = {
    "refuse-client": b"554 5.7.1 not you\r\n",
    "hang": b"",
    "garbage": b"\x00\xff\xfe" * 100 + b"\r\n",
}
FEATURES: dict[Behaviour, bytes] = {
    "refuse-login": b"250-sink\r\n250 AUTH PLAIN\r\n",
    "take-login": b"250-sink\r\n250 AUTH PLAIN\r\n",
    "hang-in-tls": b"250-sink\r\n250 STARTTLS\r\n",
    "garbage-in-tls": b"250-sink\r\n250 STARTTLS\r\n",
}
ENDS: dict[Behaviour, bytes] = {
    "refuse-message": b"550 5.7.1 it looks like spam, said password hunter2\r\n",
    "try-later": b"451 4.3.0 later\r\n",
}
TARPIT_SECONDS = 0.05
"""Between two bytes."""


@dataclass
class Sink:
    """`mails` are the messages received; `n_connections` counts who came."""

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
        with client, client.makefile("rb") as lines, suppress(OSError):  # the client may just go
            if behaviour == "tarpit":
                _trickle(client)
            client.sendall(GREETINGS.get(behaviour, b"220 sink\r\n"))
            _converse(client, iter(lines), sink, behaviour)


def _trickle(client: socket.socket) -> None:
    """A greeting of short lines, none of them the last, until the client has gone."""
    while True:
        for byte in b"220-wait\r\n":
            client.sendall(bytes([byte]))
            time.sleep(TARPIT_SECONDS)


def _converse(
    client: socket.socket, lines: Iterator[bytes], sink: Sink, behaviour: Behaviour
) -> None:
    n_recipients = 0
    for line in lines:
        command = line[:4].upper().strip()
        if behaviour == "hang" or (behaviour == "hang-on-quit" and command == b"QUIT"):
            continue
        reply = b"250 fine\r\n"
        if command == b"EHLO":
            reply = FEATURES.get(behaviour, reply)
        elif command == b"AUTH":
            took = behaviour == "take-login"
            reply = b"235 2.7.0 welcome\r\n" if took else b"535 5.7.8 wrong password\r\n"
        elif command == b"STAR":
            client.sendall(b"220 go on\r\n")
            if behaviour == "garbage-in-tls":
                client.sendall(b"no TLS at all\r\n" * 20)
            behaviour = "hang"
            continue
        elif command == b"RCPT":
            n_recipients += 1
            if behaviour == "refuse-recipient" or (behaviour == "refuse-one" and n_recipients == 1):
                reply = b"550 5.1.1 nobody of that name\r\n"
            elif behaviour == "greylist":
                reply = b"450 come back later\r\n"
        elif command == b"DATA":
            client.sendall(b"354 go on\r\n")
            if behaviour == "drop-in-data":
                next(lines)
                return
            content = list(iter(lambda: next(lines), b".\r\n"))
            sink.mails.append(message_from_bytes(b"".join(content)))
            if behaviour == "hang-after-data":
                behaviour = "hang"
                continue
            reply = ENDS.get(behaviour, reply)
        client.sendall(reply)
        if command == b"QUIT":
            return
