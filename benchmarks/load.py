"""A closed loop of keep-alive connections: each sends its next request when it has its answer.

One thread over non-blocking sockets, so that the load costs the servers little of the machine.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30.0
STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
END_OF_HEAD = b"\r\n\r\n"


class UnexpectedAnswer(RuntimeError):
    """A server gave something else than 200; a figure over errors would be worthless."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one measurement found; latencies in milliseconds."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    n_requests: int


@dataclass(slots=True)
class Connection:
    """One client: what it still has to send and what it has received of the answer."""

    sock: socket.socket
    requests: Iterator[bytes]
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    n_expected: int | None = None
    started: float = 0.0

    def start(self) -> None:
        self.unsent = memoryview(next(self.requests))
        self.received = bytearray()
        self.n_expected = None
        self.started = time.perf_counter()
        self.send()

    def send(self) -> None:
        while self.unsent:
            try:
                n_sent = self.sock.send(self.unsent)
            except BlockingIOError:
                return
            self.unsent = self.unsent[n_sent:]

    def has_answer(self) -> bool:
        """Take in what has come; whether the answer is whole now."""
        chunk = self.sock.recv(CHUNK_BYTES)
        if not chunk:
            raise UnexpectedAnswer("the server closed the connection")
        self.received += chunk
        if self.n_expected is None and END_OF_HEAD in self.received:
            self.n_expected = expected_bytes(self.received)
        return self.n_expected is not None and len(self.received) >= self.n_expected


def expected_bytes(received: bytearray) -> int:
    """Length of the whole answer, from its head. Raises `UnexpectedAnswer` unless it is a 200."""
    n_head = received.index(END_OF_HEAD) + len(END_OF_HEAD)
    status, length = STATUS.match(received), LENGTH.search(received, 0, n_head)
    if status is None or status[1] != b"200" or length is None:
        raise UnexpectedAnswer(received[:2_000].decode(errors="replace"))
    return n_head + int(length[1])


def http_request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def ask(port: int, request: bytes) -> bytes:
    """Send one request; returns the body of its answer."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as sock:
        sock.sendall(request)
        connection = Connection(sock, iter(()))
        while not connection.has_answer():
            pass
        return bytes(connection.received.partition(END_OF_HEAD)[2])


def measure(port: int, requests: Sequence[bytes], *, n_connections: int, seconds: float) -> Figures:
    """Load a server for some seconds; the first tenth warms it up and does not count."""
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector:
        connections = [connect(port, requests, first) for first in range(n_connections)]
        for connection in connections:
            selector.register(
                connection.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, connection
            )
            connection.start()
        begin = time.perf_counter() + seconds / 10
        end = begin + seconds
        while (now := time.perf_counter()) < end:
            ready = selector.select(TIMEOUT_SECONDS)
            if not ready:
                raise UnexpectedAnswer(f"nothing for {TIMEOUT_SECONDS:.0f} seconds")
            for key, events in ready:
                now = step(selector, key, events, latencies, begin)
        for connection in connections:
            connection.sock.close()
    return figures(latencies, now - begin)


def step(
    selector: selectors.BaseSelector,
    key: selectors.SelectorKey,
    events: int,
    latencies: list[float],
    begin: float,
) -> float:
    """Let one connection go on; its latency counts if its answer came after `begin`."""
    connection: Connection = key.data
    if events & selectors.EVENT_WRITE:
        connection.send()
    now = time.perf_counter()
    if events & selectors.EVENT_READ and connection.has_answer():
        now = time.perf_counter()
        if now >= begin:
            latencies.append(now - connection.started)
        connection.start()
    wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
    if wanted != key.events:
        selector.modify(connection.sock, wanted, connection)
    return now


def connect(port: int, requests: Sequence[bytes], first: int) -> Connection:
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    shifted = [*requests[first % len(requests) :], *requests[: first % len(requests)]]
    return Connection(sock, cycle(shifted))


def figures(latencies: Sequence[float], seconds: float) -> Figures:
    if not latencies:
        raise UnexpectedAnswer("no answer within the measurement; give it more --seconds")
    p50, p99 = np.percentile(np.array(latencies) * 1e3, [50, 99]).tolist()
    return Figures(len(latencies) / seconds, p50, p99, len(latencies))
