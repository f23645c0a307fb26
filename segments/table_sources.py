"""The file under a table: its reader by content, progress over its bytes, its names and digest."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ml.records import BAD_TEXT, MAX_ATTRIBUTES, MAX_NAME
from segments.delimited_files import DelimitedFile
from segments.table_problems import UnreadableTable, explained_failures

if TYPE_CHECKING:
    from segments.parquet_files import ParquetTable

OnProgress = Callable[[int, int], None]
Source: TypeAlias = "DelimitedFile | ParquetTable"
PARQUET_MAGIC = b"PAR1"


class FileProgress:
    """Bytes of the file done, over passes that each read all of it."""

    def __init__(self, path: Path, on_progress: OnProgress | None) -> None:
        with explained_failures(path):
            status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableTable(f"{path} is a directory: name one table file")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableTable(f"{path} is a device or pipe: it is read twice, so save it first")
        if status.st_size == 0:
            raise UnreadableTable(f"{path} is empty: a header line and rows are needed")
        self.n_bytes = status.st_size
        self.report = on_progress or (lambda done, total: None)

    def part(self, start: float, weight: float) -> Callable[[int], None]:
        """Return what one pass reports its bytes to."""

        def on_bytes(n_done: int) -> None:
            share = start + weight * min(1.0, n_done / self.n_bytes)
            self.report(int(share * self.n_bytes), self.n_bytes)

        return on_bytes

    def finish(self) -> None:
        """Report that all is done."""
        self.report(self.n_bytes, self.n_bytes)


def open_source(path: Path, on_bytes: Callable[[int], None]) -> Source:
    """The reader that suits the file's content. Raises UnreadableTable."""
    with explained_failures(path), path.open("rb") as stream:
        is_parquet = stream.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    if is_parquet:
        # pyarrow costs a web process 60 MB that most of them never use.
        from segments.parquet_files import ParquetTable

        return ParquetTable(path)
    if path.suffix.lower() in (".parquet", ".pq"):
        raise UnreadableTable(f"{path} is no Parquet file, in spite of its name")
    return DelimitedFile(path, on_bytes=on_bytes)


def choose_columns(source: Source, columns: Sequence[str | None]) -> None:
    """Rename and leave out columns: a name for each of the file's, None to leave it out."""
    if len(columns) != source.n_fields:
        raise UnreadableTable(
            f"{source.path} has {source.n_fields:,} columns, and {len(columns):,} were described"
        )
    kept = [(place, name.strip()) for place, name in enumerate(columns) if name is not None]
    if not kept:
        raise UnreadableTable(f"{source.path}: every column is left out")
    source.choose([place for place, _ in kept], [name for _, name in kept])


def file_version(path: Path) -> tuple[int, int]:
    """Return size and time of change: what tells that a file was written to."""
    with explained_failures(path):
        status = path.stat()
    return status.st_size, status.st_mtime_ns


def check_names(path: Path, names: Sequence[str]) -> None:
    """Refuse column names that are absent, repeated, too long or not plain text."""
    if len(names) > MAX_ATTRIBUTES + 1:
        raise UnreadableTable(f"{path} has {len(names):,} columns; {MAX_ATTRIBUTES:,} at most")
    for place, name in enumerate(names, start=1):
        if not name:
            raise UnreadableTable(
                f"{path}: column {place} of {len(names)} has no name (an exported row number?): "
                "name it or leave it out"
            )
        if len(name) > MAX_NAME:
            raise UnreadableTable(
                f"{path}: the name of column {place} is over {MAX_NAME} characters (is a quote "
                "left open in the header?)"
            )
        if BAD_TEXT.search(name):
            raise UnreadableTable(
                f"{path}: the name of column {place} holds a line end, a control or an invisible "
                "character (is a quote left open in the header?)"
            )
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        places = [str(place) for place, other in enumerate(names, start=1) if other == name]
        raise UnreadableTable(f"{path}: columns {', '.join(places)} are all called {name}")


def file_sha256(path: Path) -> str:
    """The digest that the trail keeps of an imported file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
