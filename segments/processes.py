"""Which process does a job, and whether it still runs: known on Linux, for processes of this place.

A place is one boot of a machine and one namespace of process ids, such as a container's. An id may
be given again to another process; the moment of its start tells the two apart.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
STATE, START = 0, 19
"""Places among the fields of /proc/PID/stat after the command: proc(5), fields 3 and 22."""
ENDED = ("Z", "X")
"""States of a process that ended, and that its parent has not yet asked about."""


def this_process() -> str:
    """Place, id and start of the process that asks; empty where they cannot be known."""
    pid = os.getpid()
    try:
        return f"{_place()} {pid} {_stat(pid)[START]}"
    except OSError:
        return ""


def is_running(process: str) -> bool | None:
    """Whether a process that `this_process` named still runs; None where it cannot be known."""
    if not process:
        return None
    place, pid, start = process.rsplit(" ", 2)
    try:
        if place != _place():
            return None
        os.kill(int(pid), 0)
        stat = _stat(int(pid))
    except ProcessLookupError:
        return False
    except OSError:  # not ours to look at
        return None
    return stat[START] == start and stat[STATE] not in ENDED


def _place() -> str:
    boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {(PROC / 'self/ns/pid').readlink()}"


def _stat(pid: int) -> list[str]:
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
