"""The beginning of an uploaded table, before anything is imported: bounded, whatever the file is.

A sample of the file is read by the very code that imports, so kinds, ids and problems are those
that the import finds in these rows; what lies beyond them is not known yet.
"""

from __future__ import annotations

import codecs
import gzip
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ml.records import MAX_ATTRIBUTES
from segments.delimited_files import DelimitedFile
from segments.importing import refuse_to_renumber
from segments.models import Customer
from segments.table_columns import MISSING_TOKENS, ColumnKind
from segments.table_problems import RowProblem, UnreadableTable, explained_failures
from segments.table_sources import PARQUET_MAGIC, check_names, open_source
from segments.tables import BATCH_ROWS, CustomerTable, open_table

SAMPLE_BYTES = 512 * 1024
SAMPLE_ROWS = 5_000
SHOWN_ROWS = 10
MAX_CELL = 60
"""Characters of a cell that are shown."""
LOOKED_UP_IDS = 1_000
MAX_MAPPED = 300
"""Columns that can be renamed and left out: each is two fields of a form, which takes 1,000."""
DELIMITER_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
ENCODING_WORDS = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16",
    "cp1252": "Windows-1252",
}


@dataclass(frozen=True, slots=True)
class SampleColumn:
    """A column of the file as it stands; `kind` is None where it is left out or cannot be told.

    `attribute` is what it becomes of a customer; empty for ids and where it is left out.
    """

    name: str
    attribute: str
    kind: ColumnKind | None
    missing_share: float
    cells: list[str]
    is_id: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """What importing would make of the sample; `error` says why it would take nothing.

    Of the first `n_ids` ids, `n_known` are stored already.
    """

    format: str
    n_rows: int
    is_whole: bool
    columns: list[SampleColumn]
    error: str = ""
    id_column: str | None = None
    n_ids: int = 0
    n_known: int = 0
    n_problems: int = 0
    n_bad_rows: int = 0
    problems: Sequence[RowProblem] = field(default=())
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class _Raw:
    format: str
    names: tuple[str, ...]
    n_rows: int
    missing: list[int]
    cells: list[list[str]]


def require_readable(path: Path) -> None:
    """Raise `UnreadableTable` for a file that no choice of columns makes a table of."""
    with _sample(path) as (sample, _):
        _raw(path, sample)


def preview(
    path: Path, *, id_column: str | None = None, columns: Sequence[str | None] | None = None
) -> Preview:
    """Look at the beginning of a file, its columns chosen as `open_table` has them.

    One query for the ids, and two where rows are numbered. Raises `UnreadableTable` as
    `require_readable` does.
    """
    with _sample(path) as (sample, is_whole):
        raw = _raw(path, sample)
        try:
            table = open_table(sample, id_column=id_column, columns=columns)
            if table.info.id_column is None:
                refuse_to_renumber(path, table.info.notes)
            ids = _first_ids(table)
        except UnreadableTable as error:
            shown = _columns(raw, columns, None)
            words = str(error).replace(str(sample), path.name).replace(str(path), path.name)
            return Preview(raw.format, raw.n_rows, is_whole, shown, error=words)
        return Preview(
            raw.format,
            raw.n_rows,
            is_whole,
            _columns(raw, columns, table),
            id_column=table.info.id_column,
            n_ids=len(ids),
            n_known=Customer.objects.filter(pk__in=ids).count(),
            n_problems=table.n_problems,
            n_bad_rows=table.n_bad_rows,
            problems=table.problems,
            notes=table.info.notes,
        )


def _first_ids(table: CustomerTable) -> list[str]:
    rows = itertools.chain.from_iterable(table.batches())
    return [customer_id for customer_id, _ in itertools.islice(rows, LOOKED_UP_IDS)]


def _columns(
    raw: _Raw, columns: Sequence[str | None] | None, table: CustomerTable | None
) -> list[SampleColumn]:
    chosen = raw.names if columns is None else columns
    kinds = {} if table is None else table.info.kinds
    id_column = None if table is None else table.info.id_column
    called = [None if new is None else new.strip() for new in chosen]
    return [
        SampleColumn(
            name,
            "" if new is None or new == id_column else new,
            None if new is None else kinds.get(new),
            raw.missing[place] / max(raw.n_rows, 1),
            raw.cells[place],
            is_id=new is not None and new == id_column,
        )
        for place, (name, new) in enumerate(zip(raw.names, called, strict=True))
    ]


def _raw(path: Path, sample: Path) -> _Raw:
    """The sample as the file has it, whatever its columns are called."""
    try:
        source = open_source(sample, lambda n_bytes: None)
        if source.n_fields > min(MAX_MAPPED, MAX_ATTRIBUTES):
            check_names(sample, source.names)
        missing = [0] * source.n_fields
        cells: list[list[str]] = [[] for _ in missing]
        n_rows = 0
        for batch in source.batches(BATCH_ROWS, on_bytes=lambda n_bytes: None):
            n_rows += len(batch.lines) + len(batch.ragged)
            for place, column in enumerate(batch.columns):
                texts = ["" if cell is None else str(cell).strip() for cell in column]
                missing[place] += sum(text in MISSING_TOKENS for text in texts)
                cells[place] += map(_cut, texts[: SHOWN_ROWS - len(cells[place])])
        if not n_rows:
            raise UnreadableTable(f"{sample} has a header and no rows")
    except UnreadableTable as error:
        raise UnreadableTable(str(error).replace(str(sample), path.name)) from error
    return _Raw(_format_words(source), source.names, n_rows, missing, cells)


def _format_words(source: object) -> str:
    if not isinstance(source, DelimitedFile):
        return "Parquet"
    packed = ", gzipped" if source.gzipped else ""
    encoding = ENCODING_WORDS.get(source.encoding, source.encoding)
    return f"Text separated by {DELIMITER_WORDS[source.delimiter]}, {encoding}{packed}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


@contextmanager
def _sample(path: Path) -> Iterator[tuple[Path, bool]]:
    """The first rows of the file as a file of their own, and whether these are all."""
    with (
        explained_failures(path),
        tempfile.TemporaryDirectory(prefix="look-", dir=path.parent) as directory,
    ):
        sample = Path(directory) / path.name
        with path.open("rb") as file:
            is_parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
        yield sample, (_copy_rows if is_parquet else _copy_text)(path, sample)


def _copy_rows(path: Path, sample: Path) -> bool:
    # A web process that never sees Parquet does without the library.
    from segments.parquet_files import copy_first_rows

    return copy_first_rows(path, sample, n_rows=SAMPLE_ROWS)


def _copy_text(path: Path, sample: Path) -> bool:
    with path.open("rb") as file:
        is_gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        opened = gzip.GzipFile(fileobj=file) if is_gzipped else file
        start = opened.read(SAMPLE_BYTES)
        is_whole = not opened.read(1)
    if not is_whole:
        start = _whole_lines(path, start)
    packed = gzip.compress(start, compresslevel=1) if is_gzipped else start
    sample.write_bytes(packed)
    return is_whole


def _whole_lines(path: Path, start: bytes) -> bytes:
    """Cut after the last line end that is not inside quotes, as far as can be told."""
    wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if wide:
        decoder = codecs.getincrementaldecoder("utf-16")()
        start = decoder.decode(start).encode()
    place = last = start.rfind(b"\n")
    while place > 0 and start.count(b'"', 0, place) % 2 and last - place < SAMPLE_BYTES // 4:
        place = start.rfind(b"\n", 0, place)
    if place <= 0 or start.count(b'"', 0, place) % 2:
        place = last
    if place < 0:
        raise UnreadableTable(
            f"{path} has no line end in its first {SAMPLE_BYTES // 1024} kB: it is no table of rows"
        )
    start = start[: place + 1]
    return start.decode().encode("utf-16") if wide else start
