"""What a drift comparison takes: time beside sorting, memory beside its input (Linux)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.drift_ways import Outcome, Version
from ml.drift import Scored, compare
from ml.features import RawColumns

MEBIBYTE = 2**20
KIBIBYTE = 2**10
STATUS = Path("/proc/self/status")
WARM_UP = 1_000  # customers compared once for what Python and its libraries load by then

TIMED = ("np.sort", "segments at hand", "with scoring")
INPUT = "input, MiB"
HELD = (INPUT, "segments at hand, MiB", "with scoring, MiB")


def best_of(work: Callable[[], object], n_times: int = 3) -> float:
    """Return the shortest of a few times, in seconds: the machine may have others to serve."""
    taken = []
    for _ in range(n_times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


def memory(version: Version, raw: RawColumns, scored: Scored) -> Outcome:
    """Return MiB of the raw columns, and what a comparison takes beside them at its peak.

    Each is run in a process of its own, which has loaded the customers and nothing of their
    making: a process never forgets its peak.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        np.savez(path / "raw.npz", **raw)
        known = {"labels": scored.labels, "distances": scored.distances, "rows": scored.rows}
        np.savez(path / "scored.npz", **{k: v for k, v in known.items() if v is not None})
        with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            at_hand, with_scoring = (
                pool.apply(peak_beside_input, (version, path, at_hand)) for at_hand in (True, False)
            )
    return {
        INPUT: sum(values.nbytes for values in raw.values()) / MEBIBYTE,
        HELD[1]: at_hand,
        HELD[2]: with_scoring,
    }


def peak_beside_input(version: Version, directory: Path, at_hand: bool) -> float:
    """Compare stored customers; return by how many MiB the peak lies over what is held before."""
    with np.load(directory / "raw.npz") as stored:
        raw = dict(stored)
    with np.load(directory / "scored.npz") as stored:
        scored = Scored(**stored) if at_hand else None
    with threadpool_limits(1):
        few = {name: values[:WARM_UP] for name, values in raw.items()}
        compare(version.profile, few, version.score(few))
        # ru_maxrss would begin at the peak of the process that started this one.
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        compare(version.profile, raw, scored or version.score(raw))
    return resident("VmHWM") - before


def resident(which: str) -> float:
    """Return MiB of this process in memory: VmRSS now, VmHWM at the peak (Linux)."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) * KIBIBYTE / MEBIBYTE
