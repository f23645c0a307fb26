"""`check_drift` beside mail servers that fail: how long it takes, and what arrives in the end.

`python -m benchmarks.mail_faults` checks drifted customers once for each fault, with real
processes and a real mail server on this machine, then lets a healthy server answer and delivers
what waits. Each check must end within 10 s, leave its reports, and one mail arrive in the end; two
with one Message-ID where a server took the mail and never said so.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clustering.report import print_rows
from tests.smtp_sink import Behaviour, Sink, smtp_sink
from tests.system.server import PROJECT, Installation, fill, free_port, make_installation

GOAL_SECONDS = 10.0
DRIFT = 3
"""Exit code of a check that found drift."""
FAULTS: tuple[Behaviour, ...] = (
    "refuse-client",
    "refuse-recipient",
    "refuse-message",
    "try-later",
    "greylist",
    "drop-in-data",
    "hang",
    "hang-after-data",
    "hang-on-quit",
    "tarpit",
    "garbage",
)
TAKEN_ALL_THE_SAME = ("hang-after-data", "hang-on-quit")
"""The first is in the server's hands without its word, and sent again; the second is sent."""
DELIVER = """
import django; django.setup()
from datetime import timedelta
from django.conf import settings
from django.utils import timezone
from audit.trail import Actor
from monitoring import outbox
from monitoring.drift_check import CheckTerms
outbox.deliver(
    channels=CheckTerms.of(settings).channels,
    at=lambda: timezone.now() + timedelta(hours=1),
    within=timedelta(seconds=16),
    by=Actor.system("monitor"),
)
"""


@dataclass(frozen=True)
class Outcome:
    fault: str
    seconds: float
    exit_codes: tuple[int, ...]
    n_reports: int
    n_arrived: int
    n_expected: int

    @property
    def is_reached(self) -> bool:
        arrived = self.n_arrived == self.n_expected
        return self.seconds <= GOAL_SECONDS and self.n_reports > 0 and arrived


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mail-faults-") as directory:
        outcomes = list(measured(Path(directory)))
    print_rows(
        f"check_drift beside mail servers that fail (reach: ≤ {GOAL_SECONDS:.0f} s)",
        ("fault", "s", "exit codes", "reports", "mails", "reach"),
        (
            (each.fault, f"{each.seconds:.1f}", " ".join(map(str, each.exit_codes)))
            + (str(each.n_reports), str(each.n_arrived), str(each.n_expected))
            for each in outcomes
        ),
    )
    if not all(each.is_reached for each in outcomes):
        sys.exit("Not reached.")


def measured(directory: Path) -> Iterator[Outcome]:
    for fault in FAULTS:
        with installed(directory / fault) as installation, smtp_sink(fault) as sink:
            yield outcome(fault, installation, sink.port, sink)
    with installed(directory / "refused") as installation:
        yield outcome("connection refused", installation, free_port(), None)
    with installed(directory / "two") as installation, smtp_sink() as sink:
        yield outcome("two checks at once", installation, sink.port, sink, n_at_once=2)


@contextmanager
def installed(directory: Path) -> Iterator[Installation]:
    """300 customers with models, and a file of them with far more orders."""
    directory.mkdir()
    installation = make_installation(
        directory, SMTP_SERVER="127.0.0.1", SMTP_TLS="false", ALERT_EMAIL="team@example.com"
    )
    fill(installation)
    drifted = [{**each, "orders": each["orders"] * 3 + 5} for each in installation.records]
    with (directory / "drifted.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(drifted[0]))
        table.writeheader()
        table.writerows(drifted)
    yield installation


def outcome(
    fault: str, installation: Installation, port: int, sink: Sink | None, *, n_at_once: int = 1
) -> Outcome:
    installation.variables["SMTP_PORT"] = str(port)
    began = time.monotonic()
    checks = [check(installation) for _ in range(n_at_once)]
    codes = tuple(sorted(each.wait(60) for each in checks))
    seconds = time.monotonic() - began
    is_taken = fault not in FAULTS or fault in TAKEN_ALL_THE_SAME
    n_taken = len(sink.mails) if sink and is_taken else 0
    ((n_reports,),) = installation.rows("SELECT COUNT(*) FROM monitoring_driftreport")
    with smtp_sink() as healthy:
        installation.variables["SMTP_PORT"] = str(healthy.port)
        installation.python("-c", DELIVER)
        installation.python("-c", DELIVER)  # a mail that went is not sent again
    n_expected = 2 if fault == "hang-after-data" else 1
    return Outcome(fault, seconds, codes, n_reports, n_taken + len(healthy.mails), n_expected)


def check(installation: Installation) -> subprocess.Popen[bytes]:
    drifted = installation.directory / "drifted.csv"
    return subprocess.Popen(
        [sys.executable, "manage.py", "check_drift", "--input", str(drifted), "--quiet"],
        cwd=PROJECT,
        env=installation.variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    main()
