"""How fast `POST /predict` is, beside a plain service and a floor, in one run on this machine.

The systems take turns in every round, so that a ratio compares figures of the same seconds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from benchmarks.load import Figures, UnexpectedAnswer, ask, http_request, measure
from benchmarks.servers import N_WORKERS, NotServing, Server, Systems, all_systems, check_answers
from segments.demo_shop import demo_customers

SIZES = (1, 100, 1_000)
"""Customers a request."""
GROWTH_SIZES = (10, 100, 1_000, 10_000)
MAX_BODIES = 8
"""Different requests of one size, so that no system answers from a warm cache of values."""
N_CUSTOMERS = 10_000
CUSTOMERS_SEED = 7
N_CONNECTIONS = 8
GROWTH_SECONDS = 1.0
LIBRARIES = (
    *("Django", "gunicorn", "msgspec", "numpy"),
    *("fastapi", "uvicorn", "pandas", "scikit-learn"),
)
GOALS = (
    ("plain service", 1, 1.5),
    ("plain service", 1_000, 5.0),
    ("floor (stdlib json)", 1_000, 1 / 3),
    ("floor (msgspec)", 1_000, 1 / 3),
)
"""Compared with, customers a request, and the least ratio of the requests a second."""
OURS = "ours, kmeans, store=false"
PLAIN = "plain service"
FLOOR = "floor (msgspec)"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a server, how it is asked, and what it needs in the head."""

    name: str
    server: Server
    path: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Measured:
    figures: Figures
    cpu_ms: float
    """Processor milliseconds of all processes of the server, a request."""


def rows_of(systems: Systems) -> list[Row]:
    key = {"X-API-Key": systems.api_key}
    ours = systems.ours
    return [
        Row(OURS, ours, "/predict/kmeans?store=false", key),
        Row("ours, dbscan, store=false", ours, "/predict/dbscan?store=false", key),
        Row("ours, kmeans, store=true", ours, "/predict/kmeans", key),
        Row(PLAIN, systems.plain, "/predict", {}),
        Row(FLOOR, systems.floor_msgspec, "/", {}),
        Row("floor (stdlib json)", systems.floor_json, "/", {}),
    ]


def requests_of(row: Row, customers: Sequence[object], n_customers: int) -> list[bytes]:
    """Requests with different customers each, so far as there are enough of them."""
    starts = range(0, len(customers), n_customers)[:MAX_BODIES]
    return [
        http_request(
            row.path, msgspec.json.encode(customers[start : start + n_customers]), row.headers
        )
        for start in starts
    ]


def check_row(row: Row, customers: Sequence[object]) -> None:
    """A figure of a server that does not answer every customer would be worthless."""
    for n_customers in SIZES:
        for request in requests_of(row, customers, n_customers):
            answer = msgspec.json.decode(ask(row.server.port, request))
            check_answers(len(answer["predictions"]), n_customers, row.name)


def measured(
    row: Row, requests: Sequence[bytes], *, n_connections: int, seconds: float
) -> Measured:
    before = row.server.cpu_seconds()
    figures = measure(row.server.port, requests, n_connections=n_connections, seconds=seconds)
    spent = row.server.cpu_seconds() - before
    # The warm-up is a tenth of the time and costs the processor, too.
    return Measured(figures, spent * 1e3 / (figures.n_requests * 1.1))


def table(rows: Sequence[Row], n_customers: int, rounds: Sequence[Sequence[Measured]]) -> str:
    """Medians over the rounds; a ratio is the median of the ratios within each round."""
    lines = [
        f"{f'{n_customers:,} a request':28}{'requests/s':>12}{'customers/s':>13}{'p50 ms':>9}"
        f"{'p99 ms':>9}{'CPU ms':>9}{'to plain':>10}{'to floor':>10}"
    ]
    names = [row.name for row in rows]
    plain, floor = names.index(PLAIN), names.index(FLOOR)
    for position, name in enumerate(names):
        mine = [measurements[position] for measurements in rounds]
        rate = statistics.median(m.figures.requests_per_second for m in mine)
        lines.append(
            f"{name:28}{rate:>12,.0f}{rate * n_customers:>13,.0f}"
            f"{statistics.median(m.figures.p50_ms for m in mine):>9.2f}"
            f"{statistics.median(m.figures.p99_ms for m in mine):>9.2f}"
            f"{statistics.median(m.cpu_ms for m in mine):>9.2f}"
            f"{ratio(rounds, position, plain):>10.2f}{ratio(rounds, position, floor):>10.2f}"
        )
    return "\n".join(lines)


def ratio(rounds: Sequence[Sequence[Measured]], position: int, other: int) -> float:
    """How many times the requests a second of another row."""
    return statistics.median(
        measurements[position].figures.requests_per_second
        / measurements[other].figures.requests_per_second
        for measurements in rounds
    )


def growth(row: Row, customers: Sequence[object]) -> str:
    """How the time of one client's request grows with the customers in it."""
    lines = [f"{row.name}, one client{'ms a request':>16}{'us a customer':>16}"]
    for n_customers in GROWTH_SIZES:
        requests = requests_of(row, customers, n_customers)
        figures = measure(row.server.port, requests, n_connections=1, seconds=GROWTH_SECONDS)
        lines.append(
            f"{n_customers:>37,}{figures.p50_ms:>16.2f}{figures.p50_ms * 1e3 / n_customers:>16.2f}"
        )
    return "\n".join(lines)


def machine() -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{os.cpu_count()} processors ({processor()}), Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}\n{libraries}\n"
        f"{N_WORKERS} worker processes each; the load runs on the same machine over "
        f"{N_CONNECTIONS} connections; {other_load()}"
    )


def other_load() -> str:
    return f"load average {os.getloadavg()[0]:.1f} before the start (0 is a quiet machine)"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def verdicts(rows: Sequence[Row], results: dict[int, list[list[Measured]]]) -> list[str]:
    names = [row.name for row in rows]
    ours = names.index(OURS)
    lines = []
    for other, n_customers, goal in GOALS:
        reached = ratio(results[n_customers], ours, names.index(other))
        word = "reached" if reached >= goal else "MISSED"
        lines.append(
            f"{word}: {n_customers:,} a request, {reached:.2f} times the {other}; "
            f"the goal is {goal:.2f}"
        )
    return lines


def run(*, seconds: float, n_rounds: int) -> None:
    print(machine(), flush=True)
    customers = demo_customers(N_CUSTOMERS, CUSTOMERS_SEED)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        print("Preparing customers, models and servers", file=sys.stderr)
        with all_systems(Path(directory)) as systems:
            rows = rows_of(systems)
            for row in rows:
                check_row(row, customers)
            results: dict[int, list[list[Measured]]] = {}
            for n_customers in SIZES:
                requests = [requests_of(row, customers, n_customers) for row in rows]
                results[n_customers] = [
                    [
                        measured(row, sent, n_connections=N_CONNECTIONS, seconds=seconds)
                        for row, sent in zip(rows, requests, strict=True)
                    ]
                    for _ in range(n_rounds)
                ]
                print(f"\n{table(rows, n_customers, results[n_customers])}", flush=True)
            print(f"\n{growth(rows[0], customers)}\n")
            print("\n".join(verdicts(rows, results)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each system")
    options = parser.parse_args()
    try:
        run(seconds=options.seconds, n_rounds=options.rounds)
    except (NotServing, UnexpectedAnswer) as error:
        sys.exit("\n".join([str(error), *getattr(error, "__notes__", [])]))


if __name__ == "__main__":
    main()
