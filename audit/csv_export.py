"""Entries of the trail as a CSV file, for people; `audit.bundle` writes what proves itself.

The file is finished, hashed and recorded before its first byte leaves. Entries are read in pages
by key, so memory does not grow with their number, and none that arrives meanwhile is among them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.db.models import QuerySet

from audit import trail
from audit.bundle import EXPORTED
from audit.leaf import FIELDS
from audit.models import AuditEntry
from audit.pages import page_of

CHUNK = 2_000
"""Entries read at a time."""
MAX_IN_MEMORY = 1 << 20
"""Bytes of a file that stay in memory; a larger one goes to disk, where nobody can name it."""


@dataclass(frozen=True, slots=True)
class ExportedEntries:
    """A finished file, at its start; who takes it closes it."""

    content: IO[bytes]
    n_bytes: int
    n_entries: int
    sha256: bytes


def export_entries(
    entries: QuerySet[AuditEntry],
    *,
    phrase: str,
    filters: Mapping[str, str],
    safe_text: Callable[[str], str],
    directory: Path,
    by: trail.Actor,
) -> ExportedEntries:
    """Write the entries that a phrase finds among these, newest first, then their own entry.

    `filters` are what the trail keeps of the choice, `safe_text` makes a text that no spreadsheet
    runs, and `directory` is where a large file has room. Raises `audit.search.TooManyNames`.
    """
    file = tempfile.SpooledTemporaryFile(max_size=MAX_IN_MEMORY, dir=str(directory))  # noqa: SIM115
    try:
        n_entries = _write(file, _chunks(entries, phrase), safe_text)
        n_bytes = file.tell()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256")
        file.seek(0)
        trail.record(
            EXPORTED,
            by=by,
            n_items=n_entries,
            details={
                "format": "csv",
                "filters": dict(filters),
                "n_bytes": n_bytes,
                "sha256": digest.hexdigest(),
            },
        )
    except BaseException:
        file.close()
        raise
    return ExportedEntries(file, n_bytes, n_entries, digest.digest())


def _chunks(entries: QuerySet[AuditEntry], phrase: str) -> Iterator[list[AuditEntry]]:
    page = page_of(entries, size=CHUNK, phrase=phrase)
    yield list(page.entries)
    while page.older is not None:
        page = page_of(entries, size=CHUNK, phrase=phrase, place=page.older)
        yield list(page.entries)


def _write(
    file: IO[bytes], chunks: Iterator[list[AuditEntry]], safe_text: Callable[[str], str]
) -> int:
    """RFC 4180 in UTF-8, a column for each field, the details as the JSON text they are."""
    n_entries = 0
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(FIELDS)
    for chunk in chunks:
        writer.writerows(
            [_cell(getattr(entry, name), safe_text) for name in FIELDS] for entry in chunk
        )
        file.write(text.getvalue().encode("utf-8", "surrogatepass"))
        text.seek(0)
        text.truncate()
        n_entries += len(chunk)
    return n_entries


def _cell(value: Any, safe_text: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return safe_text(value)
    return value.isoformat() if hasattr(value, "isoformat") else value
