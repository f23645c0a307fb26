"""A progress bar for a person who waits, and may press Ctrl-C; silent when nobody looks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


@contextmanager
def progress_bar(title: str, stream: TextIO) -> Iterator[Callable[[float, str], None]]:
    """Yields `report(share, step)`; the bar goes to `stream`.

    After a Ctrl-C the next `report` raises KeyboardInterrupt, unless it says that the work is
    done; a second Ctrl-C raises it at once.
    """
    columns = (
        TextColumn("{task.fields[title]}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    console = Console(file=stream)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=1.0, title=title)
        with postponed_interrupt(
            lambda: progress.update(task, description="stopping; Ctrl-C again stops at once")
        ) as interrupted:

            def report(share: float, step: str) -> None:
                if interrupted.is_set() and share < 1:
                    raise KeyboardInterrupt
                progress.update(task, completed=share, description=step)

            yield report


@contextmanager
def postponed_interrupt(on_interrupt: Callable[[], None]) -> Iterator[threading.Event]:
    """Yields what the first Ctrl-C sets, after which it calls `on_interrupt`; a second one raises.

    Python would raise KeyboardInterrupt wherever the main thread is: inside a callback of an
    extension module or of the import system it is printed as ignored and goes no further.
    """
    interrupted = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        on_interrupt()

    if threading.current_thread() is not threading.main_thread():  # signals are not for others
        yield interrupted
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
