"""Which process does a job, and whether it still runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from segments.processes import is_running, this_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
NAMED = """
import sys
from segments.processes import this_process
print(this_process(), flush=True)
sys.stdin.read()
"""


@contextmanager
def another() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that waits, and its name for itself."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", NAMED]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()


def test_a_process_that_runs_is_known_to_run() -> None:
    with another() as (process, name):
        assert name != this_process()
        assert str(process.pid) in name.split(" ")
        assert is_running(name) is True

    assert is_running(this_process()) is True


def test_a_killed_process_runs_no_more_though_its_parent_has_not_noticed() -> None:
    with another() as (process, name):
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        as_zombie = is_running(name)
        process.wait()

        assert (as_zombie, is_running(name)) == (False, False)


def test_another_process_of_the_same_id_is_not_the_one_that_was() -> None:
    place, pid, start = this_process().rsplit(" ", 2)

    assert is_running(f"{place} {pid} {int(start) - 1}") is False


def test_what_ran_elsewhere_or_did_not_say_where_is_not_known() -> None:
    place, pid, start = this_process().rsplit(" ", 2)

    assert is_running("") is None
    assert is_running(f"{place[::-1]} {pid} {start}") is None


def test_without_proc_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = this_process()
    monkeypatch.setattr("segments.processes.PROC", tmp_path)

    assert this_process() == ""
    assert is_running(name) is None


def test_a_process_that_is_hidden_from_us_is_not_taken_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id")
    (tmp_path / boot.relative_to("/proc")).parent.mkdir(parents=True)
    (tmp_path / boot.relative_to("/proc")).write_text(boot.read_text())
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").symlink_to(Path("/proc/self/ns/pid").readlink())
    name = this_process()
    monkeypatch.setattr("segments.processes.PROC", tmp_path)

    assert is_running(name) is None
