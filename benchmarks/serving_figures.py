"""What serving figures cost `POST /predict`: its throughput with and without them, in turns.

With: a roll-up and a scrape of `/metrics` every two seconds. Without: neither. Both on one server
of ours, in one run; the pairs differ by the noise of the machine, too, which is shown.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.load import http_request, measure
from benchmarks.servers import (
    N_TRAINING_CUSTOMERS,
    ROOT,
    TRAINING_SEED,
    free_port,
    own_environment,
    prepare,
    running,
)
from segments.demo_shop import demo_customers, write_demo_customers

EVERY_SECONDS = 2.0
N_CONNECTIONS = 8
N_BODIES = 64
# What the monitor does, and nothing else: one process that rolls up, and reads what scrapes read.
PROGRAM = """
import sys, time, urllib.request
import django
django.setup()
from django.utils import timezone
from monitoring.serving import roll_up
request = urllib.request.Request(sys.argv[1], headers={"X-API-Key": sys.argv[2]})
print("ready", flush=True)
for line in sys.stdin:
    roll_up(at=timezone.now())
    n_bytes = len(urllib.request.urlopen(request).read())
    print(n_bytes, flush=True)
"""


@contextmanager
def watched(watcher: subprocess.Popen[str]) -> Iterator[list[str]]:
    """Rolled up and scraped at once and every two seconds, until the block ends."""
    ended, answers = threading.Event(), []

    def watch() -> None:
        assert watcher.stdin and watcher.stdout
        while True:
            watcher.stdin.write("\n")
            watcher.stdin.flush()
            answers.append(watcher.stdout.readline())
            if ended.wait(EVERY_SECONDS):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()


def run(*, seconds: float, n_pairs: int) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        directory = Path(name)
        customers = directory / "customers.csv"
        write_demo_customers(
            customers, n_customers=N_TRAINING_CUSTOMERS, random_state=TRAINING_SEED
        )
        environment = own_environment(directory)
        key = prepare(environment, customers)
        port = free_port()
        environment["API_PORT"] = str(port)
        serve = [sys.executable, "manage.py", "serve", "--skip-checks"]
        records = [msgspec.json.encode([each]) for each in demo_customers(N_BODIES, 7)]
        headers = {"X-API-Key": key}
        requests = [http_request("/predict/kmeans?store=false", each, headers) for each in records]
        scrape = [f"http://127.0.0.1:{port}/metrics", environment["API_KEY"]]
        with (
            running("ours", serve, environment, port, directory),
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *scrape],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as watcher,
        ):
            assert watcher.stdout and watcher.stdout.readline() == "ready\n"
            report(pairs(port, requests, watcher, seconds=seconds, n_pairs=n_pairs))


def pairs(
    port: int,
    requests: Sequence[bytes],
    watcher: subprocess.Popen[str],
    *,
    seconds: float,
    n_pairs: int,
) -> list[tuple[float, float, float]]:
    """Requests a second without, with, and without again, so many times."""

    def rate() -> float:
        figures = measure(port, requests, n_connections=N_CONNECTIONS, seconds=seconds)
        return figures.requests_per_second

    measured = []
    rate()  # warms up
    for _ in range(n_pairs):
        before = rate()
        with watched(watcher) as answers:
            during = rate()
        assert all(int(answer) > 0 for answer in answers)
        measured.append((before, during, rate()))
    return measured


def report(measured: Sequence[tuple[float, float, float]]) -> None:
    ratios = [2 * during / (before + after) for before, during, after in measured]
    noise = [after / before for before, _, after in measured]
    print("requests/s without, with, without again")
    for rates in measured:
        print("".join(f"{rate:>10,.0f}" for rate in rates))
    print(f"with / without: median {statistics.median(ratios):.3f}, {spread(ratios)}")
    print(f"without / without (noise): median {statistics.median(noise):.3f}, {spread(noise)}")


def spread(ratios: Sequence[float]) -> str:
    return f"from {min(ratios):.3f} to {max(ratios):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--pairs", type=int, default=7)
    asked = parser.parse_args()
    run(seconds=asked.seconds, n_pairs=asked.pairs)


if __name__ == "__main__":
    main()
