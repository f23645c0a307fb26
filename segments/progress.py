"""A progress bar for a person who waits, and may press Ctrl-C; silent when nobody looks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Never, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


@contextmanager
def progress_bar(title: str, stream: TextIO) -> Iterator[Callable[[float, str], None]]:
    """Yields `report(share, step)`; the bar goes to `stream`.

    After a Ctrl-C `report` raises KeyboardInterrupt until the work is done, should the first one
    have been lost.
    """
    columns = (
        TextColumn("{task.fields[title]}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    console = Console(file=stream)
    with (
        remembered_interrupt() as interrupted,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("", total=1.0, title=title)

        def report(share: float, step: str) -> None:
            if interrupted.is_set() and share < 1:
                raise KeyboardInterrupt
            progress.update(task, completed=share, description=step)

        yield report


@contextmanager
def remembered_interrupt() -> Iterator[threading.Event]:
    """Yields what is set once Ctrl-C was pressed.

    Python raises KeyboardInterrupt once, wherever the main thread is; inside a callback of an
    extension module it goes no further.
    """
    interrupted = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> Never:
        interrupted.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are not for others
        yield interrupted
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
