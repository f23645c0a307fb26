"""The one encoder that training, prediction and drift share: attributes in, float array out."""

import math
from collections.abc import Mapping, Sequence
from operator import attrgetter, itemgetter, methodcaller
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ml.dates import spelled
from ml.features import Feature, FeatureSchema, FloatArray, Kind, RawColumns
from ml.raw_columns import (
    NUMBER_KINDS,
    frame_column,
    raw_column,
    transform,
)
from ml.records import (
    MAX_PROBLEMS,
    NUMBER_LIMIT,
    InvalidRecords,
    RecordProblem,
    RecordTable,
    Scalar,
)

if TYPE_CHECKING:
    import pandas as pd


class FeatureEncoder:
    """Turns records or a frame into raw columns, and raw columns into the array models see.

    Both ways meet in the raw columns, so training, prediction and drift cannot disagree.
    """

    def __init__(self, schema: FeatureSchema) -> None:
        self.schema = schema
        widths = [feature.n_columns for feature in schema.features]
        self._offsets = [sum(widths[:position]) for position in range(len(widths))]
        self._targets = {
            feature.name: _column_targets(feature)
            for feature in schema.features
            if feature.kind is Kind.CATEGORY
        }

    def raw_from_frame(self, frame: "pd.DataFrame") -> RawColumns:
        """Read raw columns from a table; a value of another kind, or out of range, is NaN.

        Parameters
        ----------
        frame : one row a customer; columns that no feature names are ignored, and a feature
            without a column is missing throughout.

        Returns
        -------
        One float64 (n,) array a feature: numbers as they are, booleans 0 or 1, dates in days
        before `as_of`, categories as index into levels + rare levels, -1 for an unseen level.
        """
        raw: RawColumns = {}
        for feature in self.schema.features:
            if feature.name not in frame.columns:
                raw[feature.name] = np.full(len(frame), np.nan)
                continue
            raw[feature.name] = frame_column(feature, frame[feature.name], self.schema.as_of)
        return raw

    def raw_from_records(
        self,
        records: Sequence[Mapping[str, Scalar]],
        *,
        table: RecordTable | None = None,
        strict: bool = True,
    ) -> RawColumns:
        """Read raw columns from checked records, without pandas.

        Parameters
        ----------
        records : flat objects; attributes that no feature names are ignored.
        table : what `check_table` found in the same records: with it this is faster.
        strict : refuse a value of another kind or out of range, and a missing one where training
            had none; otherwise these become NaN.

        Returns
        -------
        As `raw_from_frame`.

        Raises
        ------
        InvalidRecords
            If strict, with codes `missing`, `wrong-type`, `not-a-date`, `not-finite` and
            `out-of-range`, in record order.
        """
        raw: RawColumns = {}
        problems: list[RecordProblem] = []
        n_problems = 0
        for feature in self.schema.features:
            if table is not None and feature.kind is Kind.NUMBER and feature.name in table.numbers:
                raw[feature.name] = table.numbers[feature.name]
                continue
            values = attribute_values(records, table, feature.name)
            column = raw_column(feature, values, self.schema.as_of)
            raw[feature.name] = column
            if strict:
                rows = _problem_rows(feature, values, column)
                n_problems += len(rows)
                # No more of one feature can be among the first of all.
                problems += [problem_of(feature, values, row) for row in rows[:MAX_PROBLEMS]]
        if problems:
            raise InvalidRecords(sorted(problems, key=attrgetter("index")), n_problems)
        return raw

    def missing_required(self, raw: RawColumns) -> NDArray[np.bool_]:
        """Mark rows with a missing value that training never had, bool (n,)."""
        lacking = np.zeros(self._n_rows(raw), dtype=np.bool_)
        for feature in self.schema.features:
            if not feature.imputed:
                lacking |= np.isnan(raw[feature.name])
        return lacking

    def encode(self, raw: RawColumns) -> FloatArray:
        """Fill, transform and scale raw columns.

        Returns
        -------
        float64 (n, n_columns), C-contiguous and finite. A row's values do not depend on the rows
        beside it. An unseen level counts as "other", or as no level at all (all zeros) where
        training had no rare levels; so does a missing one without a column for it.

        Raises
        ------
        ValueError
            If a feature has no raw column, or they differ in length.
        """
        n_rows = self._n_rows(raw)
        encoded = np.zeros((n_rows, self.schema.n_columns))
        for feature, offset in zip(self.schema.features, self._offsets, strict=True):
            values = raw[feature.name]
            if feature.kind is Kind.CATEGORY:
                self._mark_levels(encoded, feature, offset, values)
            else:
                filled = np.where(np.isnan(values), feature.fill, values)
                transformed = transform(filled, log=feature.log)
                encoded[:, offset] = (transformed - feature.mean) / feature.scale
        return encoded

    def encode_frame(self, frame: "pd.DataFrame") -> FloatArray:
        """Encode a table, float64 (n, n_columns)."""
        return self.encode(self.raw_from_frame(frame))

    def encode_records(
        self,
        records: Sequence[Mapping[str, Scalar]],
        *,
        table: RecordTable | None = None,
        strict: bool = True,
    ) -> FloatArray:
        """Encode records, float64 (n, n_columns); the parameters are `raw_from_records`'s."""
        return self.encode(self.raw_from_records(records, table=table, strict=strict))

    def _n_rows(self, raw: RawColumns) -> int:
        for feature in self.schema.features:
            if feature.name not in raw:
                raise ValueError(f"feature {feature.name!r} has no raw column")
        shapes = {raw[feature.name].shape for feature in self.schema.features}
        if len(shapes) > 1 or len(next(iter(shapes))) != 1:
            raise ValueError(f"raw columns must be one-dimensional and of one length, not {shapes}")
        return int(shapes.pop()[0])

    def _mark_levels(
        self, encoded: FloatArray, feature: Feature, offset: int, codes: FloatArray
    ) -> None:
        positions = np.where(np.isnan(codes), -2.0, codes).astype(np.intp)
        columns = self._targets[feature.name][positions]
        rows = np.flatnonzero(columns >= 0)
        encoded[rows, offset + columns[rows]] = 1.0 / feature.scale


def _column_targets(feature: Feature) -> NDArray[np.intp]:
    """Column of each code inside the block; the last two are missing (-2) and unseen (-1)."""
    n_levels = len(feature.levels)
    other = n_levels if feature.rare_levels else -1
    missing = n_levels + bool(feature.rare_levels) if feature.imputed else -1
    rare = [other] * len(feature.rare_levels)
    return np.array([*range(n_levels), *rare, missing, other], dtype=np.intp)


def attribute_values(
    records: Sequence[Mapping[str, Scalar]], table: RecordTable | None, name: str
) -> Sequence[Scalar]:
    """An attribute of each record, None where it is missing."""
    if table is not None and table.columns is not None:
        return table.columns[name] if name in table.columns else [None] * len(records)
    try:
        return list(map(itemgetter(name), records))
    except KeyError:
        return list(map(methodcaller("get", name), records))


def _problem_rows(feature: Feature, values: Sequence[object], column: FloatArray) -> list[int]:
    rows = np.flatnonzero(np.isnan(column)).tolist()
    return [row for row in rows if values[row] is not None] if feature.imputed else rows


def problem_of(feature: Feature, values: Sequence[object], row: int) -> RecordProblem:
    """Why the value in a row could not be read."""
    code, detail = _fault(feature.kind, values[row], feature.date_format)
    return RecordProblem(row, feature.name, code, detail)


def _fault(kind: Kind, value: object, date_format: str | None) -> tuple[str, str]:
    if value is None:
        return "missing", "must be given: training had no missing value here"
    if kind is Kind.DATE and isinstance(value, str):
        written = f" or as {spelled(date_format)}" if date_format else ""
        return "not-a-date", f"must be a date as YYYY-MM-DD{written}"
    if kind is Kind.NUMBER and type(value) in NUMBER_KINDS:
        if isinstance(value, float) and not math.isfinite(value):
            return "not-finite", "must be a finite number"
        return "out-of-range", f"must lie between -{NUMBER_LIMIT:.0e} and {NUMBER_LIMIT:.0e}"
    wanted = {
        Kind.NUMBER: "a number",
        Kind.BOOLEAN: "true or false",
        Kind.CATEGORY: "text",
        Kind.DATE: "a date as text",
    }[kind]
    return "wrong-type", f"must be {wanted}"
