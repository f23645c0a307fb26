"""Trainings that are killed with SIGKILL, at points of the code or after a time.

`python -m tests.system.killed_trainings N` runs `train_model kmeans` in a fork for each kill and
prints what the forks came to: the modules are imported once, so that the kills fall into the work.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import django


def main() -> None:
    django.setup()
    n_timed = int(sys.argv[1])
    import_all_that_a_training_needs()

    started = time.monotonic()
    train_in_fork(lambda: None, None)
    whole_seconds = time.monotonic() - started
    ends = {}
    for i in range(n_timed):
        after = whole_seconds * (i + 0.5) / n_timed
        ends[f"after {after:.2f} s"] = train_in_fork(lambda: None, after)
    for name, arm in points().items():
        ends[name] = train_in_fork(arm, None)
    json.dump(ends, sys.stdout)


def import_all_that_a_training_needs() -> None:
    """Once for all forks: `ml` imports these where it calls them, which would be in each fork."""
    import pandas  # noqa: F401
    import sklearn.cluster
    import sklearn.metrics
    import sklearn.tree  # noqa: F401

    import ml.fitting  # noqa: F401


def train_in_fork(arm: Callable[[], None], kill_after: float | None) -> int:
    """Train in a child, killed after some seconds if it still runs; its exit status."""
    from django.core.management import call_command
    from django.db import connections

    connections.close_all()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        arm()
        call_command("train_model", "kmeans", param=["k=3"], activate=True)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def points() -> dict[str, Callable[[], None]]:
    """Where a training dies: before the call named, or after it; its job still runs at the last.

    Each training gives up the jobs that died before it, so only the last is left for the test.
    """
    from modelregistry import activation, artifacts, training
    from segments import assignment
    from segments import training as segment_training

    return {
        "before the activation": dying(assignment, "activate"),
        "before the pointer": dying(activation, "move_pointer"),
        "after the pointer": dying(activation, "move_pointer", afterwards=True),
        "in the temporary file": dying(artifacts.os, "fsync"),
        "before the rename": dying(artifacts.os, "replace"),
        "after the rename": dying(artifacts.os, "replace", afterwards=True),
        "before the row": dying(training, "_insert"),
        "after the row": dying(training, "_insert", afterwards=True),
        "after the segments": dying(segment_training, "create_segments", afterwards=True),
        "amid the assignments": dying(assignment, "write_assignments"),
        "before the end": dying(training, "finish"),
    }


def dying(place: Any, name: str, *, afterwards: bool = False) -> Callable[[], None]:
    """Arms the function `name` of `place` so that the process dies there."""

    def arm() -> None:
        original = getattr(place, name)

        def deadly(*args: Any, **kwargs: Any) -> None:
            if afterwards:
                original(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(place, name, deadly)
        for module in list(sys.modules.values()):
            if getattr(module, name, None) is original:
                setattr(module, name, deadly)

    return arm


if __name__ == "__main__":
    main()
