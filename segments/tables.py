"""Any customer table, read as a stream: what its columns are, which rows are bad, the good ones.

The first pass learns and checks the whole file; later passes yield rows in bounded memory.
"""

import csv
import difflib
import itertools
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ml.records import ID_FIELD, Scalar
from segments.delimited_files import DelimitedFile, RawBatch
from segments.table_columns import (
    PLAIN_NUMBER,
    BadCell,
    ColumnKind,
    ColumnTally,
    Converter,
    LearnedColumn,
    allowed_bad_cells,
    ids_from_text,
    ids_from_values,
    text_converter,
    typed_converter,
)
from segments.table_problems import (
    MAX_PROBLEMS,
    InvalidTable,
    RowProblem,
    UnreadableTable,
)
from segments.table_sources import (
    FileProgress,
    OnProgress,
    Source,
    check_names,
    choose_columns,
    file_version,
    open_source,
)

if TYPE_CHECKING:
    from segments.parquet_files import ParquetTable

__all__ = [
    "CustomerTable",
    "InvalidTable",
    "RowProblem",
    "TableInfo",
    "UnreadableTable",
    "open_table",
]

BATCH_ROWS = 10_000

ID_NAMES = (
    *(ID_FIELD.replace("_", ""), "clientid", "userid", "accountid", "memberid", "custid", "id"),
    *("customerno", "customernumber", "customernr", "clientno", "clientnumber"),
    *("accountno", "accountnumber", "memberno", "membernumber"),
    *("customer", "client"),
)
"""Names of an id column, without case and punctuation; the first that fits is taken."""

SCAN_WEIGHT, LEARN_WEIGHT, CHECK_WEIGHT = 0.1, 0.6, 0.3
"""Shares of the first pass's time, as measured: read and decode, learn kinds and ids, check."""

Row = tuple[str, dict[str, Scalar]]


@dataclass(frozen=True, slots=True)
class TableInfo:
    """What the first pass found out; `id_column` None means that row numbers are the ids."""

    columns: tuple[str, ...]
    kinds: dict[str, ColumnKind]
    id_column: str | None
    encoding: str | None
    delimiter: str | None
    n_rows: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Learned:
    converters: list[Converter]
    kinds: list[ColumnKind]
    id_index: int | None
    n_rows: int
    is_clean: bool
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Checked:
    """A batch as values; `bad` maps the index of a bad row to its broken rules."""

    ids: list[str]
    columns: list[list[Scalar]]
    bad: dict[int, list[RowProblem]]


class CustomerTable:
    """A checked table: `info` and `problems` are known, the rows are read when asked for.

    `n_problems` counts broken rules, `n_bad_rows` the rows that break one or several.
    """

    def __init__(
        self,
        source: Source,
        learned: _Learned,
        version: tuple[int, int],
        *,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._source = source
        self._learned = learned
        self._version = version
        self._repeats: dict[int, int] = {}
        self.problems: tuple[RowProblem, ...] = ()
        self.n_problems = 0
        self.n_bad_rows = 0
        self.info = TableInfo(
            columns=source.names,
            kinds=dict(zip(source.names, learned.kinds, strict=True)),
            id_column=None if learned.id_index is None else source.names[learned.id_index],
            encoding=source.encoding,
            delimiter=source.delimiter,
            n_rows=learned.n_rows,
            notes=tuple(learned.notes),
        )
        if not learned.is_clean:
            self._check(on_bytes)

    def require_no_problems(self) -> None:
        """Raise InvalidTable if a row is bad."""
        if self.n_problems:
            raise InvalidTable(self.problems, self.n_problems)

    def batches(self, size: int = BATCH_ROWS) -> Iterator[list[Row]]:
        """Yield the good rows as (customer_id, attributes), in file order, `size` at most."""
        names = [name for name in self.info.columns if name != self.info.id_column]
        for raw in self._raw_batches(size):
            batch = self._checked(raw)
            values = zip(*batch.columns, strict=True)
            attributes = map(dict, map(zip, itertools.repeat(names), values))
            rows: Iterator[Row] = zip(batch.ids, attributes, strict=True)
            if batch.bad:
                rows = itertools.compress(rows, (i not in batch.bad for i in range(len(raw.lines))))
            if good := list(rows):
                yield good

    def write_rejects(self, path: str | Path) -> int:
        """Write the bad rows as they stand in the file, after the columns line and problem.

        The two stand first, for a row with too many fields has no end to put them at. The file
        is UTF-8 CSV with the table's delimiter. Returns the number of bad rows.
        """
        target = Path(path)
        if target.exists() and target.samefile(self._source.path):
            raise ValueError(f"{target} is the table itself: name another file for its bad rows")
        n_rows = 0
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=target.parent, delete=False
        ) as file:
            try:
                writer = csv.writer(file, delimiter=self.info.delimiter or ",")
                writer.writerow(["line", "problem", *self.info.columns])
                for row in self._rejected():
                    writer.writerow(row)
                    n_rows += 1
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
        return n_rows

    def _rejected(self) -> Iterator[list[object]]:
        for raw in self._raw_batches(BATCH_ROWS):
            bad = self._checked(raw).bad
            rows = [
                (raw.lines[i], _in_words(bad[i]), [column[i] for column in raw.columns])
                for i in sorted(bad)
            ]
            rows += [(row.line, "wrong-field-count", list(row.cells)) for row in raw.ragged]
            rows.sort(key=itemgetter(0))
            yield from ([line, words, *cells] for line, words, cells in rows)

    def _raw_batches(
        self, size: int, on_bytes: Callable[[int], None] = lambda n_bytes: None
    ) -> Iterator[RawBatch]:
        if file_version(self._source.path) != self._version:
            raise UnreadableTable(f"{self._source.path} changed after it was checked: open it anew")
        return self._source.batches(size, on_bytes=on_bytes)

    def _check(self, on_bytes: Callable[[int], None]) -> None:
        """Find every problem, and the rows that repeat an id."""
        seen = _SeenIds()
        kept: list[RowProblem] = []
        for raw in self._raw_batches(BATCH_ROWS, on_bytes):
            if (index := self._learned.id_index) is not None:
                ids, _ = self._learned.converters[index](raw.columns[index])
                self._repeats.update(seen.add(ids, raw.lines))
            bad = self._checked(raw).bad
            self.n_bad_rows += len(bad) + len(raw.ragged)
            found = [problem for row in bad.values() for problem in row]
            n_fields = self._source.n_fields
            found += [_wrong_field_count(r.line, len(r.cells), n_fields) for r in raw.ragged]
            self.n_problems += len(found)
            if len(kept) < MAX_PROBLEMS:
                kept += sorted(found, key=lambda problem: problem.line)
        self.problems = tuple(kept[:MAX_PROBLEMS])

    def _checked(self, raw: RawBatch) -> _Checked:
        bad: dict[int, list[RowProblem]] = {}
        columns: list[list[Scalar]] = []
        for name, convert, cells in zip(
            self.info.columns, self._learned.converters, raw.columns, strict=True
        ):
            values, bad_cells = convert(cells)
            columns.append(values)
            for cell in bad_cells:
                _note(bad, raw, name, cell)
        ids = self._ids(raw, columns, bad)
        return _Checked(ids, columns, bad)

    def _ids(
        self,
        raw: RawBatch,
        columns: list[list[Scalar]],
        bad: dict[int, list[RowProblem]],
    ) -> list[str]:
        """Take the ids out of the columns; a row without one, or with one seen before, is bad."""
        index = self._learned.id_index
        if index is None:
            return list(map(str, raw.numbers))
        name = self.info.columns[index]
        ids = columns.pop(index)
        if None in ids:
            for row in (i for i, customer_id in enumerate(ids) if customer_id is None):
                if row not in bad or all(problem.column != name for problem in bad[row]):
                    _note(bad, raw, name, BadCell(row, "missing-id", "has no id"))
        if self._repeats:
            for row in (i for i, line in enumerate(raw.lines) if line in self._repeats):
                first = self._repeats[raw.lines[row]]
                text = f"repeats the id of line {first:,}"
                _note(bad, raw, name, BadCell(row, "duplicate-id", text))
        return ids  # type: ignore[return-value]  # text wherever the row is not bad


class _SeenIds:
    """The ids met so far, with the line each was first met on."""

    def __init__(self) -> None:
        self.lines: dict[Scalar, int] = {}

    def add(self, ids: Sequence[Scalar], lines: Sequence[int]) -> dict[int, int]:
        """Return line -> first line for the ids met before."""
        new = set(ids)
        if len(new) == len(ids) and None not in new and self.lines.keys().isdisjoint(new):
            self.lines.update(zip(ids, lines, strict=True))
            return {}
        repeats = {}
        for customer_id, line in zip(ids, lines, strict=True):
            if customer_id is None:
                continue
            first = self.lines.setdefault(customer_id, line)
            if first != line:
                repeats[line] = first
        return repeats


class _IdCandidate:
    """A column that may hold the ids, and what speaks against it."""

    def __init__(self, index: int, convert: Converter) -> None:
        self.index = index
        self.convert = convert
        self.flaw = ""
        self._n_cells = 0
        self._n_flawed = 0
        self._seen = _SeenIds()

    @property
    def is_sound(self) -> bool:
        """Whether so few cells are flawed that their rows are bad, and not the choice of column."""
        return self._n_flawed <= allowed_bad_cells(self._n_cells)

    def add(self, raw: RawBatch) -> None:
        """Count the cells of a batch that are no id, and keep the first flaw in words."""
        ids, bad = self.convert(raw.columns[self.index])
        repeats = self._seen.add(ids, raw.lines)
        self._n_cells += len(ids)
        if not bad and not repeats and None not in ids:
            return
        flawed = {line for line, customer_id in zip(raw.lines, ids, strict=True) if not customer_id}
        flawed.update(repeats, (raw.lines[cell.index] for cell in bad))
        self._n_flawed += len(flawed)
        if self.flaw:
            return
        if None in ids:
            self.flaw = f"line {raw.lines[ids.index(None)]:,} has none"
        elif bad:
            self.flaw = f"line {raw.lines[bad[0].index]:,}: {bad[0].detail}"
        else:
            line, first = next(iter(repeats.items()))
            self.flaw = f"line {line:,} repeats that of line {first:,}"


def open_table(
    path: str | Path,
    *,
    id_column: str | None = None,
    columns: Sequence[str | None] | None = None,
    on_progress: OnProgress | None = None,
) -> CustomerTable:
    """Read the whole file once or twice: learn its columns and ids, and find its bad rows.

    `columns` are names for all columns of the file in their order, None for one to leave out;
    `id_column` names the column of ids; without it one is told by its name and its cells.
    `on_progress` gets bytes done and bytes in all. Raises UnreadableTable.
    """
    path = Path(path)
    progress = FileProgress(path, on_progress)
    source = open_source(path, progress.part(0.0, SCAN_WEIGHT))
    version = file_version(path)
    if columns is not None:
        choose_columns(source, columns)
    check_names(path, source.names)
    on_bytes = progress.part(SCAN_WEIGHT, LEARN_WEIGHT)
    given = _given_id(path, source.names, id_column)
    if isinstance(source, DelimitedFile):
        learned = _learn_text(source, given, on_bytes)
    else:
        learned = _learn_typed(source, given, on_bytes)
    if len(source.names) == 1 and learned.id_index is not None:
        raise UnreadableTable(f"{path} has no column besides the ids: there is nothing to learn")
    table = CustomerTable(
        source, learned, version, on_bytes=progress.part(SCAN_WEIGHT + LEARN_WEIGHT, CHECK_WEIGHT)
    )
    progress.finish()
    return table


def _given_id(path: Path, names: Sequence[str], id_column: str | None) -> int | None:
    """Return the place of the id column that was named, by the caller or by the file itself."""
    if id_column is None:
        return names.index(ID_FIELD) if ID_FIELD in names else None
    name = id_column.strip()
    if name not in names:
        by_lower = {other.lower(): other for other in names}
        near = difflib.get_close_matches(name.lower(), by_lower, n=1)
        hint = f"; did you mean {by_lower[near[0]]}?" if near else ""
        raise UnreadableTable(f"{path} has no column {name}{hint} It has: {', '.join(names)}")
    if name != ID_FIELD and ID_FIELD in names:
        raise UnreadableTable(
            f"{path} has a column {ID_FIELD} beside the id column {name}: that name is kept for "
            "the id, so rename the column, leave it out, or take it as the id"
        )
    return names.index(name)


def _candidates(names: Sequence[str], given: int | None, convert: Converter) -> list[_IdCandidate]:
    """Return the columns that may hold the ids, the most likely first."""
    if given is not None:
        return [_IdCandidate(given, convert)]
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    ranked = sorted(
        (ID_NAMES.index(name), index) for index, name in enumerate(plain) if name in ID_NAMES
    )
    return [_IdCandidate(index, convert) for _, index in ranked]


def _chosen_id(
    names: Sequence[str], given: int | None, candidates: Sequence[_IdCandidate], n_rows: int
) -> tuple[int | None, list[str]]:
    """Return the id column and what to tell about the choice."""
    if given is not None:
        return given, []
    notes: list[str] = []
    for candidate in candidates:
        if candidate.is_sound:
            return candidate.index, notes
        notes.append(f"{names[candidate.index]} is not taken as the id: {candidate.flaw}")
    return None, [*notes, f"no id column: rows are numbered 1 to {n_rows:,}"]


def _learn_text(
    source: DelimitedFile, given: int | None, on_bytes: Callable[[int], None]
) -> _Learned:
    comma_allowed = source.delimiter != ","
    tallies = [ColumnTally(comma_allowed=comma_allowed) for _ in source.names]
    candidates = _candidates(source.names, given, ids_from_text)
    n_whole = n_ragged = 0
    for raw in source.batches(BATCH_ROWS, on_bytes=on_bytes):
        n_whole += len(raw.lines)
        n_ragged += len(raw.ragged)
        for tally, cells in zip(tallies, raw.columns, strict=True):
            tally.add(cells)  # type: ignore[arg-type]  # text cells, by construction
        for candidate in candidates:
            candidate.add(raw)
    _check_rows(source, n_whole, n_ragged)
    index, notes = _chosen_id(source.names, given, candidates, n_whole + n_ragged)
    comma_file = any(tally.prefers_comma for tally in tallies)
    columns = [tally.learned(comma_file=comma_file) for tally in tallies]
    if index is not None:
        columns[index] = LearnedColumn(ColumnKind.TEXT, False, False, 0)
    converters = list(map(text_converter, columns))
    if index is not None:
        converters[index] = ids_from_text
    is_flawed = any(column.n_bad for column in columns) or any(
        tally.has_bad_text for tally in tallies
    )
    has_sound_ids = index is None or not any(c.flaw for c in candidates if c.index == index)
    return _Learned(
        converters=converters,
        kinds=[column.kind for column in columns],
        id_index=index,
        n_rows=n_whole + n_ragged,
        is_clean=not n_ragged and not is_flawed and has_sound_ids,
        notes=_reading_notes(source, columns) + notes,
    )


def _check_rows(source: DelimitedFile, n_whole: int, n_ragged: int) -> None:
    if not n_whole and not n_ragged:
        raise UnreadableTable(f"{source.path} has a header and no rows")
    if not n_whole:
        raise UnreadableTable(
            f"{source.path}: none of the {n_ragged:,} rows has {len(source.names)} fields as the "
            "header has: check the header and the delimiter"
        )


def _reading_notes(source: DelimitedFile, columns: Sequence[LearnedColumn]) -> list[str]:
    notes = []
    if source.encoding == "cp1252":
        notes.append("the text is not UTF-8: it is read as Windows-1252")
    if any(column.decimal_comma for column in columns):
        notes.append("numbers are read with a decimal comma")
    if all(map(PLAIN_NUMBER.fullmatch, source.names)):
        notes.append("the first line holds numbers alone: it is read as the column names")
    return notes


def _learn_typed(
    source: "ParquetTable", given: int | None, on_bytes: Callable[[int], None]
) -> _Learned:
    if not source.n_rows:
        raise UnreadableTable(f"{source.path} has columns and no rows")
    if given is not None and source.kinds[given] is ColumnKind.BOOLEAN:
        raise UnreadableTable(f"{source.path}: column {source.names[given]} is boolean: no id")
    candidates = _candidates(source.names, given, ids_from_values)
    candidates = [c for c in candidates if source.kinds[c.index] is not ColumnKind.BOOLEAN]
    for raw in source.batches(BATCH_ROWS, on_bytes=on_bytes) if candidates else ():
        for candidate in candidates:
            candidate.add(raw)
    index, notes = _chosen_id(source.names, given, candidates, source.n_rows)
    kinds = list(source.kinds)
    converters = list(map(typed_converter, kinds))
    if index is not None:
        kinds[index] = ColumnKind.TEXT
        converters[index] = ids_from_values
    # The types say nothing on the size of numbers and on texts: the check always has to look.
    return _Learned(converters, kinds, index, source.n_rows, False, notes)


def _note(bad: dict[int, list[RowProblem]], raw: RawBatch, name: str, cell: BadCell) -> None:
    problem = RowProblem(raw.lines[cell.index], name, cell.code, cell.detail)
    bad.setdefault(cell.index, []).append(problem)


def _wrong_field_count(line: int, n_fields: int, n_columns: int) -> RowProblem:
    detail = f"has {n_fields:,} fields, the header has {n_columns:,}"
    return RowProblem(line, None, "wrong-field-count", detail)


def _in_words(problems: Sequence[RowProblem]) -> str:
    return "; ".join(f"{problem.column}: {problem.code}" for problem in problems)
