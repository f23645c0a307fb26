"""The sign of life of a process that does a job: rows say when it was heard of last."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection
from django.db.models import QuerySet
from django.utils import timezone

logger = logging.getLogger(__name__)

BEATS_UNTIL_LOST = 12
"""Heartbeats that a living process sends before it would be taken for lost."""


def lost_after() -> timedelta:
    """How long a process may be silent, and a queued job be left lying."""
    return timedelta(seconds=settings.JOB_LOST_AFTER_SECONDS)


@contextmanager
def heartbeat(job: QuerySet[Any]) -> Iterator[None]:
    """Says every few seconds in the job's row that its process lives, also during a long fit."""
    stopped = threading.Event()
    seconds = lost_after().total_seconds() / BEATS_UNTIL_LOST

    def beat() -> None:
        try:
            while not stopped.wait(seconds):
                try:
                    job.update(heartbeat_at=timezone.now())
                except OperationalError as error:  # a busy database: the next beat may pass
                    logger.warning("A heartbeat was missed: %s", error)
        finally:
            connection.close()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
