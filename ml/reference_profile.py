"""What drift needs to know of the customers a version was trained on: counts, never rows.
A column is the profile of one feature; a cell is a range of its values, a level one category."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ml import json_fields
from ml.features import Kind
from ml.inside_segments import InsideColumn
from ml.ordered_cells import OrderedCells
from ml.pair_correlations import Correlation, PairCorrelations
from ml.segment_distances import SegmentDistances
from ml.shown_distances import cell_means
from ml.tail_cells import TailCells

if TYPE_CHECKING:
    from ml.features import Feature, FeatureSchema, RawColumns
    from ml.scored import Scored

FORMAT = 2  # version of the stored form
READ_FORMATS = (1, 2)  # the first knew neither tails, pairs, distances nor clusters from inside


@dataclass(frozen=True, slots=True)
class OrderedColumn:
    """A number, date or boolean in raw units: cells of the values, missing, centre and spread.

    `means` are those of the values in each cell, empty where they are not known.
    """

    name: str
    kind: str
    n_missing: int
    cells: OrderedCells
    median: float
    sd: float
    low: float
    high: float
    lower_tail: TailCells | None = None
    upper_tail: TailCells | None = None
    means: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in (Kind.NUMBER, Kind.BOOLEAN, Kind.DATE):
            raise ValueError(f"column {self.name!r}: {self.kind!r} is no ordered kind")
        if self.n_missing < 0:
            raise ValueError(f"column {self.name!r}: n_missing must not be negative")
        if not all(map(math.isfinite, (self.median, self.sd, self.low, self.high))):
            raise ValueError(f"column {self.name!r}: median, sd, low and high must be finite")
        if self.sd < 0 or self.low > self.high:
            raise ValueError(f"column {self.name!r}: sd must be >= 0 and low <= high")
        if self.means and len(self.means) != len(self.cells.counts):
            raise ValueError(f"column {self.name!r}: needs one mean a cell")
        if not all(map(math.isfinite, self.means)):
            raise ValueError(f"column {self.name!r}: means must be finite")

    @property
    def n_customers(self) -> int:
        """Customers profiled, with a value or without."""
        return self.n_missing + sum(self.cells.counts)

    @property
    def mean(self) -> float | None:
        """Mean of the values, None where it is not known."""
        n_values = sum(self.cells.counts)
        if not self.means or not n_values:
            return None
        return float(np.dot(self.cells.counts, self.means)) / n_values


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
    """The reference of one model version: its columns alone and in pairs, and its customers by
    cluster.

    `cluster_counts` are those of the customers scored as if they were new, all or a sample of
    them; `fitted_counts` those of the fit, empty where they are the same. `ignores_own_place` is
    how distances were measured (`ml.scored`).
    """

    n_reference: int
    columns: tuple[Column, ...]
    clusters: tuple[int, ...]
    cluster_counts: tuple[int, ...]
    pairs: PairCorrelations | None = None
    distances: SegmentDistances | None = None
    inside: tuple[InsideColumn, ...] = ()
    ignores_own_place: bool = False
    fitted_counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        names = {column.name for column in self.columns}
        if len(names) != len(self.columns):
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
        if self.n_scored > self.n_reference or (self.n_reference > 0) > (self.n_scored > 0):
            raise ValueError("profile: cluster counts do not sum to the customers scored")
        if self.fitted_counts and len(self.fitted_counts) != len(self.clusters):
            raise ValueError("profile: needs one fitted count a cluster")
        if min(self.fitted_counts, default=0) < 0:
            raise ValueError("profile: fitted counts must not be negative")
        looked_at = {inside.name for inside in self.inside}
        if not looked_at.union(self.pairs.names if self.pairs else ()) <= names:
            raise ValueError("profile: a pair or an inside names no column")
        if any(len(inside.counts) != len(self.clusters) for inside in self.inside):
            raise ValueError("profile: inside needs one row a cluster")

    @property
    def n_scored(self) -> int:
        """Reference customers whose cluster was looked at."""
        return sum(self.cluster_counts)

    @classmethod
    def fit(
        cls,
        schema: FeatureSchema,
        raw: RawColumns,
        scored: Scored,
        *,
        fitted: NDArray[np.int64] | None = None,
        random_state: int = 0,
    ) -> Self:
        """Profile the reference.

        Parameters
        ----------
        schema : FeatureSchema the version was trained with
        raw : one float64 (n,) a feature, in raw units; NaN = missing
        scored : clusters of these customers, and their distances, as of customers that the model
            did not see (`ml.held_out`)
        fitted : int64 (n,), clusters of all customers by the fit; None where `scored` has them
        random_state : seed of the sample whose columns are paired

        Raises
        ------
        ValueError naming a column that is absent, infinite or of another length than the labels
        """
        features = schema.features
        n_reference = scored.n_customers(raw)
        check_columns(raw, [feature.name for feature in features], n_reference)
        labels = scored.labels if fitted is None else fitted
        clusters = sorted({*np.unique(labels).tolist(), *np.unique(scored.labels).tolist()})
        paired = {
            feature.name: raw[feature.name]
            for feature in features
            if feature.kind in (Kind.NUMBER, Kind.BOOLEAN)
        }
        return cls(
            n_reference=n_reference,
            columns=tuple(_profile_column(feature, raw[feature.name]) for feature in features),
            clusters=tuple(clusters),
            cluster_counts=_count(scored.labels, clusters),
            fitted_counts=() if fitted is None else _count(fitted, clusters),
            pairs=PairCorrelations.fit(paired, random_state=random_state),
            distances=SegmentDistances.fit(scored.distances),
            inside=_profile_inside(schema, raw, scored, clusters),
            ignores_own_place=scored.ignores_own_place,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as JSON types; from_dict gives back the very same floats."""
        return {
            "format": FORMAT,
            "n_reference": self.n_reference,
            "columns": [{"kind": column.kind} | asdict(column) for column in self.columns],
            "clusters": list(self.clusters),
            "cluster_counts": list(self.cluster_counts),
            "pairs": _pairs_to_dict(self.pairs) if self.pairs else None,
            "distances": asdict(self.distances) if self.distances else None,
            "inside": [asdict(column) for column in self.inside],
            "fitted_counts": list(self.fitted_counts),
            "ignores_own_place": self.ignores_own_place,
        }

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Rebuild a profile from decoded JSON.

        Raises
        ------
        ValueError naming the entry that is missing, of a wrong type, or contradicts another
        """
        fields = json_fields.mapping(data, "profile")
        if json_fields.integer(fields, "format", "profile") not in READ_FORMATS:
            raise ValueError(f"profile: format must be one of {READ_FORMATS}")
        columns = json_fields.sequence(fields, "columns", "profile")
        inside = json_fields.sequence({"inside": [], **fields}, "inside", "profile")
        pairs, distances = fields.get("pairs"), fields.get("distances")
        return cls(
            n_reference=json_fields.integer(fields, "n_reference", "profile"),
            columns=tuple(
                _column_from_dict(column, f"columns[{i}]") for i, column in enumerate(columns)
            ),
            clusters=json_fields.integers(fields, "clusters", "profile"),
            cluster_counts=json_fields.integers(fields, "cluster_counts", "profile"),
            pairs=None if pairs is None else _pairs_from_dict(pairs),
            distances=None if distances is None else _distances_from_dict(distances),
            inside=tuple(_inside_from_dict(each, f"inside[{i}]") for i, each in enumerate(inside)),
            fitted_counts=json_fields.integers(
                {"fitted_counts": (), **fields}, "fitted_counts", "profile"
            ),
            ignores_own_place=json_fields.flag(
                {"ignores_own_place": False, **fields}, "ignores_own_place", "profile"
            ),
        )


def check_columns(raw: RawColumns, names: list[str], n_customers: int) -> None:
    """Raise ValueError naming the first column that is absent or not float64 (n_customers,)."""
    for name in names:
        if name not in raw:
            raise ValueError(f"column {name!r} is not among the raw columns")
        if raw[name].shape != (n_customers,):
            raise ValueError(
                f"column {name!r} has shape {raw[name].shape}, the customers are {n_customers}"
            )


def sorted_values(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values that are there, ascending; raise ValueError where one is infinite."""
    ordered = np.sort(values)
    present = ordered[: np.searchsorted(ordered, np.nan)]  # NaN sorts behind everything
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
    lowest, highest = np.fmin.reduce(codes, initial=0.0), np.fmax.reduce(codes, initial=-1.0)
    if lowest < -1 or highest >= n_levels:
        raise ValueError(f"column {name!r} holds a code outside its levels")
    cells = np.nan_to_num(codes + 2, copy=False, nan=0.0)  # missing, unknown, then the levels
    counts = np.bincount(cells.astype(np.int64), minlength=n_levels + 2)
    return counts[2:], int(counts[1]), int(counts[0])


def _profile_column(feature: Feature, values: NDArray[np.float64]) -> Column:
    """Return the profile of one feature's column."""
    if feature.kind == Kind.CATEGORY:
        levels = (*feature.levels, *feature.rare_levels)
        counts, n_unknown, n_missing = count_levels(feature.name, values, len(levels))
        return LevelColumn(feature.name, n_missing, n_unknown, levels, tuple(counts.tolist()))
    present = sorted_values(feature.name, values)
    cells = OrderedCells.fit(present)
    has_tails = feature.kind is Kind.NUMBER
    return OrderedColumn(
        name=feature.name,
        kind=str(feature.kind),
        n_missing=len(values) - len(present),
        cells=cells,
        median=float(np.median(present)) if len(present) else 0.0,
        sd=float(present.std()) if len(present) else 0.0,
        low=feature.low,
        high=feature.high,
        lower_tail=TailCells.fit(present, upper=False) if has_tails else None,
        upper_tail=TailCells.fit(present, upper=True) if has_tails else None,
        means=tuple(cell_means(present, np.array(cells.counts)).tolist()),
    )


def _count(labels: NDArray[np.int64], clusters: list[int]) -> tuple[int, ...]:
    """Count the customers of each of the rising clusters, which hold every label."""
    places = np.searchsorted(clusters, labels)
    return tuple(np.bincount(places, minlength=len(clusters)).tolist())


def _profile_inside(
    schema: FeatureSchema, raw: RawColumns, scored: Scored, clusters: list[int]
) -> tuple[InsideColumn, ...]:
    """Return what the customers of each cluster are like; dates move on and are left out."""
    features = [feature for feature in schema.features if feature.kind is not Kind.DATE]
    columns = scored.columns(raw, [feature.name for feature in features])
    return tuple(
        InsideColumn.fit_levels(
            feature.name,
            values,
            len(feature.levels) + len(feature.rare_levels),
            scored.labels,
            clusters,
        )
        if feature.kind is Kind.CATEGORY
        else InsideColumn.fit_ordered(feature.name, values, scored.labels, clusters)
        for feature, values in zip(features, columns, strict=True)
    )


def _column_from_dict(data: object, where: str) -> Column:
    """Rebuild one column; the entry is named by `where` in errors."""
    fields = json_fields.mapping(data, where)
    name = json_fields.text(fields, "name", where)
    kind = json_fields.text(fields, "kind", where)
    if kind == Kind.CATEGORY:
        return LevelColumn(
            name=name,
            n_missing=json_fields.integer(fields, "n_missing", where),
            n_unknown=json_fields.integer(fields, "n_unknown", where),
            levels=json_fields.texts(fields, "levels", where),
            counts=json_fields.integers(fields, "counts", where),
        )
    try:
        cells = _cells_from_dict(fields.get("cells"), f"{where}.cells")
        lower_tail, upper_tail = (
            _tail_from_dict(fields.get(key), f"{where}.{key}")
            for key in ("lower_tail", "upper_tail")
        )
    except ValueError as error:
        raise ValueError(f"column {name!r}: {error}") from error
    median, sd, low, high = (
        json_fields.number(fields, key, where) for key in ("median", "sd", "low", "high")
    )
    return OrderedColumn(
        name=name,
        kind=kind,
        n_missing=json_fields.integer(fields, "n_missing", where),
        cells=cells,
        median=median,
        sd=sd,
        low=low,
        high=high,
        lower_tail=lower_tail,
        upper_tail=upper_tail,
        means=json_fields.numbers({"means": (), **fields}, "means", where),
    )


def _cells_from_dict(data: object, where: str) -> OrderedCells:
    fields = json_fields.mapping(data, where)
    return OrderedCells(
        cuts=json_fields.numbers(fields, "cuts", where),
        counts=json_fields.integers(fields, "counts", where),
    )


def _tail_from_dict(data: object, where: str) -> TailCells | None:
    if data is None:
        return None
    fields = json_fields.mapping(data, where)
    return TailCells(
        bound=json_fields.number(fields, "bound", where),
        mean=json_fields.number(fields, "mean", where),
        upper=json_fields.flag(fields, "upper", where),
        cells=_cells_from_dict(fields.get("cells"), f"{where}.cells"),
    )


def _pairs_to_dict(pairs: PairCorrelations) -> dict[str, Any]:
    """Return the pairs in columns, which are a third as long; null for an unknown variance."""
    found = pairs.correlations
    return {
        "names": list(pairs.names),
        "outside_shares": list(pairs.outside_shares),
        "values": [each.value for each in found],
        "variances": [each.variance if math.isfinite(each.variance) else None for each in found],
        "n_customers": [each.n_customers for each in found],
    }


def _pairs_from_dict(data: object) -> PairCorrelations:
    fields = json_fields.mapping(data, "pairs")
    variances = tuple(
        math.inf
        if value is None
        else json_fields.number({"variances": value}, "variances", "pairs")
        for value in json_fields.sequence(fields, "variances", "pairs")
    )
    values = json_fields.numbers(fields, "values", "pairs")
    sizes = json_fields.integers(fields, "n_customers", "pairs")
    if not len(values) == len(variances) == len(sizes):
        raise ValueError("pairs: values, variances and n_customers differ in length")
    return PairCorrelations(
        names=json_fields.texts(fields, "names", "pairs"),
        outside_shares=json_fields.numbers(fields, "outside_shares", "pairs"),
        correlations=tuple(map(Correlation, values, variances, sizes)),
    )


def _distances_from_dict(data: object) -> SegmentDistances:
    fields = json_fields.mapping(data, "distances")
    return SegmentDistances(
        cells=_cells_from_dict(fields.get("cells"), "distances.cells"),
        median=json_fields.number(fields, "median", "distances"),
        far=json_fields.number(fields, "far", "distances"),
        n_far=json_fields.integer(fields, "n_far", "distances"),
    )


def _inside_from_dict(data: object, where: str) -> InsideColumn:
    fields = json_fields.mapping(data, where)
    rows = json_fields.sequence(fields, "counts", where)
    return InsideColumn(
        name=json_fields.text(fields, "name", where),
        cuts=None if fields.get("cuts") is None else json_fields.numbers(fields, "cuts", where),
        counts=tuple(json_fields.integers({"counts": row}, "counts", where) for row in rows),
    )
