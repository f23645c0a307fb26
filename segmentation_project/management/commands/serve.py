"""`manage.py serve`: gunicorn, the worker and the monitor, started and stopped together."""

from __future__ import annotations

import signal
import socket
import sys
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from audit import trail
from segmentation_project.processes import gunicorn_command, kill_group, start, stop_all
from segmentation_project.started import record_start

POLL_SECONDS = 0.2
RESTART_SECONDS = 5.0
"""From one start of a process to the next, so that one that cannot start does not spin."""


class Command(BaseCommand):
    help = "Serve the API and the admin, run background jobs and monitor, until Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        check_port(settings.API_HOST, settings.API_PORT)
        try:
            record_start(by=trail.Actor.command("serve"))
        except DatabaseError as error:
            raise CommandError(f"The start cannot be recorded: {error}") from error
        connection.close()  # what is started below has its own
        stopping = False

        def stop(number: int, frame: Any) -> None:
            nonlocal stopping
            stopping = True

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        server = start(*gunicorn_command())
        others = [Restarted("worker"), Restarted("monitor")]
        self.stdout.write(
            f"Serving on http://{settings.API_HOST}:{settings.API_PORT}, Ctrl-C stops."
        )
        self.stdout.flush()  # also when the output is a file or a pipe
        try:
            while not stopping:
                time.sleep(POLL_SECONDS)
                if server.poll() is not None:
                    raise CommandError("The server ended by itself; its log says why.")
                for other in others:
                    if other.is_to_restart():
                        self.stderr.write(f"The {other.name} ended by itself; it is started again.")
                        other.restart()
        finally:
            stop_all([server, *(other.process for other in others)])
        self.stdout.write("Stopped.")


class Restarted:
    """A management command beside the server, which is started again when it ends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.begin()

    def begin(self) -> None:
        self.process = start(sys.executable, "manage.py", self.name, "--skip-checks")
        self.started_at = time.monotonic()

    def is_to_restart(self) -> bool:
        is_old = time.monotonic() - self.started_at >= RESTART_SECONDS
        return is_old and self.process.poll() is not None

    def restart(self) -> None:
        kill_group(self.process)
        self.begin()


def check_port(host: str, port: int) -> None:
    """Refuse in one line when somebody else listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(
                f"Port {port} on {host} cannot be used ({error.strerror}); "
                "set API_PORT in .env to another."
            ) from error
