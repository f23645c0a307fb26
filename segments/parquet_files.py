"""Parquet files as a stream of batches, with the kinds that the file itself declares.

Dates, moments and times of day become ISO text; decimals become numbers.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from segments.delimited_files import RawBatch
from segments.table_columns import ColumnKind
from segments.table_problems import UnreadableTable, explained_failures


class ParquetTable:
    """A Parquet file whose columns are known to be flat numbers, booleans, texts or dates."""

    encoding: str | None = None
    delimiter: str | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explained(path), pq.ParquetFile(path) as file:
            self._schema: Sequence[pa.Field] = list(file.schema_arrow)
            self.n_rows: int = file.metadata.num_rows
        self.names = tuple(field.name.strip() for field in self._schema)
        self.n_fields = len(self.names)
        self._chosen: Sequence[int] = range(self.n_fields)

    def choose(self, places: Sequence[int], names: Sequence[str]) -> None:
        """Take only the columns at these places, under these names."""
        self._chosen, self.names = places, tuple(names)

    @property
    def kinds(self) -> list[ColumnKind]:
        """Of the columns taken. Raises UnreadableTable for one that is not flat."""
        return [_kind(self.path, self._schema[place]) for place in self._chosen]

    def batches(self, size: int, *, on_bytes: Callable[[int], None]) -> Iterator[RawBatch]:
        """Yield the rows in file order, up to `size` at a time; the row number is the line."""
        n_bytes = self.path.stat().st_size
        n_done = 0
        with _explained(self.path), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=size):
                numbers = list(range(n_done + 1, n_done + batch.num_rows + 1))
                n_done += batch.num_rows
                on_bytes(n_bytes * n_done // self.n_rows)
                columns = [_values(batch.column(place)) for place in self._chosen]
                yield RawBatch(numbers, numbers, columns, [])


def copy_first_rows(path: Path, target: Path, *, n_rows: int) -> bool:
    """Write the first rows to a file of their own; whether these are all."""
    with _explained(path), pq.ParquetFile(path) as file:
        rows = list(itertools.islice(file.iter_batches(batch_size=n_rows), 1))
        pq.write_table(pa.Table.from_batches(rows, file.schema_arrow), target)
        return bool(file.metadata.num_rows <= n_rows)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Also word what pyarrow raises on a damaged file."""
    with explained_failures(path):
        try:
            yield
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
            text = str(error).splitlines()[0]
            raise UnreadableTable(f"{path}: not a sound Parquet file ({text})") from error


def _kind(path: Path, field: pa.Field) -> ColumnKind:
    value_type = _value_type(field.type)
    if pt.is_boolean(value_type):
        return ColumnKind.BOOLEAN
    if pt.is_integer(value_type) or pt.is_floating(value_type) or pt.is_decimal(value_type):
        return ColumnKind.NUMBER
    if _is_text(value_type) or pt.is_null(value_type) or _is_temporal(value_type):
        return ColumnKind.TEXT
    raise UnreadableTable(
        f"{path}: column {field.name} holds {field.type} values; numbers, booleans, text and "
        "dates can be read: leave the column out, or convert it"
    )


def _value_type(arrow_type: pa.DataType) -> pa.DataType:
    return arrow_type.value_type if pt.is_dictionary(arrow_type) else arrow_type


def _is_text(arrow_type: pa.DataType) -> bool:
    is_text = pt.is_string(arrow_type) or pt.is_large_string(arrow_type)
    return bool(is_text or pt.is_string_view(arrow_type))


def _is_temporal(arrow_type: pa.DataType) -> bool:
    is_day_or_moment = pt.is_date(arrow_type) or pt.is_timestamp(arrow_type)
    return bool(is_day_or_moment or pt.is_time(arrow_type))


def _values(array: pa.Array) -> list[object]:
    """Return the cells as Python values, None where there is none."""
    if pt.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pt.is_timestamp(array.type):  # Python's datetime ends at the microsecond
        array = array.cast(pa.timestamp("us", array.type.tz), safe=False)
    if pt.is_time64(array.type):
        array = array.cast(pa.time64("us"), safe=False)
    is_plain = pt.is_integer(array.type) or pt.is_floating(array.type)
    if is_plain and array.null_count == 0:
        return array.to_numpy(zero_copy_only=False).tolist()
    values = array.to_pylist()
    if _is_temporal(array.type):
        return [None if value is None else value.isoformat() for value in values]
    if pt.is_decimal(array.type):
        return _numbers_from_decimals(values, whole=array.type.scale <= 0)
    return values


def _numbers_from_decimals(values: Sequence[object], *, whole: bool) -> list[object]:
    number: Callable[[object], object] = int if whole else float  # type: ignore[assignment]
    return [None if value is None else number(value) for value in values]
