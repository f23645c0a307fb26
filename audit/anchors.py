"""The anchor file: one line for each head of the chain, outside the database.

    2026-11-23T05:00:00.000000+00:00 12 <64 hexadecimal digits>

is the time of sealing, the number and the digest of a seal. Lines are only ever added. A database
that was cut, restored or sealed anew no longer fits them.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

LINE = re.compile(r"(\S{20,40}) ([1-9]\d{0,17}) ([0-9a-f]{64})")
TAIL_BYTES = 16_384
"""How much of the file `last_anchors` reads: about 170 lines."""


class UnreadableAnchor(ValueError):
    """A line that is no anchor."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line} is no anchor")
        self.line = line


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the file says of one seal; `line` counts from 1, and is 0 for one not yet written."""

    line: int
    at: datetime
    no: int
    digest: str

    def __str__(self) -> str:
        return f"{self.at.isoformat(timespec='microseconds')} {self.no} {self.digest}"


def anchor_of(line: int, text: str) -> Anchor:
    """Raises `UnreadableAnchor`."""
    match = LINE.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        at = datetime.fromisoformat(match[1])
        if at.tzinfo is None:
            raise ValueError
    except ValueError:
        raise UnreadableAnchor(line) from None
    return Anchor(line, at, int(match[2]), match[3])


def opened(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file; a pipe would be waited for. Raises `OSError`."""
    handle = os.open(path, flags | os.O_NONBLOCK, 0o640)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return handle


def read_anchors(path: Path) -> list[Anchor]:
    """Every anchor of a file, in its order. Raises `OSError`, and `UnreadableAnchor`."""
    with open(opened(path), encoding="ascii", errors="replace") as file:
        return [
            anchor_of(number, text.rstrip("\n"))
            for number, text in enumerate(file, start=1)
            if text.strip()
        ]


def last_anchors(path: Path) -> list[Anchor]:
    """The anchors at the end of the file, without the lines that are none; their `line` is 0.

    None for a file that is not there. Raises `OSError`.
    """
    try:
        with open(opened(path), "rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
            file.seek(start)
            content = file.read(TAIL_BYTES)
    except FileNotFoundError:
        return []
    lines = content.decode("ascii", "replace").split("\n")
    anchors = []
    for text in lines[1 if start else 0 :]:
        try:
            anchors.append(anchor_of(0, text))
        except UnreadableAnchor:  # torn by a power cut, say: `verify_audit` names it
            continue
    return anchors


def append_heads(path: Path, heads: Sequence[Anchor]) -> None:
    """Add a line for each, and return when they are on the disk. Raises `OSError`."""
    if not heads:
        return
    handle = opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        size = os.fstat(handle).st_size
        is_torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        content = "".join(f"{head}\n" for head in heads).encode()
        content = b"\n" + content if is_torn else content
        if os.write(handle, content) != len(content):
            raise OSError("the line was written in part")
        os.fsync(handle)
    finally:
        os.close(handle)
