"""What a bundle of the audit trail and a pruning cost, at three sizes one after the other.

Export and verification run in processes of their own, so that the memory is theirs. While half of
the entries are pruned another process goes on writing some; how long its writes took says what the
pruning held up. `--database postgresql://…` names a database to use in place of SQLite; all
that is in it goes.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.servers import ROOT, own_environment

SIZES = (10_000, 100_000, 1_000_000)
FIRST_AT = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 100
MIB = 1024**2
PAUSE = 0.02
"""Seconds from one write of the other process to its next."""


# -- in processes of their own, with Django -------------------------------------------------------


def fill(size: int) -> None:
    """Predictions over `DAYS` days up to the size, sealed."""
    from django.conf import settings
    from django.db import connection, transaction
    from django.utils import timezone

    from audit.models import AuditEntry
    from audit.sealer import SealingFiles
    from audit.sealing import seal_entries

    n_stored = AuditEntry.objects.count()
    marks = ", ".join(["%s"] * 11)
    if connection.vendor == "sqlite":  # an index of a million rows does not fit the usual cache
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA cache_size=-400000")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            f"""INSERT INTO audit_auditentry (at, actor_kind, actor_id, actor_label, action,
                target_type, target_id, outcome, request_id, duration_ms, details,
                status_code, n_items, peer_address, address)
            VALUES ({marks}, 200, 1, '10.0.0.1', '10.0.0.1')""",
            (values_of(number, size) for number in range(n_stored, size)),
        )
    signer = SealingFiles.of(settings).signer()
    while seal_entries(signer, at=timezone.now()):
        pass


def values_of(number: int, size: int) -> tuple[Any, ...]:
    from django.db import connection

    at = FIRST_AT + timedelta(days=DAYS) * number / size
    details = f'{{"method":"POST","path":"/predict/kmeans","version":{number % 7},"digest":"'
    return (
        connection.ops.adapt_datetimefield_value(at), "api_key", f"key-{number % 50}",
        f"key {number % 50} of the shop", "segment.predicted", "model_version", "kmeans 3",
        "succeeded", f"{number:032x}", (number % 977) / 7, f'{details}{number:064x}"}}',
    )  # fmt: skip


def write_on() -> None:
    """Write an entry now and again until told to stop; prints how long the writes took."""
    from audit import trail

    by = trail.Actor.system("writer")
    trail.record("benchmark.written", by=by)
    print("ready", flush=True)
    seconds = []
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        began = time.monotonic()
        trail.record("benchmark.written", by=by)
        seconds.append(time.monotonic() - began)
    print(json.dumps(seconds))


def empty() -> None:
    """Drop all that a benchmark before left in the database."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


STEPS = {"empty": empty, "fill": fill, "write": write_on}


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
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="audit-bundle-") as directory:
            environment = own_environment(Path(directory)) | {"DATABASE_URL": options.database}
            if options.database:
                run(environment, "-m", "benchmarks.audit_bundle", "--step", "empty")
            manage(environment, "migrate", "--verbosity=0")
            measure(environment, Path(directory), size)


def measure(environment: Mapping[str, str], directory: Path, size: int) -> None:
    run(environment, "-m", "benchmarks.audit_bundle", "--step", "fill", str(size))
    path = directory / f"{size}.zip"
    seconds, mib = manage(environment, "export_audit", str(path))
    say(
        size,
        "exported",
        seconds,
        f"{mib:.0f} MiB of memory, file {path.stat().st_size / MIB:.1f} MiB",
    )
    keys = ["--public-keys", str(directory / "data" / "audit_sealing_key.pub")]
    seconds, mib = run(environment, "-m", "audit.verify_bundle", str(path), *keys, code=3)
    say(size, "verified", seconds, f"{mib:.0f} MiB of memory")
    path.unlink()
    before = FIRST_AT + timedelta(days=DAYS) / 2
    quiet = while_writing(environment, lambda: time.sleep(5))[1]
    print(f"{size:>9,}  a write, nothing else going on: {quiet}")
    (seconds, mib), waits = while_writing(
        environment,
        lambda: manage(environment, "prune_audit", "--before", before.isoformat(), "--yes"),
    )
    say(size // 2, "pruned", seconds, f"{mib:.0f} MiB of memory; a write meanwhile: {waits}")
    print()


def while_writing(environment: Mapping[str, str], work: Any) -> tuple[Any, str]:
    """What `work` returns, and how long the writes of another process took meanwhile."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.audit_bundle", "--step", "write"],
        cwd=ROOT, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    found = work()
    took = sorted(1000 * each for each in json.loads(writer.communicate("x")[0]))
    return found, (
        f"median {statistics.median(took):.1f} ms, p99 {took[int(0.99 * len(took))]:.0f} ms, "
        f"longest {took[-1]:.0f} ms of {len(took):,}"
    )


def say(n_entries: int, what: str, seconds: float, more: str) -> None:
    rate = n_entries / seconds
    print(f"{n_entries:>9,}  {what} in {seconds:.1f} s, {rate:,.0f} a second, {more}", flush=True)


def manage(environment: Mapping[str, str], *arguments: str) -> tuple[float, float]:
    return run(environment, "manage.py", *arguments, "--skip-checks")


def run(environment: Mapping[str, str], *arguments: str, code: int = 0) -> tuple[float, float]:
    """Seconds and MiB of a Python process, which must end with the code."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=dict(environment), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    said = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != code:
        raise SystemExit(f"{arguments} ended with {process.returncode}: {said}")
    for line in said.splitlines():
        if "longest transaction" in line:
            print(f"{'':9}  {line}")
    return time.monotonic() - began, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
