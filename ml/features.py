"""The one encoder that training, prediction and drift share: attributes in, float array out.

Words: an attribute is what a record holds, a feature one that a model uses; raw columns are in the
attribute's own unit (days for dates, level codes for text), encoded columns in standard deviations.
"""

import difflib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from enum import StrEnum
from operator import attrgetter, itemgetter, methodcaller
from types import NoneType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from ml.records import ID_FIELD, MAX_PROBLEMS, NUMBER_LIMIT, InvalidRecords, RecordProblem, Scalar

if TYPE_CHECKING:
    import pandas as pd

FloatArray: TypeAlias = NDArray[np.float64]
RawColumns: TypeAlias = dict[str, FloatArray]

UNSEEN = -1.0  # raw code of a level that training never saw

# log1p where a column is non-negative and skewed: of seven scalings compared on 84 labelled
# customer tables (k-means, true k) none agreed better with the segments (mean ARI .33 -> .62).
LOG_SKEWNESS = 1.0
# In standard deviations: a categorical attribute then has half the variance of a numeric one, so
# that a few text columns do not drown the figures. Source: the same 84 tables.
CATEGORY_WEIGHT = 0.7
LEVEL_SHARE = 0.01  # of the customers: the least a level needs for a column of its own
LEVEL_COUNT = 10  # customers: below this a level's own column is mostly chance
SMALL_TABLE_SHARE = 0.05  # of the customers, where LEVEL_COUNT would be more than this
MIN_LEVEL_COUNT = 2  # customers, however small the table
MAX_LEVELS = 25  # columns of one categorical feature
MAX_RARE_LEVELS = 1000  # remembered so that they are told from unseen ones
NEAR_UNIQUE_SHARE = 0.5  # distinct texts over customers with text: above it, names or notes
NEAR_UNIQUE_COUNT = 20  # distinct texts that may always be a category
MIN_SEQUENCE = 20  # customers: fewer consecutive integers may well be ages
MAX_SEQUENCE_GAPS = 1.1  # range over count: a numbering with some rows deleted; rule of thumb
# A spread below this share of the largest value is rounding noise of float64 (2.2e-16 a step).
MIN_RELATIVE_SCALE = 1e-12
# Squared encoded distances must stay finite for values up to NUMBER_LIMIT (1e15 / 1e-100)**2.
MIN_SCALE = 1e-100

# Last word of a name that says identifier; some are run together where the name has no capitals.
ID_WORDS = frozenset({"id", "ids", "uid", "uuid", "guid", "key", "no", "nr", "num", "number"}) | {
    *("code", "index", "ref", "reference", "customerid", "clientid", "userid", "memberid"),
}

# Besides ISO 8601. Day-first stands before month-first: it wins when both read a whole column.
DATE_FORMATS = (
    "%d-%m-%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%m-%d-%Y",
    "%m.%d.%Y",
    "%Y/%m/%d",
    "%Y.%m.%d",
)
_DATE_PARTS = {"%d": r"(?P<d>\d{1,2})", "%m": r"(?P<m>\d{1,2})", "%Y": r"(?P<y>\d{4})"}
_TIME_OF_DAY = r"(?:[ T][0-2]?\d:[0-5]\d(?::[0-5]\d)?)?"
# Eight digits are an ISO basic date, but also a product code: read as dates within these years.
COMPACT_YEARS = (1900, 2100)

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NUMBER_KINDS = frozenset({int, float})
_NULLABLE_NUMBER_KINDS = frozenset({int, float, NoneType})
_NULLABLE_BOOLEAN_KINDS = frozenset({bool, NoneType})
_NULLABLE_TEXT_KINDS = frozenset({str, NoneType})

REASON_ID = "an identifier: a different value for every customer"
REASON_NOT_CHOSEN = "not among the chosen features"
REASON_MISSING = "missing for every customer"
REASON_CONSTANT = "the same for every customer, or as good as"
REASON_MIXED = "mixes numbers, text or booleans, or holds values of another type"
REASON_RANGE = f"holds numbers that are infinite or beyond {NUMBER_LIMIT:.0e}"
REASON_NEAR_UNIQUE = "nearly every customer has a text of their own"


class Kind(StrEnum):
    """What the values of a feature are."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class Feature:
    """One attribute as a model version learned it.

    Parameters
    ----------
    name, kind : the attribute and what its values are.
    log : whether `log1p` comes before standardising; serving clips below 0 first.
    mean : subtracted before scaling (after `log1p` if `log`); 0 for a category, whose columns are
        not centred: distances do not change, and an unseen level is then plainly all zeros.
    scale : divides the centred value, above 0; holds the weight of booleans and categories.
    fill : raw value that stands in for a missing one (median; days for a date); 0 for a category.
    imputed : whether training had missing values here, so that a missing one is legal.
    low, high : range seen in training, raw unit; 0 for a category.
    levels : levels with a column each, most frequent first.
    rare_levels : other levels seen, which share the column "other".
    date_format : how dates are written if not in ISO 8601, one of `DATE_FORMATS`.
    """

    name: str
    kind: Kind
    log: bool
    mean: float
    scale: float
    fill: float
    imputed: bool
    low: float
    high: float
    levels: tuple[str, ...] = ()
    rare_levels: tuple[str, ...] = ()
    date_format: str | None = None

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the encoded columns: kept levels, then "other" and "missing" if learned."""
        if self.kind is not Kind.CATEGORY:
            return (self.name,)
        extras = [f"{self.name} (other)"] * bool(self.rare_levels)
        extras += [f"{self.name} (missing)"] * self.imputed
        return (*(f"{self.name} = {level}" for level in self.levels), *extras)

    @property
    def n_columns(self) -> int:
        if self.kind is not Kind.CATEGORY:
            return 1
        return len(self.levels) + bool(self.rare_levels) + self.imputed


@dataclass(frozen=True, slots=True)
class Omission:
    """An attribute that is no feature, and why."""

    name: str
    reason: str


class NoUsableFeatures(ValueError):
    """No attribute, or not every chosen one, carries information to cluster on."""

    def __init__(self, message: str, omitted: Sequence[Omission] = ()) -> None:
        self.omitted = tuple(omitted)
        super().__init__(message)


class UnknownFeature(ValueError):
    """A chosen feature that the table does not have; `near` are names that look alike."""

    def __init__(self, name: str, near: Sequence[str]) -> None:
        self.name = name
        self.near = tuple(near)
        hint = f"; near matches: {', '.join(map(repr, near))}" if near else ""
        super().__init__(f"the customers have no attribute {name!r}{hint}")


@dataclass(frozen=True)
class FeatureSchema:
    """Everything an encoder needs, and what was left out.

    Parameters
    ----------
    features : in the order of the encoded columns.
    omitted : attributes left out, in the order of the table.
    as_of : day from which dates count backwards.
    n_customers : rows of the training table.
    """

    features: tuple[Feature, ...]
    omitted: tuple[Omission, ...]
    as_of: date
    n_customers: int

    @property
    def n_columns(self) -> int:
        return sum(feature.n_columns for feature in self.features)

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(name for feature in self.features for name in feature.column_names)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; floats survive to the last bit."""
        return {
            "as_of": self.as_of.isoformat(),
            "n_customers": self.n_customers,
            "features": [_as_json(feature) for feature in self.features],
            "omitted": [asdict(omission) for omission in self.omitted],
        }

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Rebuild a schema from untrusted JSON values.

        Raises
        ------
        ValueError
            Naming the entry that is missing, unknown, of the wrong type or out of bounds.
        """
        top = _mapping(data, {field.name for field in fields(cls)}, "schema")
        features = tuple(
            _feature_from_json(entry, f"schema.features[{position}]")
            for position, entry in enumerate(_sequence(top, "features", "schema"))
        )
        names = [feature.name for feature in features]
        distinct = len(names) > 0 and len(set(names)) == len(names)
        _require("schema.features", "must be given, with distinct names", holds=distinct)
        omitted = tuple(
            _omission_from_json(entry, f"schema.omitted[{position}]")
            for position, entry in enumerate(_sequence(top, "omitted", "schema"))
        )
        n_customers = top["n_customers"]
        counted = type(n_customers) is int and n_customers >= 1
        _require("schema.n_customers", "must be a count of 1 or more", holds=counted)
        try:
            as_of = date.fromisoformat(_text(top, "as_of", "schema"))
        except ValueError as error:
            raise ValueError("schema.as_of: must be an ISO date") from error
        return cls(features, omitted, as_of, n_customers)


# --- schema from JSON -------------------------------------------------------------------------


def _as_json(feature: Feature) -> dict[str, Any]:
    entry = asdict(feature)
    return entry | {
        "kind": feature.kind.value,
        "levels": list(feature.levels),
        "rare_levels": list(feature.rare_levels),
    }


def _feature_from_json(data: object, where: str) -> Feature:
    entry = _mapping(data, {field.name for field in fields(Feature)}, where)
    kind = _text(entry, "kind", where)
    _require(f"{where}.kind", f"must be one of {', '.join(Kind)}", holds=kind in set(Kind))
    date_format = entry["date_format"]
    _require(
        f"{where}.date_format",
        "must be null, or a known format of a date",
        holds=date_format is None or (kind == Kind.DATE and date_format in DATE_FORMATS),
    )
    feature = Feature(
        name=_text(entry, "name", where),
        kind=Kind(kind),
        log=_flag(entry, "log", where),
        mean=_number(entry, "mean", where),
        scale=_number(entry, "scale", where),
        fill=_number(entry, "fill", where),
        imputed=_flag(entry, "imputed", where),
        low=_number(entry, "low", where),
        high=_number(entry, "high", where),
        levels=_texts(entry, "levels", where, longest=MAX_LEVELS),
        rare_levels=_texts(entry, "rare_levels", where, longest=MAX_RARE_LEVELS),
        date_format=cast(str | None, date_format),
    )
    _check_feature(feature, where)
    return feature


def _check_feature(feature: Feature, where: str) -> None:
    levels = feature.levels + feature.rare_levels
    categorical = feature.kind is Kind.CATEGORY
    _require(f"{where}.scale", f"must be at least {MIN_SCALE}", holds=feature.scale >= MIN_SCALE)
    _require(f"{where}.low", "must not exceed high", holds=feature.low <= feature.high)
    _require(f"{where}.levels", "must be distinct", holds=len(set(levels)) == len(levels))
    _require(
        f"{where}.levels",
        "must be given for a category, and only there",
        holds=bool(feature.levels) if categorical else not levels,
    )
    _require(
        f"{where}.log",
        "must be false for a boolean or a category",
        holds=not feature.log or feature.kind in (Kind.NUMBER, Kind.DATE),
    )


def _omission_from_json(data: object, where: str) -> Omission:
    entry = _mapping(data, {"name", "reason"}, where)
    return Omission(_text(entry, "name", where), _text(entry, "reason", where))


def _require(where: str, rule: str, *, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{where}: {rule}")


def _mapping(data: object, keys: set[str], where: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError(f"{where}: must be an object")
    for key in sorted(keys - set(data)):
        raise ValueError(f"{where}.{key}: is missing")
    for key in sorted(map(str, set(data) - keys)):
        raise ValueError(f"{where}.{key}: is unknown")
    return data


def _sequence(entry: Mapping[str, Any], key: str, where: str) -> Sequence[Any]:
    value = entry[key]
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}.{key}: must be a list")
    return value


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry[key]
    if not isinstance(value, str):
        raise ValueError(f"{where}.{key}: must be text")
    return value


def _texts(entry: Mapping[str, Any], key: str, where: str, *, longest: int) -> tuple[str, ...]:
    values = tuple(_sequence(entry, key, where))
    fits = len(values) <= longest and all(isinstance(value, str) for value in values)
    _require(f"{where}.{key}", f"must be at most {longest:,} texts", holds=fits)
    return values


def _flag(entry: Mapping[str, Any], key: str, where: str) -> bool:
    value = entry[key]
    if not isinstance(value, bool):
        raise ValueError(f"{where}.{key}: must be true or false")
    return value


def _number(entry: Mapping[str, Any], key: str, where: str) -> float:
    value = entry[key]
    # Tighter than float64, so that an encoded value can never overflow.
    if type(value) not in _NUMBER_KINDS or not abs(value) <= NUMBER_LIMIT:
        raise ValueError(f"{where}.{key}: must be a finite number, at most {NUMBER_LIMIT:.0e}")
    return float(value)


# --- values to raw columns --------------------------------------------------------------------


def _raw_column(feature: Feature, values: Sequence[object], as_of: date) -> FloatArray:
    """Turn one attribute's values into raw units; what does not fit the kind becomes NaN."""
    if feature.kind is Kind.NUMBER:
        return _raw_numbers(values)
    if feature.kind is Kind.BOOLEAN:
        return _raw_booleans(values)
    if feature.kind is Kind.DATE:
        return _raw_days(values, feature.date_format, as_of)
    return _raw_codes(values, feature.levels + feature.rare_levels)


def _raw_numbers(values: Sequence[object]) -> FloatArray:
    known = values
    if not set(map(type, values)) <= _NULLABLE_NUMBER_KINDS:
        known = [value if type(value) in _NUMBER_KINDS else None for value in values]
    try:
        numbers = np.array(known, dtype=np.float64)
    except OverflowError:
        fitting = [None if v is None or abs(cast(float, v)) > NUMBER_LIMIT else v for v in known]
        numbers = np.array(fitting, dtype=np.float64)
    return _within_limit(numbers)


def _within_limit(numbers: FloatArray) -> FloatArray:
    beyond = np.abs(numbers) > NUMBER_LIMIT
    return np.where(beyond, np.nan, numbers) if beyond.any() else numbers


def _raw_booleans(values: Sequence[object]) -> FloatArray:
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


def _raw_days(values: Sequence[object], date_format: str | None, as_of: date) -> FloatArray:
    texts = [value for value in values if type(value) is str]
    days = as_of.toordinal() - _ordinals(texts, date_format)
    if len(texts) == len(values):
        return days
    scattered = np.full(len(values), np.nan)
    scattered[[type(value) is str for value in values]] = days
    return scattered


def _ordinals(texts: Sequence[str], date_format: str | None) -> FloatArray:
    """Count days since 0001-01-01 (as 1); NaN where a text is no date."""
    try:
        ordinals = list(map(date.toordinal, map(datetime.fromisoformat, texts)))
        return np.array(ordinals, dtype=np.float64)
    except ValueError:
        known = {text: _ordinal(text, date_format) for text in set(texts)}
    return np.array(list(map(known.__getitem__, texts)), dtype=np.float64)


def _ordinal(text: str, date_format: str | None) -> float:
    """Read one date, ISO 8601 first; the time of day and its offset are dropped."""
    try:
        return float(datetime.fromisoformat(text).toordinal())
    except ValueError:
        match = _DATE_PATTERNS[date_format].fullmatch(text) if date_format else None
    if match is None:
        return math.nan
    try:
        return float(date(int(match["y"]), int(match["m"]), int(match["d"])).toordinal())
    except ValueError:
        return math.nan


def _date_pattern(date_format: str) -> re.Pattern[str]:
    pattern = re.escape(date_format)
    for directive, group in _DATE_PARTS.items():
        pattern = pattern.replace(directive, group)
    return re.compile(pattern + _TIME_OF_DAY, re.ASCII)


_DATE_PATTERNS = {date_format: _date_pattern(date_format) for date_format in DATE_FORMATS}


def _frame_values(column: "pd.Series") -> list[Any]:
    """Python values of a column as a decoder would have given them, None for missing."""
    values = column.to_numpy(dtype=object, copy=True)
    values[column.isna().to_numpy(dtype=bool)] = None
    decoded: list[Any] = values.tolist()
    return decoded


def _frame_numbers(column: "pd.Series") -> FloatArray:
    return _within_limit(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _holds_numbers(column: "pd.Series") -> bool:
    return column.dtype.kind in "iuf"


def _transform(values: FloatArray, *, log: bool) -> FloatArray:
    # A value below 0 in a log feature was never seen in training: it counts as 0 here, while the
    # raw column keeps it for drift to report.
    return np.log1p(np.maximum(values, 0.0)) if log else values


# --- learning ---------------------------------------------------------------------------------


def learn_schema(
    frame: "pd.DataFrame", *, as_of: date, features: Sequence[str] | None = None
) -> FeatureSchema:
    """Choose the attributes that carry information and learn how to encode them.

    The order of the rows changes nothing, not even the last bit: columns are sorted before any sum.

    Parameters
    ----------
    frame : one row a customer, one column an attribute; None or NaN where missing.
    as_of : day from which dates count backwards.
    features : exactly these attributes; None chooses all that carry information. A named number
        may look like an identifier: staff know better than a rule of thumb.

    Raises
    ------
    UnknownFeature
        If a named feature is no column.
    NoUsableFeatures
        If no column, or one of the named, carries information.
    ValueError
        If column names are not text or not distinct, or a feature is named twice.
    """
    chosen = _chosen_names(list(frame.columns), features)
    if len(frame) == 0:
        raise NoUsableFeatures("the table has no customers")
    learned: list[Feature] = []
    omitted: list[Omission] = []
    for name in frame.columns:
        if name in chosen:
            outcome = _learn(name, frame[name], as_of, named=features is not None)
        else:
            outcome = Omission(name, REASON_NOT_CHOSEN)
        if isinstance(outcome, Feature):
            learned.append(outcome)
        else:
            omitted.append(outcome)
    _refuse_unusable(learned, omitted, named=features is not None)
    return FeatureSchema(tuple(learned), tuple(omitted), as_of, len(frame))


def _chosen_names(columns: list[Any], features: Sequence[str] | None) -> set[str]:
    for name, count in Counter(columns).items():
        if not isinstance(name, str):
            raise ValueError(f"column {name!r}: an attribute name must be text")
        if count > 1:
            raise ValueError(f"column {name!r}: stands {count} times in the table")
    if features is None:
        return set(columns)
    folded = {name.casefold(): name for name in columns}
    for name, count in Counter(features).items():
        if name not in columns:
            near = difflib.get_close_matches(name.casefold(), folded)
            raise UnknownFeature(name, [folded[match] for match in near])
        if count > 1:
            raise ValueError(f"feature {name!r}: named {count} times")
    return set(features)


def _refuse_unusable(learned: list[Feature], omitted: list[Omission], *, named: bool) -> None:
    refused = [o for o in omitted if not named or o.reason != REASON_NOT_CHOSEN]
    if learned and not (named and refused):
        return
    reasons = "; ".join(f"{omission.name!r}: {omission.reason}" for omission in refused)
    raise NoUsableFeatures(f"no usable features: {reasons or 'none were chosen'}", refused)


def _learn(name: str, column: "pd.Series", as_of: date, *, named: bool) -> Feature | Omission:
    if name == ID_FIELD:
        return Omission(name, REASON_ID)
    if _holds_numbers(column):
        return _learn_given_numbers(
            name, _frame_numbers(column), int(column.isna().sum()), named=named
        )
    values = _frame_values(column)
    kinds = set(map(type, values)) - {NoneType}
    if not kinds:
        return Omission(name, REASON_MISSING)
    if kinds <= _NUMBER_KINDS:
        return _learn_given_numbers(name, _raw_numbers(values), values.count(None), named=named)
    if kinds == {bool}:
        return _learn_numbers(name, Kind.BOOLEAN, _raw_booleans(values))
    if kinds == {str}:
        return _learn_texts(name, values, as_of)
    return Omission(name, REASON_MIXED)


def _learn_given_numbers(
    name: str, numbers: FloatArray, n_missing: int, *, named: bool
) -> Feature | Omission:
    if np.count_nonzero(np.isnan(numbers)) > n_missing:
        return Omission(name, REASON_RANGE)
    if not named and _numbers_look_like_ids(name, numbers[~np.isnan(numbers)]):
        return Omission(name, REASON_ID)
    return _learn_numbers(name, Kind.NUMBER, numbers)


def _learn_numbers(
    name: str, kind: Kind, numbers: FloatArray, date_format: str | None = None
) -> Feature | Omission:
    missing = np.isnan(numbers)
    known = np.sort(numbers[~missing])
    if not len(known):
        return Omission(name, REASON_MISSING)
    fill = float(np.median(known))
    if kind is Kind.BOOLEAN:
        fill = float(fill > 0.5)  # a tie is false: a boolean has no half
    filled = np.concatenate([known, np.full(np.count_nonzero(missing), fill)])
    log = kind is not Kind.BOOLEAN and bool(known[0] >= 0) and _skewness(filled) > LOG_SKEWNESS
    transformed = _transform(filled, log=log)
    mean = float(transformed.mean())
    spread = math.sqrt(float(np.mean((transformed - mean) ** 2)))
    least = max(MIN_SCALE, MIN_RELATIVE_SCALE * float(np.abs(transformed).max()))
    if known[0] == known[-1] or spread < least:
        return Omission(name, REASON_CONSTANT)
    return Feature(
        name=name,
        kind=kind,
        log=log,
        mean=mean,
        scale=spread / CATEGORY_WEIGHT if kind is Kind.BOOLEAN else spread,
        fill=fill,
        imputed=bool(missing.any()),
        low=float(known[0]),
        high=float(known[-1]),
        date_format=date_format,
    )


def _skewness(values: FloatArray) -> float:
    """Third standardised moment of a column.

    Parameters
    ----------
    values : float64 (n,).

    Returns
    -------
    Population skewness m3 / m2**1.5; 0 for a column without spread.

    Source: Joanes and Gill (1998), g1; equals `scipy.stats.skew(values)`.
    """
    centred = values - values.mean()
    # Scaled first, or squares of tiny numbers would vanish.
    largest = float(np.abs(centred).max())
    if largest == 0.0:
        return 0.0
    centred = centred / largest
    return float(np.mean(centred**3) / np.mean(centred**2) ** 1.5)


def _learn_texts(name: str, values: list[str | None], as_of: date) -> Feature | Omission:
    counts = Counter(values)
    n_missing = counts.pop(None, 0)
    levels = cast(Counter[str], counts)
    dated, date_format = _date_format_of(list(levels))
    if dated:
        return _learn_numbers(name, Kind.DATE, _raw_days(values, date_format, as_of), date_format)
    n_known = len(values) - n_missing
    if len(levels) == n_known > 1 and _names_an_id(name):
        return Omission(name, REASON_ID)
    if len(levels) > max(NEAR_UNIQUE_COUNT, NEAR_UNIQUE_SHARE * n_known):
        return Omission(name, REASON_NEAR_UNIQUE)
    return _learn_levels(name, levels, n_missing)


def _learn_levels(name: str, counts: Counter[str], n_missing: int) -> Feature | Omission:
    n_customers = counts.total() + n_missing
    least = _least_level_count(n_customers)
    if len(counts) == 1 and n_missing < least:
        return Omission(name, REASON_CONSTANT)
    ranked = sorted(counts, key=lambda level: (-counts[level], level))
    kept = tuple(level for level in ranked[:MAX_LEVELS] if counts[level] >= least)
    if not kept:
        return Omission(name, f"no text is shared by enough customers (at least {least})")
    n_other = counts.total() - sum(counts[level] for level in kept)
    shares = [n / n_customers for n in (*(counts[level] for level in kept), n_other, n_missing)]
    variance = math.fsum(share * (1.0 - share) for share in shares)
    return Feature(
        name=name,
        kind=Kind.CATEGORY,
        log=False,
        mean=0.0,
        scale=math.sqrt(variance) / CATEGORY_WEIGHT,
        fill=0.0,
        imputed=n_missing > 0,
        low=0.0,
        high=0.0,
        levels=kept,
        rare_levels=tuple(ranked[len(kept) : len(kept) + MAX_RARE_LEVELS]),
    )


def _least_level_count(n_customers: int) -> int:
    """Customers a level needs for its own column: 1 %, and 10 (5 % in a small table), and 2."""
    few = min(LEVEL_COUNT, math.ceil(SMALL_TABLE_SHARE * n_customers))
    return max(MIN_LEVEL_COUNT, few, math.ceil(LEVEL_SHARE * n_customers))


def _date_format_of(texts: list[str]) -> tuple[bool, str | None]:
    """Say whether all texts are dates, and in which format besides ISO 8601."""
    # One look at one text spares the many columns that are plainly no dates.
    if not any(_reads_as_dates(texts[:1], form) for form in (None, *DATE_FORMATS)):
        return False, None
    others = [text for text in texts if math.isnan(_ordinal(text, None))]
    if not others:
        return not _are_codes(texts), None
    for date_format in DATE_FORMATS:
        if _reads_as_dates(others, date_format):
            return True, date_format
    return False, None


def _reads_as_dates(texts: Sequence[str], date_format: str | None) -> bool:
    return not any(math.isnan(_ordinal(text, date_format)) for text in texts)


def _are_codes(texts: list[str]) -> bool:
    first, last = COMPACT_YEARS
    return all(map(str.isdigit, texts)) and not all(
        first <= int(text[:4]) <= last for text in texts
    )


def _names_an_id(name: str) -> bool:
    words = [word.casefold() for word in _WORD.findall(name)]
    return bool(words) and (words[-1] in ID_WORDS or words[0] in ("id", "uuid", "guid"))


def _numbers_look_like_ids(name: str, numbers: FloatArray) -> bool:
    if len(numbers) < 2 or np.any(numbers != np.floor(numbers)):
        return False
    steps = np.diff(np.sort(numbers))
    if steps.min() == 0:
        return False
    even = steps.min() == steps.max() or steps.sum() + 1 <= MAX_SEQUENCE_GAPS * len(numbers)
    return _names_an_id(name) or bool(even and len(numbers) >= MIN_SEQUENCE)


# --- encoding ---------------------------------------------------------------------------------


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
            column = frame[feature.name]
            if feature.kind is Kind.NUMBER and _holds_numbers(column):
                raw[feature.name] = _frame_numbers(column)
            else:
                values = _frame_values(column)
                raw[feature.name] = _raw_column(feature, values, self.schema.as_of)
        return raw

    def raw_from_records(
        self, records: Sequence[Mapping[str, Scalar]], *, strict: bool = True
    ) -> RawColumns:
        """Read raw columns from checked records, without pandas.

        Parameters
        ----------
        records : flat objects; attributes that no feature names are ignored.
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
            values = _attribute_values(records, feature.name)
            column = _raw_column(feature, values, self.schema.as_of)
            raw[feature.name] = column
            if strict:
                rows = _problem_rows(feature, values, column)
                n_problems += len(rows)
                # No more of one feature can be among the first of all.
                problems += [_problem(feature, values, row) for row in rows[:MAX_PROBLEMS]]
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
                transformed = _transform(filled, log=feature.log)
                encoded[:, offset] = (transformed - feature.mean) / feature.scale
        return encoded

    def encode_frame(self, frame: "pd.DataFrame") -> FloatArray:
        """Encode a table, float64 (n, n_columns)."""
        return self.encode(self.raw_from_frame(frame))

    def encode_records(
        self, records: Sequence[Mapping[str, Scalar]], *, strict: bool = True
    ) -> FloatArray:
        """Encode records, float64 (n, n_columns)."""
        return self.encode(self.raw_from_records(records, strict=strict))

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


def _attribute_values(records: Sequence[Mapping[str, Scalar]], name: str) -> list[Scalar]:
    try:
        return list(map(itemgetter(name), records))
    except KeyError:
        return list(map(methodcaller("get", name), records))


def _problem_rows(feature: Feature, values: Sequence[object], column: FloatArray) -> list[int]:
    rows = np.flatnonzero(np.isnan(column)).tolist()
    return [row for row in rows if values[row] is not None] if feature.imputed else rows


def _problem(feature: Feature, values: Sequence[object], row: int) -> RecordProblem:
    code, detail = _fault(feature.kind, values[row], feature.date_format)
    return RecordProblem(row, feature.name, code, detail)


def _fault(kind: Kind, value: object, date_format: str | None) -> tuple[str, str]:
    if value is None:
        return "missing", "must be given: training had no missing value here"
    if kind is Kind.DATE and isinstance(value, str):
        written = f" or as {_spelled(date_format)}" if date_format else ""
        return "not-a-date", f"must be a date as YYYY-MM-DD{written}"
    if kind is Kind.NUMBER and type(value) in _NUMBER_KINDS:
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


def _spelled(date_format: str) -> str:
    return date_format.replace("%d", "DD").replace("%m", "MM").replace("%Y", "YYYY")
