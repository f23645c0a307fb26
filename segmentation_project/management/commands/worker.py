"""`manage.py worker`: the background worker, which ends as a whole when a part of it is killed."""

from __future__ import annotations

import logging
import os
from multiprocessing.process import BaseProcess
from typing import Any

from django.core.management.base import BaseCommand
from django_q import cluster
from django_q.tasks import async_task

from audit import trail

logger = logging.getLogger(__name__)


class Sentinel(cluster.Sentinel):  # type: ignore[misc]  # django-q2 has no types
    """django-q2's guard of the worker's processes."""

    def reincarnate(self, process: BaseProcess) -> None:
        """Replace a process that ended; one that was killed takes everything with it.

        A process that dies while it waits for a task keeps the lock of the queue for ever, and
        its successor would wait in silence. Who started the worker starts a new one.
        """
        if process.exitcode is None or process.exitcode >= 0:
            super().reincarnate(process)
            return
        logger.error("A process of the worker was killed (%s); the worker ends.", process.exitcode)
        for each in (*self.pool, self.monitor, self.pusher):
            each.kill()
        os._exit(1)


class Command(BaseCommand):
    help = "Run background jobs until Ctrl-C; manage.py serve runs this beside the server."

    def handle(self, *args: Any, **options: Any) -> None:
        trail.record("worker.started", by=trail.Actor.command("worker"))
        cluster.Sentinel = Sentinel
        options_of_task = {"save": False, "ack_failure": True}
        async_task("segments.jobs.look_after_jobs", q_options=options_of_task)
        cluster.Cluster().start()
