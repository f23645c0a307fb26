"""A gunicorn thread worker that hands a thread whole requests only; all others cost no thread.

The worker's loop takes in what clients send, whenever it comes, into memory and beyond some size
into an unlinked file. A thread sees a request when its last byte is there, so neither slow headers
nor slow bodies nor idle sockets hold one. A body that will not be read is not waited for.

Plain HTTP/1 only: TLS is left to a proxy.
"""

from __future__ import annotations

import secrets
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from django.http import HttpRequest
from gunicorn.http import errors
from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from segmentation_project.gunicorn_buffers import SEND_SECONDS, Arrival, Outgoing
from segmentation_project.problems import problem
from segmentation_project.renderers import PROBLEM_JSON, encode

HEAD_SECONDS = 20.0
"""From a request's first byte to the end of its headers."""
BODY_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 16_384
"""A body may take BODY_SECONDS and its length at this speed."""
LINGER_SECONDS = 2.0
"""What a client still sends is taken in and thrown away until it pauses so long…"""
MAX_LINGER_SECONDS = 30.0
MAX_LINGER_BYTES = 64 * 1024**2
"""…or has sent so much; else it could not read its answer."""
LOOK_SECONDS = 0.5
RECEIVED_BYTES = 64 * 1024
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

INVALID = "The request is not valid HTTP."
REFUSALS: dict[type[Exception], tuple[int, str, str]] = {
    errors.ForbiddenProxyRequest: (403, "forbidden", "This is not allowed."),
    errors.LimitRequestLine: (414, "uri-too-long", "The address is too long."),
    errors.ExpectationFailed: (417, "expectation-failed", "Only 100-continue can be expected."),
    errors.LimitRequestHeaders: (431, "headers-too-large", "The headers are too many or too long."),
    errors.UnsupportedTransferCoding: (501, "transfer-coding", "Send the body as it is."),
}
"""What gunicorn refuses before the application: status, code, detail. The rest is a 400."""


class Connection(TConn):  # type: ignore[misc]
    """A client; `until` is when it is given up, in monotonic seconds.

    `is_asking`: its next request is waited for. Else it is answered, or thrown out.
    """

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.parser = RequestParser(cfg, (), client)
        self.initialized = self.data_ready = True
        self.arrival = Arrival()
        self.outgoing: Outgoing | None = None
        self.until = 0.0
        self.is_asking = False
        self.n_discarded = 0
        self.linger_end = 0.0


class WholeRequestWorker(ThreadWorker):  # type: ignore[misc]
    """Replaces how gthread waits for requests and closes connections; threads stay as they are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waiting: dict[Connection, None] = {}  # the oldest first
        self._looked_at = 0.0

    def accept(self, listener: socket.socket) -> None:
        try:
            client_socket, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # no file descriptor is left
            self.log.exception("A connection could not be taken")
            self.make_room()
            return
        self.nr_conns += 1
        conn = Connection(self.cfg, client_socket, address, listener.getsockname())
        self.wait_for_request(conn)
        self.take_in(conn, client_socket)
        if self.nr_conns >= self.worker_connections:
            self.make_room()

    def make_room(self) -> None:
        """Give up the client that has been waited for longest: the others must get in."""
        if self.waiting:
            self.give_up(next(iter(self.waiting)))

    def wait_for_request(self, conn: Connection, begun: bytes = b"") -> None:
        conn.is_asking = True
        conn.arrival.close()
        conn.arrival = Arrival()
        conn.parser.unreader = conn.arrival
        self.watch(conn, self.take_in, self.cfg.keepalive if self.alive else STOP_KEEPALIVE_LINGER)
        if begun:
            self.add(conn, begun)

    def watch(self, conn: Connection, act: Any, seconds: float, event: int = EVENT_READ) -> None:
        """Act when the socket is ready, and give the client up if it is not for so long."""
        conn.sock.setblocking(False)
        conn.until = time.monotonic() + seconds
        self.waiting[conn] = None
        self.poller.register(conn.sock, event, partial(act, conn))

    def unwatch(self, conn: Connection) -> None:
        del self.waiting[conn]
        self.poller.unregister(conn.sock)

    def give_up(self, conn: Connection) -> None:
        self.unwatch(conn)
        self.close(conn)

    def close(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.arrival.close()
        if conn.outgoing is not None:
            conn.outgoing.close()
        conn.close()

    def take_in(self, conn: Connection, sock: socket.socket) -> None:
        """What a client sends of its request."""
        data = received(sock)
        if data:
            self.add(conn, data)
        elif data is not None:
            self.give_up(conn)

    def add(self, conn: Connection, data: bytes) -> None:
        arrival = conn.arrival
        is_first, had_head = not arrival.n_bytes, arrival.n_needed is not None
        try:
            is_whole = arrival.add(data)
        except errors.LimitRequestHeaders as refusal:
            self.refuse(conn, refusal)
            return
        if is_whole:
            conn.is_asking = False
            self.unwatch(conn)
            self.enqueue_req(conn)
        elif arrival.n_needed is None:
            if is_first:
                conn.until = time.monotonic() + HEAD_SECONDS
        elif not had_head:
            left = arrival.n_needed - arrival.n_bytes
            conn.until = time.monotonic() + BODY_SECONDS + left / SLOWEST_BYTES_PER_SECOND
            if arrival.expects_continue:
                with suppress(OSError):
                    conn.sock.send(CONTINUE)

    def refuse(self, conn: Connection, error: Exception) -> None:
        """Answer for the application from the loop: the answer fits the socket's empty buffer."""
        conn.is_asking = False
        self.unwatch(conn)
        self.handle_error(None, conn.sock, conn.client, error)
        self.linger(conn)

    def handle_request(self, req: Any, conn: Connection) -> bool:
        req._expected_100_continue = False  # a body that is waited for was asked for
        if conn.arrival.is_cut:
            req.force_close()
        sock = conn.sock
        sock.setblocking(False)
        conn.sock = outgoing = Outgoing(sock)
        try:
            keeps: bool = super().handle_request(req, conn)
            outgoing.push()
        finally:
            conn.sock = sock
        conn.outgoing = outgoing
        return keeps

    def finish_request(self, conn: Connection, fs: Future[bool]) -> None:
        try:
            keeps = fs.result() and not conn.arrival.ran_dry
        except Exception:  # whatever it is, it ends this connection and no other
            self.log.exception("A connection failed")
            keeps = False
        if conn.outgoing is not None and conn.outgoing.n_unsent:
            conn.outgoing.rewind()
            self.watch(conn, partial(self.send_more, keeps=keeps), SEND_SECONDS, EVENT_WRITE)
        else:
            self.answered(conn, keeps=keeps)

    def send_more(self, conn: Connection, sock: socket.socket, *, keeps: bool) -> None:
        """The rest of an answer, as its client takes it in."""
        try:
            is_sent = conn.outgoing is None or conn.outgoing.send_more()
        except OSError:
            self.give_up(conn)
            return
        conn.until = time.monotonic() + SEND_SECONDS
        if is_sent:
            self.unwatch(conn)
            self.answered(conn, keeps=keeps)

    def answered(self, conn: Connection, *, keeps: bool) -> None:
        if conn.outgoing is not None:
            conn.outgoing.close()
            conn.outgoing = None
        if keeps:
            self.wait_for_request(conn, conn.arrival.rest())
        else:
            self.linger(conn)

    def linger(self, conn: Connection) -> None:
        """Close, once the client has read its answer: a reset would take it from its hands."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # it is gone
            self.close(conn)
            return
        self.watch(conn, self.throw_away, LINGER_SECONDS)
        conn.linger_end = conn.until - LINGER_SECONDS + MAX_LINGER_SECONDS
        self.throw_away(conn, conn.sock)

    def throw_away(self, conn: Connection, sock: socket.socket) -> None:
        data = received(sock)
        if data is None:
            return
        conn.n_discarded += len(data)
        if not data or conn.n_discarded > MAX_LINGER_BYTES:
            self.give_up(conn)
        else:
            conn.until = min(time.monotonic() + LINGER_SECONDS, conn.linger_end)

    def murder_pending(self) -> None:
        """gthread's look at what waits, between two rounds of its loop."""
        now = time.monotonic()
        if now < self._looked_at + LOOK_SECONDS:
            return
        self._looked_at = now
        for conn in [conn for conn in self.waiting if conn.until <= now]:
            if conn.is_asking and conn.arrival.n_bytes:
                self.refuse(conn, TimeoutError())
            else:
                self.give_up(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        for conn in self.waiting:
            if conn.is_asking and not conn.arrival.n_bytes:
                conn.until = min(conn.until, deadline)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """gunicorn's own refusals as problems. Their texts, which quote the request, are left."""
        if isinstance(exc, TimeoutError):
            status, code, detail = 408, "request-timeout", "The request did not come in time."
        elif isinstance(exc, errors.ParseException) and not is_ours(exc):
            status, code, detail = REFUSALS.get(type(exc), (400, "bad-request", INVALID))
        else:
            self.log.error("A request failed outside the application", exc_info=exc)
            status, code, detail = 500, "internal-error", "The server failed; it is in the log."
        self.log.info("Refused a request of %s: %s", addr[0] if addr else "", type(exc).__name__)
        with suppress(OSError):
            client.sendall(problem_bytes(status, code, detail))


def is_ours(error: Exception) -> bool:
    """Whether the application or the configuration is to blame."""
    return isinstance(
        error,
        errors.ConfigurationProblem
        | errors.InvalidResponseHeader
        | errors.InvalidResponseHeaderName,
    )


def received(sock: socket.socket) -> bytes | None:
    """What is there; nothing at the end or when the client is gone, None when it is yet to come."""
    try:
        return sock.recv(RECEIVED_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def problem_bytes(status: int, code: str, detail: str) -> bytes:
    """A whole HTTP answer for a request that no view will see."""
    request = HttpRequest()
    request.request_id = secrets.token_hex(16)  # type: ignore[attr-defined]
    body = encode(problem(request, status, code, detail))
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {PROBLEM_JSON}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        f"X-Request-ID: {request.request_id}",  # type: ignore[attr-defined]
        "Connection: close",
    )
    return "\r\n".join([*head, "", ""]).encode() + body
