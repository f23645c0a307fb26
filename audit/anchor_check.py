"""Anchors against the chain: what was written down elsewhere cannot be undone here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from audit.anchors import UnreadableAnchor, anchor_of, opened
from audit.chain_check import Chain
from audit.findings import Findings, Place

MAX_LINE = 1_000
"""Characters; an anchor has a hundred."""


def check_anchors(path: Path, chain: Chain, findings: Findings) -> int | None:
    """Return the last seal that an anchor confirms; None when none does. Raises `OSError`."""
    confirmed: int | None = None
    head_no = chain.numbers[-1] if chain.numbers else 0
    with open(opened(path), encoding="ascii", errors="replace") as file:
        for line, text in _lines(file):
            if not text.strip():
                continue
            try:
                anchor = anchor_of(line, text.rstrip("\r\n"))
            except UnreadableAnchor:
                findings.warning(Place.ANCHOR, line, "is no anchor: torn by a crash, or altered")
                continue
            digest = chain.digest(anchor.no)
            if digest == anchor.digest:
                confirmed = max(confirmed or 0, anchor.no)
            elif anchor.no > head_no:
                findings.broken(
                    Place.ANCHOR,
                    line,
                    f"tells of seal {anchor.no}; the chain ends with seal {head_no}: it was cut, "
                    "or an older database was restored",
                )
            elif digest is not None and anchor.no not in chain.untrusted:
                findings.broken(
                    Place.ANCHOR,
                    line,
                    f"tells of another seal {anchor.no} than the one here: the trail was sealed "
                    "anew",
                )
    return confirmed


def _lines(file: TextIO) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; of one that is too long, the beginning."""
    number, is_continued = 0, False
    while text := file.readline(MAX_LINE):
        if not is_continued:
            number += 1
            yield number, text
        is_continued = not text.endswith("\n")
