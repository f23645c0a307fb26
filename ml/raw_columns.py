"""From an attribute's values to a raw column: floats in the attribute's own unit, NaN for missing.

Records and frames meet here, so training, prediction and drift cannot disagree.
"""

import math
from collections.abc import Sequence
from datetime import date
from types import NoneType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ml.dates import ordinals
from ml.features import Feature, FloatArray, Kind
from ml.records import NUMBER_LIMIT

if TYPE_CHECKING:
    import pandas as pd

UNSEEN = -1.0  # raw code of a level that training never saw
NUMBER_KINDS = frozenset({int, float})
_NULLABLE_NUMBER_KINDS = frozenset({int, float, NoneType})
_NULLABLE_BOOLEAN_KINDS = frozenset({bool, NoneType})
_NULLABLE_TEXT_KINDS = frozenset({str, NoneType})


def raw_column(feature: Feature, values: Sequence[object], as_of: date) -> FloatArray:
    """Turn one attribute's values into raw units; what does not fit the kind becomes NaN."""
    if feature.kind is Kind.NUMBER:
        return raw_numbers(values)
    if feature.kind is Kind.BOOLEAN:
        return raw_booleans(values)
    if feature.kind is Kind.DATE:
        return raw_days(values, feature.date_format, as_of)
    return _raw_codes(values, feature.levels + feature.rare_levels)


def raw_numbers(values: Sequence[object]) -> FloatArray:
    known = values
    if not set(map(type, values)) <= _NULLABLE_NUMBER_KINDS:
        known = [value if type(value) in NUMBER_KINDS else None for value in values]
    try:
        numbers = np.array(known, dtype=np.float64)
    except OverflowError:
        fitting = [None if v is None or abs(cast(float, v)) > NUMBER_LIMIT else v for v in known]
        numbers = np.array(fitting, dtype=np.float64)
    return _within_limit(numbers)


def _within_limit(numbers: FloatArray) -> FloatArray:
    beyond = np.abs(numbers) > NUMBER_LIMIT
    return np.where(beyond, np.nan, numbers) if beyond.any() else numbers


def raw_booleans(values: Sequence[object]) -> FloatArray:
    if not set(map(type, values)) <= _NULLABLE_BOOLEAN_KINDS:
        values = [value if type(value) is bool else None for value in values]
    return np.array(values, dtype=np.float64)


def _raw_codes(values: Sequence[object], levels: tuple[str, ...]) -> FloatArray:
    codes: dict[object, float] = {level: float(code) for code, level in enumerate(levels)}
    codes[None] = math.nan
    if not set(map(type, values)) <= _NULLABLE_TEXT_KINDS:
        values = [value if type(value) is str else None for value in values]
    try:
        return np.array(list(map(codes.__getitem__, values)), dtype=np.float64)
    except KeyError:
        return np.array([codes.get(value, UNSEEN) for value in values], dtype=np.float64)


def raw_days(values: Sequence[object], date_format: str | None, as_of: date) -> FloatArray:
    if set(map(type, values)) == {str}:
        return as_of.toordinal() - ordinals(cast(Sequence[str], values), date_format)
    texts = [value for value in values if type(value) is str]
    days = as_of.toordinal() - ordinals(texts, date_format)
    scattered = np.full(len(values), np.nan)
    scattered[[type(value) is str for value in values]] = days
    return scattered


def frame_column(feature: Feature, column: "pd.Series", as_of: date) -> FloatArray:
    """Turn a table's column into raw units, as `raw_column` does its values."""
    if feature.kind is Kind.NUMBER and holds_numbers(column):
        return frame_numbers(column)
    if holds_coded_texts(column):
        texts, codes = coded_texts(column)
        return at_codes(raw_column(feature, texts, as_of), codes)
    return raw_column(feature, frame_values(column), as_of)


def frame_values(column: "pd.Series") -> list[Any]:
    """Python values of a column as a decoder would have given them, None for missing."""
    values = column.to_numpy(dtype=object, copy=True)
    values[column.isna().to_numpy(dtype=bool)] = None
    decoded: list[Any] = values.tolist()
    return decoded


def frame_numbers(column: "pd.Series") -> FloatArray:
    return _within_limit(column.to_numpy(dtype=np.float64, na_value=np.nan))


def holds_numbers(column: "pd.Series") -> bool:
    return column.dtype.kind in "iuf"


def holds_coded_texts(column: "pd.Series") -> bool:
    return column.dtype.name == "category" and all(type(v) is str for v in column.cat.categories)


def coded_texts(column: "pd.Series") -> tuple[list[str], NDArray[np.int64]]:
    """Different texts of a column of categories, and the place of each row's, -1 for missing."""
    return column.cat.categories.tolist(), np.asarray(column.cat.codes, dtype=np.int64)


def at_codes(values: FloatArray, codes: NDArray[np.int64]) -> FloatArray:
    """Give each row its text's value; a missing text, code -1, is NaN."""
    return np.append(values, np.nan)[codes]


def transform(values: FloatArray, *, log: bool) -> FloatArray:
    # A value below 0 in a log feature was never seen in training: it counts as 0 here, while the
    # raw column keeps it for drift to report.
    return np.log1p(np.maximum(values, 0.0)) if log else values
