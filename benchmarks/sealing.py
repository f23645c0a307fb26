"""What sealing costs the requests beside it, and how fast it is.

    python -m benchmarks.sealing [--database-url URL] [--seconds 30] [--pairs 2]

Clients press POST /predict of a real server, in turns without any sealing and with two
`seal_audit --every 1`. Afterwards the trail is verified against its anchors and must hold nothing
unsealed. Then histories of several sizes are sealed by hand.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from tests.system.server import (
    PROJECT,
    Answer,
    Installation,
    ask_on,
    fill,
    make_installation,
    press,
    quantile,
    running,
    stop,
)

N_CLIENTS = 64
N_SEALERS = 2
WAIT_SECONDS = 65
UNSEALED = (
    "SELECT COUNT(*) FROM audit_auditentry e"
    " WHERE NOT EXISTS (SELECT 1 FROM audit_auditleaf l WHERE l.entry_id = e.id)"
)
LOCKED = re.compile(r"Sealed (\d+) entries, locked (\d+) ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sealing-") as directory:
        installation = make_installation(Path(directory), DATABASE_URL=options.database_url)
        fill(installation)
        if options.pairs:
            beside_requests(installation, seconds=options.seconds, n_pairs=options.pairs)
        for size in options.sizes:
            by_hand(installation, size)
        verify(installation)


def beside_requests(installation: Installation, *, seconds: float, n_pairs: int) -> None:
    rates: dict[bool, list[float]] = {False: [], True: []}
    print(f"{N_CLIENTS} clients, POST /predict, {seconds:.0f} s each")
    with running(installation):
        pressed(installation, seconds=3)
        for turn in range(2 * n_pairs):
            with_seals = turn % 2 == 1
            if with_seals:
                with sealers(installation):
                    answers = pressed(installation, seconds=seconds)
            else:
                answers = pressed(installation, seconds=seconds)
            rates[with_seals].append(len(answers) / seconds)
            n_errors = sum(answer.status != 200 for answer in answers)
            print(
                f"  {'sealing' if with_seals else 'without'}: {rates[with_seals][-1]:.1f} a second,"
                f" p99 {1000 * quantile(answers, 0.99):.0f} ms, {n_errors} errors",
                flush=True,
            )
        with sealers(installation):
            time.sleep(WAIT_SECONDS)
        [(n_unsealed,)] = installation.rows(UNSEALED)
    without, sealing = (statistics.mean(rates[kind]) for kind in (False, True))
    print(f"  with sealing {100 * (sealing / without - 1):+.1f} % of the requests without")
    print(f"  unsealed after {WAIT_SECONDS} s: {n_unsealed}")
    locks = locked(installation)
    print(
        f"  {len(locks)} seals of up to {max(n for n, _ in locks):,} entries; write lock"
        f" median {statistics.median(ms for _, ms in locks):.0f} ms,"
        f" longest {max(ms for _, ms in locks)} ms"
    )
    verify(installation)


def pressed(installation: Installation, *, seconds: float) -> list[Answer]:
    def predict(link: HTTPConnection, number: int) -> Answer:
        return ask_on(
            link,
            "POST",
            "/predict/kmeans",
            key=installation.api_key,
            body=[installation.records[number % len(installation.records)]],
        )

    return press(installation.port, predict, n_clients=N_CLIENTS, seconds=seconds)


@contextmanager
def sealers(installation: Installation) -> Iterator[None]:
    command = [
        sys.executable,
        "manage.py",
        "seal_audit",
        "--every",
        "1",
        "--quiet",
        "--skip-checks",
    ]
    processes = [
        subprocess.Popen(command, cwd=PROJECT, env=installation.variables, start_new_session=True)
        for _ in range(N_SEALERS)
    ]
    try:
        yield
    finally:
        for process in processes:
            stop(process)


def locked(installation: Installation) -> list[tuple[int, int]]:
    """Entries and milliseconds of each seal in the log."""
    log = Path(installation.variables["LOG_DIR"]) / "segmentation.log"
    return [(int(n), int(ms)) for n, ms in LOCKED.findall(log.read_text())]


def by_hand(installation: Installation, n_entries: int) -> None:
    """Copies of one entry, sealed in one go."""
    columns = (
        "at, actor_kind, actor_id, actor_label, action, target_type, target_id, outcome,"
        " status_code, n_items, request_id, peer_address, address, duration_ms, details"
    )
    installation.rows(
        f"INSERT INTO audit_auditentry ({columns}) WITH RECURSIVE g (n) AS"
        f" (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {n_entries})"
        f" SELECT {columns} FROM g CROSS JOIN"
        " (SELECT * FROM audit_auditentry ORDER BY id DESC LIMIT 1) last"
    )
    n_before = len(locked(installation))
    began = time.monotonic()
    said = installation.python("manage.py", "seal_audit", "--skip-checks", seconds=3600)
    seconds = time.monotonic() - began
    locks = [ms for _, ms in locked(installation)[n_before:]]
    print(
        f"{said.strip()} {seconds:.1f} s with the start of the command,"
        f" {n_entries / seconds:,.0f} a second; longest write lock {max(locks)} ms",
        flush=True,
    )


def verify(installation: Installation) -> None:
    anchors = Path(installation.variables["LOG_DIR"]) / "audit_anchors.log"
    installation.python(
        "manage.py", "verify_audit", "--anchor", str(anchors), "--skip-checks", seconds=3600
    )
    print("  verified against the anchors: clean", flush=True)


if __name__ == "__main__":
    main()
