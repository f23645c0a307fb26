"""Ctrl-C during work with a progress bar."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from io import StringIO

import pytest

from segments.progress import progress_bar


def swallow_ctrl_c() -> None:
    """As a callback of an extension module does."""
    with suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()


def test_a_ctrl_c_that_was_swallowed_ends_the_work_at_its_next_report() -> None:
    with pytest.raises(KeyboardInterrupt), progress_bar("Working", StringIO()) as report:
        swallow_ctrl_c()
        report(0.5, "half")


def test_work_that_is_done_is_not_interrupted() -> None:
    with progress_bar("Working", StringIO()) as report:
        swallow_ctrl_c()
        report(1.0, "done")


def test_ctrl_c_means_afterwards_what_it_meant_before() -> None:
    before = signal.getsignal(signal.SIGINT)

    with progress_bar("Working", StringIO()):
        assert signal.getsignal(signal.SIGINT) is not before

    assert signal.getsignal(signal.SIGINT) is before
