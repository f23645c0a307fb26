"""What a model version knows of its features: kind, scaling, levels, and what was left out.

Words: an attribute is what a record holds, a feature one that a model uses; raw columns are in the
attribute's own unit (days for dates, level codes for text), encoded columns in standard deviations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from enum import StrEnum
from typing import Any, Self, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from ml.dates import DATE_FORMATS
from ml.records import NUMBER_LIMIT

FloatArray: TypeAlias = NDArray[np.float64]
RawColumns: TypeAlias = dict[str, FloatArray]

MAX_LEVELS = 25  # columns of one categorical feature
MAX_RARE_LEVELS = 1000  # remembered so that they are told from unseen ones
# Squared encoded distances must stay finite for values up to NUMBER_LIMIT (1e15 / 1e-100)**2.
MIN_SCALE = 1e-100


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
    if type(value) not in (int, float) or not abs(value) <= NUMBER_LIMIT:
        raise ValueError(f"{where}.{key}: must be a finite number, at most {NUMBER_LIMIT:.0e}")
    return float(value)
