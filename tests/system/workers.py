"""`manage.py serve` and `manage.py worker` of an installation, and the processes behind them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.system.server import PROJECT, Installation, stop, wait_until_ready

Found = TypeVar("Found")
WAIT_SECONDS = 150.0
"""Covers the minute after which the worker's schedule runs, and a slow machine."""


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    command: str


@dataclass(frozen=True)
class WorkerProcesses:
    """A worker whole: its main process, its guard, and what the guard started."""

    main: int
    sentinel: int
    trainer: int
    monitor: int
    pusher: int


@contextmanager
def command(installation: Installation, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A management command in the background; it is ended with its group, if it still runs."""
    with (installation.directory / "commands.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments, "--skip-checks"],
            cwd=PROJECT,
            env=installation.variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


@contextmanager
def serving(installation: Installation) -> Iterator[subprocess.Popen[bytes]]:
    """Server and worker, both ready."""
    with command(installation, "serve") as process:
        wait_until_ready(installation.port, lambda: process.poll() is None)
        worker_of(installation)
        yield process


def processes_of(installation: Installation) -> list[Process]:
    """Those that run in the installation's environment, by their MODEL_DIR; oldest first."""
    mark = f"MODEL_DIR={installation.models}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if state != "Z":
                    found.append(Process(int(entry.name), int(parent), command))
        except OSError:  # ended meanwhile, or another user's
            continue
    return sorted(found, key=lambda process: process.pid)


def worker_of(installation: Installation) -> WorkerProcesses:
    """The worker, once all its processes run."""

    def found() -> WorkerProcesses | None:
        workers = [each for each in processes_of(installation) if " worker " in each.command]
        pids = {each.pid for each in workers}
        for main in (each for each in workers if each.parent not in pids):
            for sentinel in (each for each in workers if each.parent == main.pid):
                children = [each.pid for each in workers if each.parent == sentinel.pid]
                if len(children) == 3:
                    return WorkerProcesses(main.pid, sentinel.pid, *children)
        return None

    return waited_for(found, "a whole worker", installation)


def waited_for(
    look: Callable[[], Found | None],
    what: str,
    installation: Installation,
    *,
    seconds_between: float = 0.1,
) -> Found:
    """What `look` finds in the end."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(seconds_between)
    log = installation.directory / "commands.log"
    raise AssertionError(f"{what} did not come:\n{log.read_text()[-4000:]}")
