"""What `verify_audit` costs at three sizes, beside a plain reading of the same rows.

Each size has a database of its own, and each figure a process. A verification is run `RUNS` times
in turn with a plain `SELECT` of every column of every entry; the medians are printed, with the
greatest memory of the processes. `--database postgresql://…` names a database to use in
place of SQLite; all that is in it goes.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.audit_bundle import SIZES, empty, fill, manage
from benchmarks.servers import ROOT, own_environment

RUNS = 3


# -- in processes of their own, with Django -------------------------------------------------------


def verify() -> None:
    from django.conf import settings
    from django.utils import timezone

    from audit import verification
    from audit.sealing_key import trusted_keys

    found = verification.verify(trusted_keys(settings.AUDIT_PUBLIC_KEYS), at=timezone.now())
    if found.n_broken:
        raise SystemExit(str(found.findings[0]))
    tell(found.n_entries, found.seconds)


def select() -> None:
    """Every column of every entry, some thousand rows at a time."""
    from django.db import connection, transaction

    from audit.stored_entries import ENTRIES

    began = time.monotonic()
    n_entries = 0
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(f"SELECT * FROM {ENTRIES} ORDER BY id")
        while rows := cursor.fetchmany(2_000):
            n_entries += len(rows)
    tell(n_entries, time.monotonic() - began)


def tell(n_entries: int, seconds: float) -> None:
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([n_entries, seconds, mib]))


def filled(size: int) -> None:
    from django.db import connection

    fill(size)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")  # as its autovacuum does before long


STEPS = {"empty": empty, "fill": filled, "verify": verify, "select": select}


# -- the benchmark ---------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--database", default="", metavar="URL")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("arguments", type=int, nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        import django

        django.setup()
        STEPS[options.step](*options.arguments)
        return
    print("  entries  step     seconds  entries/s  MiB")
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="audit-verification-") as directory:
            environment = own_environment(Path(directory)) | {"DATABASE_URL": options.database}
            if options.database:
                step(environment, "empty")
            manage(environment, "migrate", "--verbosity=0")
            step(environment, "fill", str(size))
            measure(environment)


def measure(environment: Mapping[str, str]) -> None:
    told: dict[str, list[list[float]]] = {"verify": [], "select": []}
    for _ in range(RUNS):
        for name, runs in told.items():
            runs.append(json.loads(step(environment, name)))
    for name, runs in told.items():
        n_entries = int(runs[0][0])
        seconds = statistics.median(run[1] for run in runs)
        mib = max(run[2] for run in runs)
        rate = n_entries / seconds
        print(
            f"{n_entries:>9,}  {name:<7}  {seconds:>7.2f}  {rate:>9,.0f}  {mib:>3.0f}", flush=True
        )


def step(environment: Mapping[str, str], name: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.audit_verification", "--step", name, *arguments]
    ran = subprocess.run(
        command, cwd=ROOT, env=dict(environment), check=True, stdout=subprocess.PIPE, text=True
    )
    return ran.stdout


if __name__ == "__main__":
    main()
