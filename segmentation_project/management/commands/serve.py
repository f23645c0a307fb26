"""`manage.py serve`: gunicorn, the worker and the monitor, started and stopped together."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

POLL_SECONDS = 0.2
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal a process gets when its parent ends."""
RESTART_SECONDS = 5.0
"""From one start of a process to the next, so that one that cannot start does not spin."""
STOP_SECONDS = 35.0
"""A little more than gunicorn's graceful timeout; then what still runs is killed."""


class Command(BaseCommand):
    help = "Serve the API and the admin, run background jobs and monitor, until Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        check_port(settings.API_HOST, settings.API_PORT)
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


def gunicorn_command() -> list[str]:
    return [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:segmentation_project.gunicorn_conf",
        "segmentation_project.wsgi:application",
    ]


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


def start(*command: str) -> subprocess.Popen[bytes]:
    """A process in a group of its own, so that Ctrl-C reaches it through us and only once."""
    return subprocess.Popen(
        command, cwd=settings.BASE_DIR, start_new_session=True, preexec_fn=end_with_parent
    )


def end_with_parent() -> None:
    """Where the kernel can (Linux): stop when the parent is killed without a chance to say so."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def stop_all(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0.1))
        kill_group(process)
        process.wait()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the process and of those it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


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
