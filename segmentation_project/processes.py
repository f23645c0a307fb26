"""The processes of the server: how each is started, and how all of them end.

Needs no Django set up: the tests and benchmarks start a server from outside it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal a process gets when its parent ends."""
STOP_SECONDS = 35.0
"""A little more than gunicorn's graceful timeout; then what still runs is killed."""


def gunicorn_command() -> list[str]:
    return [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:segmentation_project.gunicorn_conf",
        "segmentation_project.wsgi:application",
    ]


def start(*command: str) -> subprocess.Popen[bytes]:
    """A process in a group of its own, so that Ctrl-C reaches it through us and only once."""
    return subprocess.Popen(
        command, cwd=PROJECT, start_new_session=True, preexec_fn=end_with_parent
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
