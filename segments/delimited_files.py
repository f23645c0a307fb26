"""Delimited text files (CSV, TSV, semicolons, pipes; gzipped or not) as a stream of batches.

A row is one record, which may span lines inside quotes; a ragged row has too few or many fields.
"""

import codecs
import csv
import gzip
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol, TextIO

from segments.table_problems import UnreadableTable, explained_failures

DELIMITERS = ("\t", ";", "|", ",")
"""In order of trust when two split the first rows equally well: a comma is also a decimal sign."""

SAMPLE_BYTES = 64 * 1024
CHUNK_BYTES = 1024 * 1024

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A line is read whole, so its length bounds the memory that a hostile file can take."""

MIN_CONTROL_BYTES = 8
MAX_CONTROL_SHARE = 0.02
"""Random bytes hold a tenth of control bytes, text next to none: beyond both it is no text."""

_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\r\x0b\x0c\x1a\x1b"))
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GZIP_MAGIC = b"\x1f\x8b"
_OTHER_FORMATS = (
    (b"PK\x03\x04", "an Excel workbook or a zip file: save the sheet as CSV, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
    (b"%PDF", "a PDF: export the table as CSV"),
    (b"SQLite format 3\x00", "an SQLite database: export the table as CSV"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it, or use gzip"),
    (b"BZh", "compressed with bzip2: unpack it, or use gzip"),
    (b"\xfd7zXZ\x00", "compressed with xz: unpack it, or use gzip"),
)
_END = "\x00end of table\x00"
"""Fed to the parser after the last line: it comes back alone, unless a quote was left open."""


@dataclass(frozen=True, slots=True)
class RaggedRow:
    """A row whose number of fields is not that of the header."""

    line: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Rows as the file has them, by column; `numbers` count all rows of the file from 1."""

    lines: list[int]
    numbers: list[int]
    columns: list[list[object]]
    ragged: list[RaggedRow]


class _Reader(Protocol):
    """What csv.reader returns."""

    @property
    def line_num(self) -> int: ...
    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...


class DelimitedFile:
    """A delimited file whose encoding, delimiter and header are known."""

    def __init__(self, path: Path, *, on_bytes: Callable[[int], None]) -> None:
        self.path = path
        self.gzipped = _is_gzipped(path)
        self.encoding = self._detect_encoding(on_bytes)
        self.delimiter = self._detect_delimiter()
        self.names = self._header()
        self.n_fields = len(self.names)
        self._chosen: Sequence[int] | None = None

    def choose(self, places: Sequence[int], names: Sequence[str]) -> None:
        """Take only the fields at these places, under these names."""
        self._chosen, self.names = places, tuple(names)

    def batches(self, size: int, *, on_bytes: Callable[[int], None]) -> Iterator[RawBatch]:
        """Yield the rows below the header, in file order, up to `size` at a time."""
        number = 0
        with explained_failures(self.path):
            for lines, rows in self._records(size, on_bytes):
                batch = _batch(lines, rows, self.n_fields, number)
                number += len(batch.lines) + len(batch.ragged)
                if self._chosen is not None:
                    batch = replace(batch, columns=[batch.columns[i] for i in self._chosen])
                yield batch

    def _detect_encoding(self, on_bytes: Callable[[int], None]) -> str:
        with (
            explained_failures(self.path),
            _open_bytes(self.path, gzipped=self.gzipped) as (stream, raw),
        ):
            sample = stream.read(SAMPLE_BYTES)
            marked = [name for mark, name in _BYTE_ORDER_MARKS if sample.startswith(mark)]
            encoding = marked[0] if marked else "utf-8"
            _refuse_other_formats(self.path, sample, is_wide=encoding == "utf-16")
            chunks = itertools.chain([sample], iter(lambda: stream.read(CHUNK_BYTES), b""))
            decodes = _scan(self.path, chunks, encoding, lambda: on_bytes(raw.tell()))
        if not decodes and not marked:
            return "cp1252"
        return encoding

    def _detect_delimiter(self) -> str:
        with explained_failures(self.path), self._open_text() as (stream, _):
            sample = stream.read(SAMPLE_BYTES)
            is_cut = bool(stream.read(1))
        if is_cut and "\n" in sample:
            sample = sample[: sample.rindex("\n") + 1]
        fits = {delimiter: _fit(sample, delimiter) for delimiter in DELIMITERS}
        return max(fits, key=fits.__getitem__) if any(fits.values()) else ","

    def _header(self) -> tuple[str, ...]:
        with explained_failures(self.path), self._open_text() as (stream, _):
            header = next((row for row in self._reader(stream) if not _is_blank(row)), None)
        if header is None:
            raise UnreadableTable(f"{self.path} is empty: a header line and rows are needed")
        return tuple(map(str.strip, header))

    def _records(
        self, size: int, on_bytes: Callable[[int], None]
    ) -> Iterator[tuple[list[int], list[list[str]]]]:
        """Yield rows with the line each begins on; the header and blank lines are left out."""
        with self._open_text() as (stream, raw):
            reader = self._reader(itertools.chain(stream, [_END]))
            self._skip_header(reader)
            while True:
                lines, rows = self._take(reader, size)
                is_last = bool(rows) and rows[-1] == [_END]
                if is_last:
                    del lines[-1], rows[-1]
                elif len(rows) < size:
                    raise self._open_quote(lines[-1] if lines else reader.line_num)
                on_bytes(raw.tell())
                yield lines, rows
                if is_last:
                    return

    def _take(self, reader: _Reader, size: int) -> tuple[list[int], list[list[str]]]:
        lines: list[int] = []
        rows: list[list[str]] = []
        line = reader.line_num + 1
        try:
            for row in itertools.islice(reader, size):
                lines.append(line)
                rows.append(row)
                line = reader.line_num + 1
        except csv.Error as error:
            raise self._open_quote(line) from error
        return lines, rows

    def _open_quote(self, line: int) -> UnreadableTable:
        return UnreadableTable(
            f"{self.path}, line {line:,}: a quoted field begins here and is never closed "
            f"(or a field is over {csv.field_size_limit():,} characters); close the quote"
        )

    def _skip_header(self, reader: _Reader) -> None:
        for row in reader:
            if not _is_blank(row):
                return

    def _reader(self, lines: Iterator[str] | TextIO) -> _Reader:
        return csv.reader(lines, delimiter=self.delimiter, skipinitialspace=True)

    @contextmanager
    def _open_text(self) -> Iterator[tuple[TextIO, BinaryIO]]:
        # newline="": the csv module must see the line ends inside quotes as they are.
        with (
            _open_bytes(self.path, gzipped=self.gzipped) as (stream, raw),
            io.TextIOWrapper(stream, encoding=self.encoding, newline="") as text,
        ):
            yield text, raw


def _is_gzipped(path: Path) -> bool:
    with explained_failures(path), path.open("rb") as stream:
        magic = stream.read(len(_GZIP_MAGIC))
    if path.suffix.lower() == ".gz" and magic and magic != _GZIP_MAGIC:
        raise UnreadableTable(f"{path} is named .gz and is no gzip file: rename it, or compress it")
    return magic == _GZIP_MAGIC


@contextmanager
def _open_bytes(path: Path, *, gzipped: bool) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open the bytes of the table, and beside them the file itself, whose position is progress."""
    with path.open("rb") as raw:
        if gzipped:
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                yield unpacked, raw  # type: ignore[misc]  # a GzipFile reads like a file
        else:
            yield raw, raw


def _refuse_other_formats(path: Path, sample: bytes, *, is_wide: bool) -> None:
    for magic, advice in _OTHER_FORMATS:
        if sample.startswith(magic):
            raise UnreadableTable(f"{path} is {advice}")
    n_control = len(sample) - len(sample.translate(None, _CONTROL_BYTES))
    is_binary = n_control >= MIN_CONTROL_BYTES and n_control > MAX_CONTROL_SHARE * len(sample)
    if is_binary and not is_wide:
        raise UnreadableTable(f"{path} is a binary file, not text: save the table as UTF-8 CSV")


def _scan(path: Path, chunks: Iterator[bytes], encoding: str, on_chunk: Callable[[], None]) -> bool:
    """Read the file once: is it valid in this encoding, are its lines of a sane length?"""
    decoder = codecs.getincrementaldecoder(encoding)()
    is_marked = encoding != "utf-8"
    decodes = True
    n_since_line_end = 0
    for chunk in chunks:
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
        n_since_line_end = len(chunk) - end - 1 + (n_since_line_end if end < 0 else 0)
        if n_since_line_end > MAX_LINE_BYTES:
            limit = MAX_LINE_BYTES // 1024**2
            raise UnreadableTable(f"{path} has a line over {limit} MB: it is no table of rows")
        decodes = decodes and _decodes(decoder, chunk, is_marked=is_marked)
        on_chunk()
    return decodes and _decodes(decoder, b"", is_marked=is_marked, final=True)


def _decodes(
    decoder: codecs.IncrementalDecoder, chunk: bytes, *, is_marked: bool, final: bool = False
) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        if is_marked:  # the byte order mark says what it must be: there is no second guess
            raise
        return False
    return True


def _fit(sample: str, delimiter: str) -> float:
    """Return how well a delimiter splits: separators in the header x share of rows like it."""
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        counts = [len(row) for row in reader if not _is_blank(row)]
    except csv.Error:
        return 0.0
    return (counts[0] - 1) * counts.count(counts[0]) / len(counts) if counts else 0.0


def _is_blank(row: list[str]) -> bool:
    return not row or (len(row) == 1 and not row[0].strip())


def _batch(lines: list[int], rows: list[list[str]], n_columns: int, n_before: int) -> RawBatch:
    """Put whole rows into columns and ragged ones aside; blank lines are no rows."""
    ragged: list[RaggedRow] = []
    numbers = list(range(n_before + 1, n_before + len(rows) + 1))
    if set(map(len, rows)) - {n_columns}:
        found = [pair for pair in zip(lines, rows, strict=True) if _counts(pair[1], n_columns)]
        numbered = [(n_before + n, line, row) for n, (line, row) in enumerate(found, start=1)]
        ragged = [RaggedRow(line, row) for _, line, row in numbered if len(row) != n_columns]
        numbers = [number for number, _, row in numbered if len(row) == n_columns]
        lines = [line for _, line, row in numbered if len(row) == n_columns]
        rows = [row for _, _, row in numbered if len(row) == n_columns]
    columns = list(map(list, zip(*rows, strict=True))) if rows else [[] for _ in range(n_columns)]
    return RawBatch(lines, numbers, columns, ragged)


def _counts(row: list[str], n_columns: int) -> bool:
    """Whether a row counts: in a table of one column an empty cell in quotes does."""
    return len(row) == 1 if n_columns == 1 else not _is_blank(row)
