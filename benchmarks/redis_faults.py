"""What a Redis that is away costs a server under load: nothing but its counters.

    python -m benchmarks.redis_faults [--seconds 10]

Starts the server as shipped, and a Redis of its own where the scenario needs one (`redis-server`).
"""

from __future__ import annotations

import argparse
import http.client
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.servers import (
    N_TRAINING_CUSTOMERS,
    TRAINING_SEED,
    free_port,
    own_environment,
    prepare,
    running,
)
from benchmarks.slow_clients import PATH, WSGI, gunicorn
from segments.demo_shop import demo_customers, write_demo_customers

LIMIT = 300
N_CLIENTS = 4
"""As many as leave the answer's time to the server instead of to the queue before it."""
GOAL_SECONDS = 0.4


@contextmanager
def refused(half: threading.Event) -> Iterator[int]:
    """A port that nobody listens on, kept from others."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextmanager
def hanging(half: threading.Event) -> Iterator[int]:
    """Takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        yield listener.getsockname()[1]


@contextmanager
def redis_server(half: threading.Event, then: signal.Signals | None = None) -> Iterator[int]:
    """A Redis that gets a signal when half of the time is over."""
    port = free_port()
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        stdout=subprocess.DEVNULL,
    )

    def strike() -> None:
        half.wait()
        if then is not None:
            process.send_signal(then)

    threading.Thread(target=strike, daemon=True).start()
    try:
        time.sleep(1.0)
        yield port
    finally:
        half.set()
        process.kill()
        process.wait()


@contextmanager
def killed(half: threading.Event) -> Iterator[int]:
    with redis_server(half, signal.SIGKILL) as port:
        yield port


@contextmanager
def frozen(half: threading.Event) -> Iterator[int]:
    with redis_server(half, signal.SIGSTOP) as port:
        yield port


SCENARIOS = {
    "Redis answers": redis_server,
    "refused": refused,
    "hanging": hanging,
    "killed in the middle": killed,
    "frozen in the middle": frozen,
}


def load(port: int, key: str, body: bytes, seconds: float) -> tuple[list[float], Counter[int]]:
    """Seconds and statuses of a closed loop of clients that keep their connections."""
    deadline = time.monotonic() + seconds
    headers = {"X-API-Key": key, "Content-Type": "application/json"}

    def client(_: int) -> list[tuple[float, int]]:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        answers = []
        while time.monotonic() < deadline:
            started = time.perf_counter()
            link.request("POST", PATH, body, headers)
            response = link.getresponse()
            response.read()
            answers.append((time.perf_counter() - started, response.status))
        link.close()
        return answers

    with ThreadPoolExecutor(N_CLIENTS) as pool:
        answers = [answer for found in pool.map(client, range(N_CLIENTS)) for answer in found]
    return [taken for taken, _ in answers], Counter(status for _, status in answers)


def judge(name: str, environment: Mapping[str, str], key: str, seconds: float) -> None:
    for leftover in Path(environment["DATA_DIR"]).glob("rate_limits.db*"):
        leftover.unlink()
    half = threading.Event()
    port = free_port()
    body = msgspec.json.encode(demo_customers(1, 7))
    directory = Path(environment["DATA_DIR"])
    with SCENARIOS[name](half) as redis_port:
        variables = {
            **environment,
            "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "RATE_LIMIT": f"{LIMIT}/h",
            "API_PORT": str(port),
        }
        with running("server", gunicorn(WSGI), variables, port, directory):
            # Until both workers have loaded the application; a stranger is counted apart.
            load(port, "", body, 4.0)
            threading.Timer(seconds / 2, half.set).start()
            taken, statuses = load(port, key, body, seconds)
    p50, p99, longest = np.quantile(taken, [0.5, 0.99, 1.0]) * 1e3
    n_failed = sum(n for status, n in statuses.items() if status >= 500)
    # Counts that began in Redis begin anew without it.
    holds = p99 <= GOAL_SECONDS * 1e3 and not n_failed and statuses[200] <= 2 * LIMIT
    print(
        f"{name:22}{len(taken):8} answers, "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {longest:.0f} ms, "
        f"{n_failed} of 5xx, {statuses[200]} admitted of {LIMIT} "
        f"({'holds' if holds else 'FAILS'})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        file = directory / "customers.csv"
        write_demo_customers(file, n_customers=N_TRAINING_CUSTOMERS, random_state=TRAINING_SEED)
        environment = own_environment(directory)
        key = prepare(environment, file)
        for scenario in options.scenarios:
            judge(scenario, environment, key, options.seconds)


if __name__ == "__main__":
    main()
