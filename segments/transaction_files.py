"""A file of transactions, read as a stream: whose each row is, of which day, over what amount.

The first pass learns how dates and amounts are written; later passes check and yield the rows.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import compress
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.dates import COMPACT_YEARS, ordinals
from segments.delimited_files import DelimitedFile, RawBatch
from segments.purchases import MAX_AMOUNT
from segments.table_columns import (
    MISSING_TOKENS,
    BadCell,
    ColumnKind,
    ColumnTally,
    Converter,
    ids_from_text,
    ids_from_values,
    text_converter,
    typed_converter,
)
from segments.table_problems import MAX_PROBLEMS, InvalidTable, RowProblem, UnreadableTable
from segments.table_sources import FileProgress, Source, check_names, file_version, open_source
from segments.tables import BATCH_ROWS
from segments.transaction_columns import DateTally, told_columns

FIRST_YEAR, LAST_YEAR = COMPACT_YEARS
FIRST_DAY = date(FIRST_YEAR, 1, 1).toordinal()
LAST_DAY = date(LAST_YEAR, 12, 31).toordinal()
"""Beyond these years a date is a placeholder (0001-01-01, 9999-12-31), not a day of business."""

SCAN_WEIGHT, LEARN_WEIGHT, READ_WEIGHT = 0.02, 0.43, 0.55
"""Shares of the time, as measured: decode, learn how cells are written, check and add up."""


@dataclass(frozen=True, slots=True)
class Transactions:
    """Rows without fault, by column; a customer's occasions are equal where a purchase is one."""

    ids: list[str]
    days: NDArray[np.int64]
    amounts: NDArray[np.float64]
    occasions: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _UsedCells:
    """The cells of a batch that are used, with what was read and what could not be."""

    dates: Sequence[str]
    days: NDArray[np.float64]
    amounts: Sequence[object]
    invoices: Sequence[object] | None
    bad_ids: Mapping[int, BadCell]
    bad_invoices: Mapping[int, BadCell]


class TransactionFile:
    """A readable file of transactions; the counts and problems are those of the pass over `rows`.

    A row without a customer belongs to nobody: it is counted, not checked. Any other row that
    breaks a rule is bad; `n_problems` counts the broken rules.
    """

    def __init__(
        self,
        path: Path,
        *,
        customer_column: str | None = None,
        date_column: str | None = None,
        amount_column: str | None = None,
        invoice_column: str | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        progress = FileProgress(path, on_progress)
        self.path = path
        self._source = open_source(path, progress.part(0.0, SCAN_WEIGHT))
        self._version = file_version(path)
        check_names(path, self._source.names)
        given = {
            "customer": customer_column,
            "date": date_column,
            "amount": amount_column,
            "invoice": invoice_column,
        }
        self.columns = told_columns(path, self._source.names, given)
        self._places = [
            self._source.names.index(name)
            for name in (self.columns.customer, self.columns.date, self.columns.amount)
        ]
        self._is_text = isinstance(self._source, DelimitedFile)
        self._ids = ids_from_text if self._is_text else ids_from_values
        self.notes: list[str] = []
        self._learn(progress.part(SCAN_WEIGHT, LEARN_WEIGHT))
        self._on_bytes = progress.part(SCAN_WEIGHT + LEARN_WEIGHT, READ_WEIGHT)
        self._forget()

    def _forget(self) -> None:
        self.problems: list[RowProblem] = []
        self.n_problems = self.n_bad_rows = self.n_anonymous = 0

    def _learn(self, on_bytes: Callable[[int], None]) -> None:
        tally = ColumnTally(comma_allowed=self._source.delimiter != ",")
        days = DateTally()
        self.n_rows = n_whole = n_named = 0
        for raw in self._source.batches(BATCH_ROWS, on_bytes=on_bytes):
            n_whole += len(raw.lines)
            self.n_rows += len(raw.lines) + len(raw.ragged)
            dates, amounts = self._cells_of_customers(raw)
            n_named += len(dates)
            days.add(_texts(dates))
            if self._is_text:
                tally.add(amounts)  # type: ignore[arg-type]  # text cells
        _require_rows(self._source, n_whole, self.n_rows)
        if not n_named:
            raise UnreadableTable(f"{self.path}: column {self.columns.customer} is empty")
        self.date_format = days.date_format(self.path, self.columns.date)
        self._amounts = self._amount_converter(tally)
        self.notes += days.notes()
        if self._source.encoding == "cp1252":
            self.notes.append("the text is not UTF-8: it is read as Windows-1252")

    def _cells_of_customers(self, raw: RawBatch) -> tuple[Sequence[object], Sequence[object]]:
        """Return dates and amounts of the rows that are somebody's: the others have no say."""
        customers, dates, amounts = (raw.columns[place] for place in self._places)
        ids, _ = self._ids(customers)
        if None not in ids:
            return dates, amounts
        is_named = [cell is not None for cell in ids]
        return list(compress(dates, is_named)), list(compress(amounts, is_named))

    def _amount_converter(self, tally: ColumnTally) -> Converter:
        name = self.columns.amount
        if isinstance(self._source, DelimitedFile):
            learned = tally.learned(comma_file=tally.prefers_comma)
            kind, convert = learned.kind, text_converter(learned)
            if learned.decimal_comma:
                self.notes.append("numbers are read with a decimal comma")
        else:
            kind = self._source.kinds[self._places[2]]
            convert = typed_converter(kind)
        if kind is not ColumnKind.NUMBER:
            raise UnreadableTable(f"{self.path}: column {name} holds no amounts: plain numbers")
        return convert

    def rows(self) -> Iterator[Transactions]:
        """Yield the good rows, counting the others; afterwards the counts and problems stand."""
        self._forget()
        for raw in self._raw_batches(self._on_bytes):
            rows, bad, n_anonymous = self._checked(raw)
            self.n_anonymous += n_anonymous
            self.n_bad_rows += len(bad) + len(raw.ragged)
            found = [problem for problems in bad.values() for problem in problems]
            found += [self._wrong_field_count(row.line, len(row.cells)) for row in raw.ragged]
            self.n_problems += len(found)
            found.sort(key=lambda problem: problem.line)
            self.problems += found[: MAX_PROBLEMS - len(self.problems)]
            yield rows
        self._require_unchanged()

    def require_no_problems(self) -> None:
        """Raise InvalidTable if a row that was read is bad."""
        if self.n_problems:
            raise InvalidTable(self.problems, self.n_problems)

    def _raw_batches(
        self, on_bytes: Callable[[int], None] = lambda n_bytes: None
    ) -> Iterator[RawBatch]:
        self._require_unchanged()
        return self._source.batches(BATCH_ROWS, on_bytes=on_bytes)

    def _require_unchanged(self) -> None:
        if file_version(self.path) != self._version:
            raise UnreadableTable(f"{self.path} changed while it was read: import it anew")

    def _checked(self, raw: RawBatch) -> tuple[Transactions, dict[int, list[RowProblem]], int]:
        """Return the good rows, the problems of the bad ones, and how many are nobody's."""
        customer_place, day_place, amount_place = self._places
        ids, bad_ids = self._ids(raw.columns[customer_place])
        texts = _texts(raw.columns[day_place])
        days = ordinals(texts, self.date_format)
        found, _ = self._amounts(raw.columns[amount_place])
        amounts = np.array(found, dtype=np.float64)
        invoices, bad_invoices = self._invoices(raw)
        is_good = (days >= FIRST_DAY) & (days <= LAST_DAY) & (np.abs(amounts) <= MAX_AMOUNT)
        is_named = _are_present(ids)
        if invoices is not None:
            is_good &= _are_present(invoices)
        for cell in [*bad_ids, *bad_invoices]:
            is_good[cell.index] = False
        for cell in bad_ids:
            is_named[cell.index] = True  # an id that is no id is not an id that is missing
        cells = _UsedCells(
            texts,
            days,
            raw.columns[amount_place],
            invoices,
            _by_row(bad_ids),
            _by_row(bad_invoices),
        )
        bad = {
            row: list(self._problems(raw.lines[row], row, cells))
            for row in np.flatnonzero(is_named & ~is_good).tolist()
        }
        good = np.flatnonzero(is_named & is_good)
        rows = _taken(good, ids, days, amounts, invoices)
        return rows, bad, int(np.count_nonzero(~is_named))

    def _invoices(self, raw: RawBatch) -> tuple[Sequence[object] | None, list[BadCell]]:
        if self.columns.invoice is None:
            return None, []
        return self._ids(raw.columns[self._source.names.index(self.columns.invoice)])

    def _problems(self, line: int, row: int, cells: _UsedCells) -> Iterator[RowProblem]:
        """Yield what is wrong with a bad row."""
        names = self.columns
        if cell := cells.bad_ids.get(row):
            yield RowProblem(line, names.customer, cell.code, cell.detail)
        if fault := _date_fault(cells.dates[row], cells.days[row]):
            yield RowProblem(line, names.date, *fault)
        if fault := self._amount_fault(cells.amounts[row]):
            yield RowProblem(line, names.amount, *fault)
        if cell := cells.bad_invoices.get(row):
            yield RowProblem(line, names.invoice, cell.code, cell.detail)
        elif cells.invoices is not None and cells.invoices[row] is None:
            yield RowProblem(line, names.invoice, "missing-invoice", "has no number")

    def _amount_fault(self, cell: object) -> tuple[str, str] | None:
        values, bad = self._amounts([cell])
        if values[0] is not None and abs(float(values[0])) > MAX_AMOUNT:
            detail = f"an amount must be between {-MAX_AMOUNT:g} and {MAX_AMOUNT:g}"
            return "out-of-range", detail
        if bad:
            return bad[0].code, bad[0].detail
        return ("missing-amount", "has no amount") if values[0] is None else None

    def _wrong_field_count(self, line: int, n_fields: int) -> RowProblem:
        n_columns = len(self._source.names)
        detail = f"has {n_fields:,} fields, the header has {n_columns:,}"
        return RowProblem(line, None, "wrong-field-count", detail)

    def write_rejects(self, target: Path) -> None:
        """Write the bad rows as they stand in the file, after the columns line and problem."""
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=target.parent, delete=False
        ) as file:
            try:
                writer = csv.writer(file, delimiter=self._source.delimiter or ",")
                writer.writerow(["line", "problem", *self._source.names])
                writer.writerows(self._rejected())
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise

    def _rejected(self) -> Iterator[list[object]]:
        for raw in self._raw_batches():
            _, bad, _ = self._checked(raw)
            rows: list[tuple[int, str, list[object]]] = [
                (raw.lines[row], _in_words(problems), [column[row] for column in raw.columns])
                for row, problems in bad.items()
            ]
            rows += [(row.line, "wrong-field-count", list(row.cells)) for row in raw.ragged]
            rows.sort(key=itemgetter(0))
            yield from ([line, words, *cells] for line, words, cells in rows)


def _require_rows(source: Source, n_whole: int, n_rows: int) -> None:
    if not n_rows:
        raise UnreadableTable(f"{source.path} has a header and no rows")
    if not n_whole:
        raise UnreadableTable(
            f"{source.path}: none of the {n_rows:,} rows has {len(source.names)} fields as the "
            "header has: check the header and the delimiter"
        )


def _texts(cells: Sequence[object]) -> list[str]:
    """Return date cells as text, nothing where there is none; a typed file may hold numbers."""
    if set(map(type, cells)) <= {str}:
        return list(map(str.strip, cells))  # type: ignore[arg-type]  # all text, as just seen
    return ["" if cell is None else str(cell).strip() for cell in cells]


def _are_present(cells: Sequence[object]) -> NDArray[np.bool_]:
    if None not in cells:
        return np.ones(len(cells), np.bool_)
    return np.array([cell is not None for cell in cells], dtype=np.bool_)


def _taken(
    good: NDArray[np.intp],
    ids: Sequence[object],
    days: NDArray[np.float64],
    amounts: NDArray[np.float64],
    invoices: Sequence[object] | None,
) -> Transactions:
    """Take the good rows out of a batch."""
    is_all = len(good) == len(ids)
    kept_days = (days if is_all else days[good]).astype(np.int64)
    occasions = kept_days
    if invoices is not None:
        # 64 bits of SipHash under the process's own secret: two invoices of one customer that
        # fall together are not to be expected below a billion, nor can a file be made to do so.
        hashes = np.array(list(map(hash, invoices)), dtype=np.int64)
        occasions = hashes if is_all else hashes[good]
    return Transactions(
        ids=list(ids) if is_all else [ids[row] for row in good],  # type: ignore[arg-type]
        days=kept_days,
        amounts=amounts if is_all else amounts[good],
        occasions=occasions,
    )


def _by_row(cells: Sequence[BadCell]) -> dict[int, BadCell]:
    return {cell.index: cell for cell in cells}


def _date_fault(text: str, day: float) -> tuple[str, str] | None:
    if text in MISSING_TOKENS:
        return "missing-date", "has no date"
    if np.isnan(day):
        return "not-a-date", "not a date, as the rest of the column is"
    if not FIRST_DAY <= day <= LAST_DAY:
        return "out-of-range", f"a date must be in the years {FIRST_YEAR} to {LAST_YEAR}"
    return None


def _in_words(problems: Sequence[RowProblem]) -> str:
    return "; ".join(f"{problem.column}: {problem.code}" for problem in problems)
