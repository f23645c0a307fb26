"""An end to a conversation over the network, whatever the other side does.

The timeout of a socket bounds each single wait, so a server that sends a byte now and then keeps
its client for ever. A `Deadline` bounds them all: at its moment the connection is shut down.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self


class DeliveryFailed(Exception):
    """The other side did not take the message. Says why, without any secret."""


class Deadline:
    """Ends every wait on its connection after so many seconds; a context manager."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self._watchdog = threading.Timer(seconds, self._cut)
        self._watchdog.daemon = True

    def __enter__(self) -> Self:
        self._watchdog.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watchdog.cancel()
        with self._lock:
            if self._handle is not None:
                self._handle.close()

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def seconds_left(self) -> float:
        """Raises `TimeoutError` when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def connect(self, host: str, port: int, *, wait: float) -> socket.socket:
        """Connect to the first address that answers; `wait` seconds bound each single wait.

        Raises `OSError`. Every address of the name gets its share of the time, so that one that
        swallows packets does not hide the next.
        """
        addresses = self._addresses(host, port, wait=wait)
        for n_left, (family, kind, protocol, _, address) in zip(
            range(len(addresses), 0, -1), addresses, strict=True
        ):
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(min(wait, self.seconds_left()) / n_left)
                connection.connect(address)
                connection.settimeout(wait)
                self._watch(connection)
                return connection
            except OSError:
                connection.close()
                if n_left == 1:
                    raise
        raise socket.gaierror(socket.EAI_NONAME, "no address")

    def _addresses(self, host: str, port: int, *, wait: float) -> list[tuple[Any, ...]]:
        """Look the name up aside: nothing ends a resolver that waits for a dead name server."""
        found: SimpleQueue[list[Any] | OSError] = SimpleQueue()

        def look_up() -> None:
            try:
                found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except OSError as error:
                found.put(error)
            except UnicodeError:  # no name that a resolver could be asked for
                found.put(socket.gaierror(socket.EAI_NONAME, "not a name"))

        threading.Thread(target=look_up, daemon=True).start()
        try:
            outcome = found.get(timeout=min(wait, self.seconds_left()))
        except Empty:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from None
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    def _watch(self, connection: socket.socket) -> None:
        """Keep a second handle: TLS puts another object in the place of the first."""
        with self._lock:
            self._handle = connection.dup()
        self.seconds_left()

    def _cut(self) -> None:
        with self._lock:
            if self._handle is not None:
                try:
                    self._handle.shutdown(socket.SHUT_RDWR)
                except OSError:  # the other side was first
                    return


def network_reason(error: OSError) -> str:
    """Why a connection failed, to go on after the name of the other side."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"has a certificate that is not trusted: {error.verify_message}."
        case ssl.SSLError():
            return "could not agree with us on TLS."
        case socket.gaierror():
            return "has a name that could not be looked up."
        case TimeoutError():
            return "did not answer in time."
        case ConnectionRefusedError():
            return "refused the connection."
        case ConnectionError():
            return "broke the connection off."
        case _:
            return f"could not be reached: {error.strerror or type(error).__name__}."
