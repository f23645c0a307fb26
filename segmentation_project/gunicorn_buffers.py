"""What has come of a request and what has yet to go of an answer, so that no thread waits."""

from __future__ import annotations

import re
import select
import socket
from tempfile import SpooledTemporaryFile
from typing import Any

from django.conf import settings
from gunicorn.http import errors
from gunicorn.http.unreader import Unreader

from segments.uploads import MAX_UPLOAD_BYTES

MAX_HEAD_BYTES = 64 * 1024
MEMORY_BYTES = 512 * 1024
"""Of one message; a longer one is held in an unlinked file."""
CHUNK_BYTES = 8_192
MAX_CHUNK_BYTES = 1024**2
GATHERED_BYTES = 64 * 1024
"""Of an answer are sent at once, the header with the rest."""
MAX_UNSENT_BYTES = 16 * 1024**2
"""Of an answer that its thread leaves behind; of a longer one it waits for the client."""
SEND_SECONDS = 30.0
"""How long a client may take in nothing of its answer."""
END_OF_HEAD = b"\r\n\r\n"
FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding)[ \t]*:[ \t]*([^\r\n]*)", re.I)
LENGTH = re.compile(rb"[0-9]{1,15}")
EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.I)
UPLOADS = re.compile(rb"[A-Z]+ /admin/")


class Arrival(Unreader):  # type: ignore[misc]  # gunicorn has no types
    """What has come of one request, for gunicorn's parser to read; it never waits for more.

    `is_cut`: the body will not be read, or where it ends is not known. `ran_dry`: the parser asked
    for more than had come.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held = SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115  see close
        self._head = bytearray()
        self.n_bytes = 0
        self.n_needed: int | None = None
        self.is_cut = self.ran_dry = self.expects_continue = False

    def add(self, data: bytes) -> bool:
        """Take in more; whether that is all. Raises `LimitRequestHeaders`."""
        self._held.write(data)
        self.n_bytes += len(data)
        if self.n_needed is None:
            searched = max(len(self._head) - len(END_OF_HEAD) + 1, 0)
            self._head += data
            n_head = self._head.find(END_OF_HEAD, searched) + len(END_OF_HEAD)
            if n_head < len(END_OF_HEAD):
                if len(self._head) > MAX_HEAD_BYTES:
                    raise errors.LimitRequestHeaders("no end in sight")
                return False
            self.n_needed = n_head + self._n_body(bytes(self._head[:n_head]))
        if self.n_bytes < self.n_needed:
            return False
        self._held.seek(0)
        return True

    def _n_body(self, head: bytes) -> int:
        """Bytes of the body to wait for."""
        framing = FRAMING.findall(head)
        if not framing:
            return 0
        [(name, value), *others] = framing
        limit = MAX_UPLOAD_BYTES if UPLOADS.match(head) else settings.MAX_BODY_BYTES
        if (
            others
            or name.lower() != b"content-length"
            or not LENGTH.fullmatch(value.strip())
            or int(value) > limit
        ):
            self.is_cut = True
            return 0
        self.expects_continue = b" HTTP/1.1\r\n" in head and EXPECTS.search(head) is not None
        return int(value)

    def chunk(self, size_hint: int | None = None) -> bytes:
        data = self._held.read(min(max(size_hint or 0, CHUNK_BYTES), MAX_CHUNK_BYTES))
        self.ran_dry = not data
        return data

    def rest(self) -> bytes:
        """What came after the request: the beginning of the next."""
        buffered: bytes = self.take_buffered()
        return buffered + self._held.read()

    def close(self) -> None:
        self._held.close()


class Outgoing:
    """A client's socket to gunicorn's response: what the client does not take at once is kept."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.n_unsent = 0
        self._gathered = bytearray()
        self._unsent = SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115  see close
        self._next = memoryview(b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def sendall(self, data: bytes) -> None:
        self._gathered += data
        if len(self._gathered) >= GATHERED_BYTES:
            self.push()

    def push(self) -> None:
        """Send what is gathered, or keep it. Raises OSError when the client is gone or asleep."""
        rest = memoryview(self._gathered)
        self._gathered = bytearray()
        if not self.n_unsent:
            rest = rest[sent(self.sock, rest) :]
        self._unsent.write(rest)
        self.n_unsent += len(rest)
        if self.n_unsent > MAX_UNSENT_BYTES:
            self._unsent.seek(0)
            while not self.send_more():
                if not select.select([], [self.sock], [], SEND_SECONDS)[1]:
                    raise TimeoutError
            self._unsent.seek(0)
            self._unsent.truncate()

    def rewind(self) -> None:
        """No more comes: what is kept is to be sent from its beginning."""
        self._unsent.seek(0)

    def send_more(self) -> bool:
        """Send of what is kept as much as the client takes; whether that was all."""
        while self.n_unsent:
            self._next = self._next or memoryview(self._unsent.read(GATHERED_BYTES))
            n_sent = sent(self.sock, self._next)
            self._next = self._next[n_sent:]
            self.n_unsent -= n_sent
            if self._next:
                return False
        return True

    def close(self) -> None:
        self._unsent.close()


def sent(sock: socket.socket, data: memoryview) -> int:
    """How many bytes a socket that does not block took."""
    try:
        return sock.send(data) if data else 0
    except BlockingIOError:
        return 0
