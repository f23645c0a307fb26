"""What drift needs to know of the customers a version was trained on: counts, never rows.
A column is the profile of one feature; a cell is a range of its values, a level one category."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ml.features import Kind
from ml.ordered_cells import OrderedCells

if TYPE_CHECKING:
    from ml.features import Feature, FeatureSchema, RawColumns

FORMAT = 1  # version of the stored form


@dataclass(frozen=True, slots=True)
class OrderedColumn:
    """A number, date or boolean in raw units: cells of the values, missing, centre and spread."""

    name: str
    kind: str
    n_missing: int
    cells: OrderedCells
    median: float
    sd: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.kind not in (Kind.NUMBER, Kind.BOOLEAN, Kind.DATE):
            raise ValueError(f"column {self.name!r}: {self.kind!r} is no ordered kind")
        if self.n_missing < 0:
            raise ValueError(f"column {self.name!r}: n_missing must not be negative")
        if not all(map(math.isfinite, (self.median, self.sd, self.low, self.high))):
            raise ValueError(f"column {self.name!r}: median, sd, low and high must be finite")
        if self.sd < 0 or self.low > self.high:
            raise ValueError(f"column {self.name!r}: sd must be >= 0 and low <= high")

    @property
    def n_customers(self) -> int:
        """Customers profiled, with a value or without."""
        return self.n_missing + sum(self.cells.counts)


@dataclass(frozen=True, slots=True)
class LevelColumn:
    """A category: customers of each known level, of none of them, and without a value."""

    name: str
    n_missing: int
    n_unknown: int
    levels: tuple[str, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.counts):
            raise ValueError(f"column {self.name!r}: needs one count a level")
        if len(set(self.levels)) != len(self.levels):
            raise ValueError(f"column {self.name!r}: a level is listed twice")
        if min((self.n_missing, self.n_unknown, *self.counts)) < 0:
            raise ValueError(f"column {self.name!r}: counts must not be negative")

    @property
    def kind(self) -> str:
        """The one kind that has levels."""
        return str(Kind.CATEGORY)

    @property
    def n_customers(self) -> int:
        """Customers profiled, with a value or without."""
        return self.n_missing + self.n_unknown + sum(self.counts)

    @property
    def n_unseen_expected(self) -> int:
        """Reference customers whose level would be unseen had the others alone been profiled.

        Each is the only one of its level; their share is what an unchanged population brings in
        levels never seen (Good, 1953). A closed list of levels has none.
        """
        return self.n_unknown + self.counts.count(1)


Column = OrderedColumn | LevelColumn


@dataclass(frozen=True)
class ReferenceProfile:
    """The reference of one model version: its columns, and its customers by cluster."""

    n_reference: int
    columns: tuple[Column, ...]
    clusters: tuple[int, ...]
    cluster_counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len({column.name for column in self.columns}) != len(self.columns):
            raise ValueError("profile: a column is listed twice")
        for column in self.columns:
            if column.n_customers != self.n_reference:
                raise ValueError(f"column {column.name!r}: counts do not sum to n_reference")
        if len(self.clusters) != len(self.cluster_counts):
            raise ValueError("profile: needs one count a cluster")
        if any(a >= b for a, b in zip(self.clusters, self.clusters[1:], strict=False)):
            raise ValueError("profile: clusters must rise")
        if min(self.cluster_counts, default=0) < 0:
            raise ValueError("profile: cluster counts must not be negative")
        if sum(self.cluster_counts) != self.n_reference:
            raise ValueError("profile: cluster counts do not sum to n_reference")

    @classmethod
    def fit(cls, schema: FeatureSchema, raw: RawColumns, labels: NDArray[np.int64]) -> Self:
        """Profile the reference.

        Parameters
        ----------
        schema : FeatureSchema the version was trained with
        raw : one float64 (n,) a feature, in raw units; NaN = missing
        labels : int64 (n,), cluster of each customer, NOISE = -1

        Raises
        ------
        ValueError naming a column that is absent, infinite or of another length than labels
        """
        features = schema.features
        check_columns(raw, [feature.name for feature in features], len(labels))
        clusters, counts = np.unique(labels, return_counts=True)
        return cls(
            n_reference=len(labels),
            columns=tuple(_profile_column(feature, raw[feature.name]) for feature in features),
            clusters=tuple(clusters.tolist()),
            cluster_counts=tuple(counts.tolist()),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as JSON types; from_dict gives back the very same floats."""
        return {
            "format": FORMAT,
            "n_reference": self.n_reference,
            "columns": [{"kind": column.kind} | asdict(column) for column in self.columns],
            "clusters": list(self.clusters),
            "cluster_counts": list(self.cluster_counts),
        }

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Rebuild a profile from decoded JSON.

        Raises
        ------
        ValueError naming the entry that is missing, of a wrong type, or contradicts another
        """
        fields = _mapping(data, "profile")
        if _integer(fields, "format", "profile") != FORMAT:
            raise ValueError(f"profile: format must be {FORMAT}")
        columns = _list(fields, "columns", "profile")
        return cls(
            n_reference=_integer(fields, "n_reference", "profile"),
            columns=tuple(
                _column_from_dict(column, f"columns[{i}]") for i, column in enumerate(columns)
            ),
            clusters=_integers(fields, "clusters", "profile"),
            cluster_counts=_integers(fields, "cluster_counts", "profile"),
        )


def check_columns(raw: RawColumns, names: list[str], n_customers: int) -> None:
    """Raise ValueError naming the first column that is absent or not float64 (n_customers,)."""
    for name in names:
        if name not in raw:
            raise ValueError(f"column {name!r} is not among the raw columns")
        if raw[name].shape != (n_customers,):
            raise ValueError(
                f"column {name!r} has shape {raw[name].shape}, the labels have ({n_customers},)"
            )


def sorted_values(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values that are there, ascending; raise ValueError where one is infinite."""
    ordered = np.sort(values)
    present = ordered[: len(ordered) - int(np.isnan(values).sum())]
    if len(present) and not (np.isfinite(present[0]) and np.isfinite(present[-1])):
        raise ValueError(f"column {name!r} holds an infinite value")
    return present


def count_levels(
    name: str, codes: NDArray[np.float64], n_levels: int
) -> tuple[NDArray[np.int64], int, int]:
    """Return customers by level, int64 (n_levels,), then of no known level, then without a value.

    Raises
    ------
    ValueError where a code lies outside -1 ... n_levels - 1
    """
    present = codes[~np.isnan(codes)]
    if len(present) and not (present.min() >= -1 and present.max() < n_levels):
        raise ValueError(f"column {name!r} holds a code outside its levels")
    counts = np.bincount(present.astype(np.int64) + 1, minlength=n_levels + 1)
    return counts[1:], int(counts[0]), len(codes) - len(present)


def _profile_column(feature: Feature, values: NDArray[np.float64]) -> Column:
    """Return the profile of one feature's column."""
    if feature.kind == Kind.CATEGORY:
        levels = (*feature.levels, *feature.rare_levels)
        counts, n_unknown, n_missing = count_levels(feature.name, values, len(levels))
        return LevelColumn(feature.name, n_missing, n_unknown, levels, tuple(counts.tolist()))
    present = sorted_values(feature.name, values)
    return OrderedColumn(
        name=feature.name,
        kind=str(feature.kind),
        n_missing=len(values) - len(present),
        cells=OrderedCells.fit(present),
        median=float(np.median(present)) if len(present) else 0.0,
        sd=float(present.std()) if len(present) else 0.0,
        low=feature.low,
        high=feature.high,
    )


def _column_from_dict(data: object, where: str) -> Column:
    """Rebuild one column; the entry is named by `where` in errors."""
    fields = _mapping(data, where)
    name, kind = _text(fields, "name", where), _text(fields, "kind", where)
    if kind == Kind.CATEGORY:
        return LevelColumn(
            name=name,
            n_missing=_integer(fields, "n_missing", where),
            n_unknown=_integer(fields, "n_unknown", where),
            levels=tuple(_texts(fields, "levels", where)),
            counts=_integers(fields, "counts", where),
        )
    cells = _mapping(fields.get("cells"), f"{where}.cells")
    try:
        ordered = OrderedCells(
            cuts=_floats(cells, "cuts", f"{where}.cells"),
            counts=_integers(cells, "counts", f"{where}.cells"),
        )
    except ValueError as error:
        raise ValueError(f"column {name!r}: {error}") from error
    median, sd, low, high = (_float(fields, key, where) for key in ("median", "sd", "low", "high"))
    n_missing = _integer(fields, "n_missing", where)
    return OrderedColumn(name, kind, n_missing, ordered, median, sd, low, high)


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be an object")
    return value


def _list(fields: Mapping[str, object], key: str, where: str) -> list[object]:
    value = fields.get(key)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}.{key} must be a list")
    return list(value)


def _integer(fields: Mapping[str, object], key: str, where: str) -> int:
    value = fields.get(key)
    if type(value) is not int:  # bool is a subclass, and true is no count
        raise ValueError(f"{where}.{key} must be an integer")
    return value


def _integers(fields: Mapping[str, object], key: str, where: str) -> tuple[int, ...]:
    return tuple(_integer({key: value}, key, where) for value in _list(fields, key, where))


def _float(fields: Mapping[str, object], key: str, where: str) -> float:
    value = fields.get(key)
    if type(value) is not float and type(value) is not int:
        raise ValueError(f"{where}.{key} must be a number")
    return float(value)


def _floats(fields: Mapping[str, object], key: str, where: str) -> tuple[float, ...]:
    return tuple(_float({key: value}, key, where) for value in _list(fields, key, where))


def _text(fields: Mapping[str, object], key: str, where: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{where}.{key} must be text")
    return value


def _texts(fields: Mapping[str, object], key: str, where: str) -> tuple[str, ...]:
    return tuple(_text({key: value}, key, where) for value in _list(fields, key, where))
