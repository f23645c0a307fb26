"""Servers of the same application beside slow clients: who still answers, and at what price.

    python -m benchmarks.slow_clients [--candidates NAME …] [--seconds 3]

The candidates that are not requirements (gevent, waitress, granian, uvicorn with a2wsgi) are left
out where they are not installed.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.load import UnexpectedAnswer, http_request, measure
from benchmarks.servers import (
    N_TRAINING_CUSTOMERS,
    N_WORKERS,
    TRAINING_SEED,
    NotServing,
    Server,
    below,
    free_port,
    own_environment,
    prepare,
    running,
)
from segments.demo_shop import demo_customers, write_demo_customers

N_SLOW_BODIES, N_SLOW_HEADS, N_IDLE = 8, 8, 50
N_THREADS = 8
N_ASKED = 5
DRIP_SECONDS = 0.5
GIVE_UP_SECONDS = 8.0
N_CLIENTS = 16
PATH = "/predict/kmeans?store=false"
WSGI = "segmentation_project.wsgi:application"
FRAMING_ATTACKS = {
    "length and chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n[]",
    "negative length": b"Content-Length: -1\r\n\r\n",
    "length with a sign": b"Content-Length: +2\r\n\r\n[]",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n",
    "identity": b"Transfer-Encoding: identity\r\n\r\n",
    "space before colon": b"Content-Length : 2\r\n\r\n[]",
    "folded header": b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n[]",
    "NUL in a value": b"X-A: b\0c\r\n\r\n",
    "100,000 bytes of header": b"X-A: " + b"a" * 100_000 + b"\r\n\r\n",
    "1,000 headers": b"".join(b"X-%d: a\r\n" % n for n in range(1_000)) + b"\r\n",
}


@dataclass(frozen=True)
class Candidate:
    name: str
    command: Sequence[str]
    needs: str = "gunicorn"
    is_managed: bool = True
    """Whether it reloads at a SIGHUP and replaces a worker that was killed."""


def gunicorn(*options: str) -> list[str]:
    config = "python:segmentation_project.gunicorn_conf"
    return [sys.executable, "-m", "gunicorn", "--config", config, *options]


def candidates() -> list[Candidate]:
    python = [sys.executable, "-m"]
    return [
        Candidate("shipped", gunicorn(WSGI)),
        Candidate("gthread", gunicorn("--worker-class", "gthread", WSGI)),
        Candidate("gevent", gunicorn("--worker-class", "gevent", WSGI), "gevent"),
        Candidate(
            "gunicorn asgi",
            gunicorn("--worker-class", "asgi", "benchmarks.slow_clients:asgi"),
            "a2wsgi",
        ),
        Candidate(
            "waitress (one process)",
            [*python, "waitress", "--listen=127.0.0.1:{port}", "--threads=16", WSGI],
            "waitress",
            is_managed=False,
        ),
        Candidate(
            "uvicorn a2wsgi",
            [*python, "uvicorn", "benchmarks.slow_clients:asgi", "--port", "{port}"]
            + ["--workers", str(N_WORKERS), "--log-level", "warning", "--no-access-log"],
            "a2wsgi",
            is_managed=False,
        ),
        Candidate(
            "granian",
            [*python, "granian", "--interface", "wsgi", "--port", "{port}", "--no-log"]
            + ["--workers", str(N_WORKERS), "--blocking-threads", str(N_THREADS), WSGI],
            "granian",
            is_managed=False,
        ),
    ]


def __getattr__(name: str) -> Any:
    """`asgi`, the application for servers that speak only ASGI."""
    if name != "asgi":
        raise AttributeError(name)
    return asgi_application()


@cache
def asgi_application() -> Any:
    from a2wsgi import WSGIMiddleware

    from segmentation_project.wsgi import application

    return WSGIMiddleware(application, workers=N_THREADS)


@dataclass
class Customers:
    """What is sent, and with which key."""

    key: str
    records: Sequence[dict[str, Any]]

    def request(self, n_records: int) -> bytes:
        body = msgspec.json.encode(self.records[:n_records])
        return http_request(PATH, body, {"X-API-Key": self.key})


@contextmanager
def slow_clients(port: int, customers: Customers) -> Iterator[None]:
    """Bodies and headers that come byte by byte, and sockets that say nothing."""
    request = customers.request(100)
    head = request.index(b"\r\n\r\n") + 4
    begun = [request[: head + 10]] * N_SLOW_BODIES + [request[:20]] * N_SLOW_HEADS
    over = threading.Event()
    with ExitStack() as stack:
        slow: list[socket.socket] = []
        for sent in [*begun, *[b""] * N_IDLE]:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            sock.sendall(sent)
            if sent:
                slow.append(sock)

        def drip() -> None:
            while not over.wait(DRIP_SECONDS):
                for sock in slow:
                    with suppress(OSError):
                        sock.send(b" ")

        thread = threading.Thread(target=drip)
        thread.start()
        time.sleep(DRIP_SECONDS)
        try:
            yield
        finally:
            over.set()
            thread.join()


def warm_up(port: int, customers: Customers) -> None:
    """Until every process has loaded the application and its models."""
    with suppress(UnexpectedAnswer):
        measure(port, [customers.request(1)], n_connections=16, seconds=3.0)


def worst_seconds(port: int, method: str, path: str, body: bytes, key: str) -> float:
    """The longest of a few answers; as long as was waited when there was none."""
    worst = 0.0
    for _ in range(N_ASKED):
        started = time.perf_counter()
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=GIVE_UP_SECONDS)
        try:
            headers = {"X-API-Key": key, "Content-Type": "application/json"} if body else {}
            link.request(method, path, body or None, headers)
            if link.getresponse().status != 200:
                return float("nan")
        except OSError:
            return GIVE_UP_SECONDS
        finally:
            link.close()
        worst = max(worst, time.perf_counter() - started)
    return worst


def lost_while(server: Server, act: Any, customers: Customers, seconds: float) -> tuple[int, int]:
    """Requests that got no 200 while `act` ran, and all; a fresh connection each."""
    deadline = time.monotonic() + seconds
    body = msgspec.json.encode(customers.records[:1])

    def client(_: int) -> tuple[int, int]:
        n_lost = n = 0
        while time.monotonic() < deadline:
            n += 1
            link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            try:
                headers = {"X-API-Key": customers.key, "Content-Type": "application/json"}
                link.request("POST", PATH, body, headers)
                n_lost += link.getresponse().status != 200
            except (OSError, http.client.HTTPException):
                n_lost += 1
            finally:
                link.close()
        return n_lost, n

    with ThreadPoolExecutor(N_CLIENTS + 1) as pool:
        acting = pool.submit(act, server)
        counted = list(pool.map(client, range(N_CLIENTS)))
        acting.result()
    return sum(lost for lost, _ in counted), sum(n for _, n in counted)


def reload_thrice(server: Server) -> None:
    for _ in range(3):
        time.sleep(1.5)
        server.process.send_signal(signal.SIGHUP)


def kill_a_worker(server: Server) -> None:
    time.sleep(0.7)
    children = below(server.process.pid)
    if children:
        os.kill(children[-1], signal.SIGKILL)


def refusal(port: int, rest: bytes) -> str:
    """Status and kind of the answer to a request with this framing."""
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(b"POST /predict/kmeans HTTP/1.1\r\nHost: localhost\r\n" + rest)
        answer = b""
        with suppress(OSError):
            while chunk := sock.recv(65_536):
                answer += chunk
    status = answer[9:12].decode() or "closed"
    return status + ("p" if b"application/problem+json" in answer else "")


def memory_megabytes(server: Server) -> float:
    """Proportional set size of the server and all processes below it."""
    total = 0
    for pid in [server.process.pid, *below(server.process.pid)]:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def judge(candidate: Candidate, server: Server, customers: Customers, seconds: float) -> None:
    one = msgspec.json.encode(customers.records[:1])
    warm_up(server.port, customers)
    with slow_clients(server.port, customers):
        ping = worst_seconds(server.port, "GET", "/healthz", b"", "")
        predict = worst_seconds(server.port, "POST", PATH, one, customers.key)
    print(f"\n{candidate.name}\n  beside slow clients: ping {ping:.3f} s, predict {predict:.3f} s")
    for n_records in (1, 1_000):
        before = server.cpu_seconds()
        try:
            found = measure(
                server.port, [customers.request(n_records)], n_connections=8, seconds=seconds
            )
        except UnexpectedAnswer as error:
            print(f"  {n_records:,} a request: {str(error)[:200]!r}")
            continue
        # The warm-up is a tenth of the time and costs the processor, too.
        spent_ms = (server.cpu_seconds() - before) * 1e3 / (found.n_requests * 1.1)
        print(
            f"  {n_records:,} a request: {found.requests_per_second:.0f} requests/s, "
            f"p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms, CPU {spent_ms:.2f} ms"
        )
    print(f"  memory {memory_megabytes(server):.0f} MB")
    if candidate.is_managed:
        print(
            "  lost in three reloads: {} of {}".format(
                *lost_while(server, reload_thrice, customers, 6)
            )
        )
        print(
            "  lost when a worker is killed: {} of {}".format(
                *lost_while(server, kill_a_worker, customers, 3)
            )
        )
    refusals = {name: refusal(server.port, rest) for name, rest in FRAMING_ATTACKS.items()}
    print("  " + ", ".join(f"{name} {answer}" for name, answer in refusals.items()), flush=True)


def main() -> None:
    known = {candidate.name: candidate for candidate in candidates() if find_spec(candidate.needs)}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", nargs="+", choices=known, default=list(known))
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        file = directory / "customers.csv"
        write_demo_customers(file, n_customers=N_TRAINING_CUSTOMERS, random_state=TRAINING_SEED)
        environment = own_environment(directory)
        customers = Customers(prepare(environment, file), demo_customers(1_000, 7))
        for candidate in map(known.__getitem__, options.candidates):
            port = free_port()
            command = [part.format(port=port) for part in candidate.command]
            variables = {**environment, "API_PORT": str(port)}
            try:
                with running("server", command, variables, port, directory) as server:
                    judge(candidate, server, customers, options.seconds)
            except NotServing as error:
                print(f"\n{candidate.name}\n  {error}")


if __name__ == "__main__":
    main()
