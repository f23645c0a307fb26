"""A request is whole when its last byte is there, and an answer waits for nobody."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from gunicorn.http.errors import LimitRequestHeaders

from segmentation_project import gunicorn_buffers
from segmentation_project.gunicorn_buffers import MAX_HEAD_BYTES, MEMORY_BYTES, Arrival, Outgoing

HEAD = b"POST /predict/kmeans HTTP/1.1\r\nHost: localhost\r\n"


MADE: list[Arrival] = []


@pytest.fixture(autouse=True)
def all_closed() -> Iterator[None]:
    yield
    while MADE:
        MADE.pop().close()


def arrival_of(*pieces: bytes) -> tuple[Arrival, list[bool]]:
    arrival = Arrival()
    MADE.append(arrival)
    return arrival, [arrival.add(piece) for piece in pieces]


def everything_of(arrival: Arrival) -> bytes:
    return b"".join(iter(lambda: arrival.read(), b""))


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_a_request_is_whole_with_its_last_byte_however_it_is_cut(size: int) -> None:
    request = HEAD + b"Content-Length: 5\r\n\r\n[1,2]"
    pieces = [request[start : start + size] for start in range(0, len(request), size)]

    arrival, whole = arrival_of(*pieces)

    assert whole == [False] * (len(pieces) - 1) + [True]
    assert everything_of(arrival) == request
    assert arrival.ran_dry


def test_what_follows_a_request_begins_the_next() -> None:
    arrival, whole = arrival_of(HEAD + b"Content-Length: 2\r\n\r\n[]GET / HTTP")

    assert whole == [True]
    assert arrival.read(len(HEAD) + 23) == HEAD + b"Content-Length: 2\r\n\r\n[]"
    assert arrival.rest() == b"GET / HTTP"


def test_a_long_body_is_held_outside_memory() -> None:
    length = MEMORY_BYTES + 1
    arrival, whole = arrival_of(HEAD + b"Content-Length: %d\r\n\r\n" % length, b"x" * length)

    assert whole == [False, True]
    assert arrival._held._rolled  # type: ignore[attr-defined]
    assert everything_of(arrival).endswith(b"x" * length)


@pytest.mark.parametrize(
    ("framing", "is_cut"),
    [
        (b"", False),
        (b"Content-Length: 0\r\n", False),
        (b"Content-Length: 20000001\r\n", True),
        (b"Content-Length: -1\r\n", True),
        (b"Content-Length: \xb2\r\n", True),
        (b"Content-Length: 2\r\nContent-Length: 2\r\n", True),
        (b"content-length : 2\r\n", False),
        (b"Transfer-Encoding: chunked\r\n", True),
        (b"TRANSFER-ENCODING: chunked\r\nContent-Length: 2\r\n", True),
    ],
)
def test_a_body_that_will_not_be_read_is_not_waited_for(framing: bytes, is_cut: bool) -> None:
    arrival, [is_whole] = arrival_of(HEAD + framing + b"\r\n")

    assert (is_whole, arrival.is_cut) == (b" :" not in framing, is_cut)


def test_an_upload_in_the_admin_may_be_longer() -> None:
    rest = b" HTTP/1.1\r\nContent-Length: 20000001\r\n\r\n"

    upload, [is_whole] = arrival_of(b"POST /admin/segments/customer/import/" + rest)
    other, [other_is_whole] = arrival_of(b"POST /predict/admin/" + rest)

    assert (is_whole, upload.is_cut) == (False, False)
    assert (other_is_whole, other.is_cut) == (True, True)


def test_headers_without_an_end_are_refused() -> None:
    arrival, _ = arrival_of(HEAD)

    with pytest.raises(LimitRequestHeaders):
        arrival.add(b"a" * MAX_HEAD_BYTES)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's and the client's end of a connection."""
    server, client = socket.socketpair()
    server.setblocking(False)
    with server, client:
        yield server, client


def read(client: socket.socket, n_bytes: int) -> bytes:
    content = b""
    while len(content) < n_bytes:
        content += client.recv(65_536)
    return content


def test_what_a_client_does_not_take_is_sent_later(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    server, client = ends
    content = bytes(range(256)) * 8_000
    outgoing = Outgoing(server)
    outgoing.sendall(b"head")
    outgoing.sendall(content)
    outgoing.sendall(b"tail")
    outgoing.push()
    n_left = outgoing.n_unsent
    outgoing.rewind()
    received = b""
    while not outgoing.send_more():
        received += client.recv(65_536)
    received += read(client, len(content) + 8 - len(received))
    outgoing.close()

    assert n_left > len(content) / 2
    assert received == b"head" + content + b"tail"


def test_of_a_very_long_answer_the_thread_waits_for_the_client(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gunicorn_buffers, "MAX_UNSENT_BYTES", 100_000)
    server, client = ends
    received: list[bytes] = []
    n_bytes = 3_000_000
    reader = threading.Thread(target=lambda: received.append(read(client, n_bytes)))
    outgoing = Outgoing(server)
    reader.start()
    for digit in range(30):
        outgoing.sendall(b"%d" % (digit % 10) * 100_000)
    outgoing.push()
    outgoing.rewind()
    while not outgoing.send_more():
        pass
    reader.join()
    outgoing.close()

    assert received == [b"".join(b"%d" % (digit % 10) * 100_000 for digit in range(30))]


def test_a_client_that_takes_nothing_for_long_ends_the_answer(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gunicorn_buffers, "MAX_UNSENT_BYTES", 100_000)
    monkeypatch.setattr(gunicorn_buffers, "SEND_SECONDS", 0.01)

    outgoing = Outgoing(ends[0])

    with pytest.raises(TimeoutError):
        outgoing.sendall(b"x" * 3_000_000)

    outgoing.close()
