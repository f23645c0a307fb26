"""`manage.py monitor`: runs scheduled checks, raises alerts, delivers messages; until Ctrl-C.

A process of its own, so that no training keeps a check or a mail waiting. It stays small: a check
runs in a child, which gives its memory back and cannot take the monitor with it.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import IO, Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import close_old_connections, connection
from django.utils import timezone

from access import idempotency
from audit import trail
from audit.sealer import Sealer, SealingFiles
from audit.sealing import SealingRefused
from audit.sealing_key import KeyRefused
from monitoring import outbox, schedule, thinning, upkeep
from monitoring.artifact_watch import ArtifactWatch
from monitoring.check_lock import is_running
from monitoring.drift_check import CheckTerms
from monitoring.head_mail import queue_head_mail
from monitoring.models import MonitoringPolicy
from segmentation_project.processes import end_with_parent
from segments.changes import forget_changes

logger = logging.getLogger(__name__)

TICK_SECONDS = 2.0
MINUTE, DAY = 60.0, 86_400.0
DELIVER_WITHIN = timedelta(seconds=16)
SEAL_WITHIN = timedelta(seconds=1)
"""A round; what is left of a million entries waits for the next ones."""
CHECK_LIMIT_SECONDS = 1800.0
"""A check takes seconds; one that takes so long hangs."""
START_LIMIT = timedelta(minutes=2)
"""From the claim of a check until its process holds the lock, at the most."""
ENDED_WELL = (0, 3, 4)
"""Exit codes of a check that came to a verdict."""


class Command(BaseCommand):
    help = "Run scheduled checks, raise alerts and deliver messages until Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: stopping.set())
        trail.record("monitor.started", by=trail.Actor.command("monitor"))
        monitor = Monitor(CheckTerms.of(settings))
        try:
            while not stopping.is_set():
                monitor.tick(time.monotonic())
                stopping.wait(TICK_SECONDS)
        finally:
            monitor.stop()


class Check:
    """A check in a child process."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "check_drift", "--scheduled", "--quiet", "--skip-checks"],
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )

    def failure(self) -> str | None:
        """Why it failed, empty if it did not, None while it runs."""
        code = self.process.poll()
        if code is None and time.monotonic() - self.started < CHECK_LIMIT_SECONDS:
            return None
        if code is None:
            self.kill()
            return f"It took longer than {CHECK_LIMIT_SECONDS / 60:.0f} minutes and was ended."
        if code in ENDED_WELL:
            return ""
        return f"It was ended by signal {-code}." if code < 0 else self._last_words()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _last_words(self) -> str:
        """What the command said, or the name alone of an error that nobody foresaw.

        The text of such an error might quote a customer.
        """
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace")
        said = [line for line in text.splitlines() if line.strip()] or [""]
        kind, _, words = said[-1].partition(": ")
        if kind == "CommandError":
            return words
        logger.error("A scheduled check failed:\n%s", text[-10_000:])
        return f"It failed by {kind.split(' ')[0] or 'an unknown error'}; see the log."


class Monitor:
    """The tasks, and when each is to be done next by the monotonic clock."""

    def __init__(self, terms: CheckTerms) -> None:
        self.terms = terms
        self.watch = ArtifactWatch()
        self.check: Check | None = None
        self.sealer = sealer_of_settings()
        self._due = dict.fromkeys(("minute", "day", "seal"), 0.0)

    def tick(self, clock: float) -> None:
        """One round; a task that fails is logged and tried again in its next round."""
        close_old_connections()
        self._attempt(self.look_after_check)
        self._attempt(self.begin_check)
        if self.sealer is not None and (
            self.sealer.is_catching_up
            or self._is_time("seal", clock, self.sealer.interval.total_seconds())
        ):
            self._attempt(self.seal)
        if self._is_time("minute", clock, MINUTE):
            self._attempt(self.look_at_conditions)
            self._attempt(self.sum_up_serving)
            self._attempt(self.sweep_idempotent_requests)
            self._attempt(self.mail_head)
        if self._is_time("day", clock, DAY):
            self._attempt(self.thin)
        self._attempt(self.deliver)

    def stop(self) -> None:
        """End a check that runs; the next monitor begins it anew."""
        if self.check is not None:
            self.check.kill()
            schedule.given_back()

    def look_after_check(self, at: datetime) -> None:
        failure = self.check.failure() if self.check is not None else None
        if failure is None:
            return
        self.check = None
        if failure:
            schedule.failed(failure, by=_by())

    def begin_check(self, at: datetime) -> None:
        policy = MonitoringPolicy.current()
        if self.check is not None:
            return
        if policy.last_error == schedule.RUNNING:
            began = policy.last_started_at or at - START_LIMIT
            if at - began >= START_LIMIT and not is_running(directory=settings.DATA_DIR):
                schedule.failed(schedule.LOST, by=_by())
        elif schedule.is_due(
            policy, default_hours=self.terms.default_hours, at=at
        ) and schedule.claim(policy, at=at):
            self.check = Check()

    def look_at_conditions(self, at: datetime) -> None:
        upkeep.look_at_conditions(self.watch, terms=self.terms, at=at, by=_by(), sealer=self.sealer)

    def seal(self, at: datetime) -> None:
        """What keeps it from sealing is told by the alert of the next look at the conditions."""
        if self.sealer is None:
            return
        try:
            self.sealer.seal(now=timezone.now, within=SEAL_WITHIN)
        except (KeyRefused, SealingRefused) as error:
            logger.error("The audit trail is not sealed: %s", error)

    def mail_head(self, at: datetime) -> None:
        if settings.AUDIT_HEAD_MAIL:
            queue_head_mail(at=at, channels=self.terms.channels)

    def sum_up_serving(self, at: datetime) -> None:
        upkeep.sum_up_serving(at=at)

    def thin(self, at: datetime) -> None:
        thinning.thin(MonitoringPolicy.current(), at=at, by=_by())
        forget_changes(before=at - timedelta(days=settings.CHANGES_KEPT_DAYS), by=_by())

    def sweep_idempotent_requests(self, at: datetime) -> None:
        idempotency.sweep(at=at)

    def deliver(self, at: datetime) -> None:
        outbox.deliver(
            channels=self.terms.channels, at=timezone.now, within=DELIVER_WITHIN, by=_by()
        )

    def _is_time(self, name: str, clock: float, seconds: float) -> bool:
        if clock < self._due[name]:
            return False
        self._due[name] = clock + seconds
        return True

    def _attempt(self, task: Callable[[datetime], None]) -> None:
        try:
            task(timezone.now())
        except Exception:  # whatever it is, the other tasks and the next round must not miss out
            logger.exception("The monitor's task %s failed", task.__name__)
            connection.close()


def sealer_of_settings() -> Sealer | None:
    """None when somebody else is to seal."""
    if not settings.AUDIT_SEAL_SECONDS:
        return None
    return Sealer(
        SealingFiles.of(settings), interval=timedelta(seconds=settings.AUDIT_SEAL_SECONDS)
    )


def _by() -> trail.Actor:
    return trail.Actor.system("monitor")
