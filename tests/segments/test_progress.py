"""Ctrl-C during work with a progress bar."""

from __future__ import annotations

import signal
from io import StringIO

import pytest

from segments.progress import progress_bar


class Terminal(StringIO):
    """What a person looks at, as rich asks it."""

    def isatty(self) -> bool:
        return True


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_the_work_at_its_next_report_and_nowhere_before() -> None:
    with pytest.raises(KeyboardInterrupt), progress_bar("Working", StringIO()) as report:
        press_ctrl_c()
        reached = True
        report(0.5, "half")

    assert reached


def test_a_second_ctrl_c_ends_the_work_at_once() -> None:
    with progress_bar("Working", StringIO()):
        press_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()


def test_work_that_is_done_is_not_interrupted() -> None:
    with progress_bar("Working", StringIO()) as report:
        press_ctrl_c()
        report(1.0, "done")


def test_the_bar_says_what_ctrl_c_did() -> None:
    terminal = Terminal()

    with progress_bar("Working", terminal):
        press_ctrl_c()

    assert "stopping; Ctrl-C again stops at once" in terminal.getvalue()


def test_ctrl_c_means_afterwards_what_it_meant_before() -> None:
    before = signal.getsignal(signal.SIGINT)

    with progress_bar("Working", StringIO()):
        assert signal.getsignal(signal.SIGINT) is not before

    assert signal.getsignal(signal.SIGINT) is before
