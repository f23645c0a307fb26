"""Values of single customers in what a version keeps of all: ranges, cuts, names of rare levels.

Means, medians and shares of many are not anybody's; but the largest value that training saw is
somebody's, and so is a cut between two cells or a level that one customer alone had. A *trace* is
such a value, of a customer who goes and of nobody who stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from itertools import count
from typing import Any

from ml.features import Feature, FeatureSchema
from ml.inside_segments import InsideColumn
from ml.ordered_cells import OrderedCells
from ml.records import NUMBER_LIMIT
from ml.reference_profile import Column, LevelColumn, OrderedColumn, ReferenceProfile
from ml.tail_cells import TailCells

DIGITS = 2
"""Significant digits that are left of a trace."""
TWO_DIGITS = Context(prec=DIGITS)
SHARES_BETWEEN = (0.5, 0.25, 0.75)
"""Of the way between two cuts: where one in between is tried."""
ERASED = "(erased{})"
"""Stands in for a text."""


@dataclass(frozen=True, slots=True)
class Traces:
    """By feature the values, in raw units, and the texts that are traces."""

    numbers: Mapping[str, Set[float]]
    texts: Mapping[str, Set[str]]

    def has_number(self, name: str, value: float) -> bool:
        """Whether it is a trace, or the float beside one: cuts touch the values they lie at.

        0 and the limit of all numbers, which `coarse` leaves as they are, are nobody's.
        """
        known = self.numbers.get(name, frozenset())
        beside = (value, math.nextafter(value, math.inf), math.nextafter(value, -math.inf))
        return any(each in known and 0 < abs(each) < NUMBER_LIMIT for each in beside)

    def knows(self, name: str) -> bool:
        """Whether it is the name of a feature."""
        return name in self.numbers or name in self.texts

    def has_text(self, name: str, text: str) -> bool:
        return text in self.texts.get(name, frozenset())


def coarse(value: float, *, towards: float | None = None) -> float:
    """Another number nearby, of two significant digits: the next one towards an infinity, or else
    the nearest; 0 and the limit of all numbers stay. The smallest floats, which lie farther apart
    than that, become the one beside them."""
    if not 0 < abs(value) < NUMBER_LIMIT:
        return value
    digits = Decimal(repr(value))
    if towards is None:
        rounded = float(TWO_DIGITS.plus(digits))
        return rounded if rounded != value else coarse(value, towards=math.inf)
    step = TWO_DIGITS.next_plus if towards > 0 else TWO_DIGITS.next_minus
    rounded = float(step(digits))
    return rounded if rounded != value else math.nextafter(value, towards)


def schema_without(schema: FeatureSchema, traces: Traces) -> FeatureSchema:
    """The schema without traces; it encodes every customer who stays as before.

    The median that stands in for a missing value stays where it is needed.
    """
    return replace(
        schema, features=tuple(_feature_without(each, traces) for each in schema.features)
    )


def profile_without(profile: ReferenceProfile, traces: Traces) -> ReferenceProfile:
    """The reference without traces: the same counts in cells that lie a little elsewhere."""
    return replace(
        profile,
        columns=tuple(_column_without(column, traces) for column in profile.columns),
        inside=tuple(_inside_without(column, traces) for column in profile.inside),
    )


def renamed_levels(before: FeatureSchema, after: FeatureSchema) -> dict[str, dict[str, str]]:
    """By feature the levels that have another name in the schema without traces, with that name."""
    renamed = {}
    for old, new in zip(before.features, after.features, strict=True):
        pairs = zip((*old.levels, *old.rare_levels), (*new.levels, *new.rare_levels), strict=True)
        renamed[old.name] = {was: now for was, now in pairs if was != now}
    return {name: levels for name, levels in renamed.items() if levels}


def json_without(data: Any, traces: Traces, *, name: str = "") -> Any:
    """JSON that describes features, without traces.

    What it says of a feature stands under its name, or beside it as `name` or `feature`.
    """
    if isinstance(data, Mapping):
        own = data.get("feature", data.get("name", name))
        context = own if isinstance(own, str) else name
        return {
            key: json_without(value, traces, name=key if traces.knows(key) else context)
            for key, value in data.items()
        }
    if isinstance(data, Sequence) and not isinstance(data, str):
        return [json_without(value, traces, name=name) for value in data]
    if isinstance(data, float) and traces.has_number(name, data):
        return coarse(data)
    if isinstance(data, str) and traces.has_text(name, data):
        return ERASED.format("")
    return data


def _feature_without(feature: Feature, traces: Traces) -> Feature:
    number = _numbers_without(feature.name, traces)
    fill = feature.fill if feature.imputed else number(feature.fill)
    n_levels = len(feature.levels)
    levels = _levels_without(feature.name, (*feature.levels, *feature.rare_levels), traces)
    return replace(
        feature,
        low=number(feature.low, towards=-math.inf),
        high=number(feature.high, towards=math.inf),
        fill=fill,
        levels=levels[:n_levels],
        rare_levels=levels[n_levels:],
    )


def _column_without(column: Column, traces: Traces) -> Column:
    if isinstance(column, LevelColumn):
        return replace(column, levels=_levels_without(column.name, column.levels, traces))
    number = _numbers_without(column.name, traces)
    places = _places_without(column.name, column.cells.cuts, traces)
    return replace(
        column,
        cells=_cells_at(places, column.cells),
        median=number(column.median),
        low=number(column.low, towards=-math.inf),
        high=number(column.high, towards=math.inf),
        lower_tail=_tail_without(column, column.lower_tail, traces),
        upper_tail=_tail_without(column, column.upper_tail, traces),
        means=_joined_means(tuple(map(number, column.means)), column.cells.counts, places),
    )


def _tail_without(
    column: OrderedColumn, tail: TailCells | None, traces: Traces
) -> TailCells | None:
    if tail is None:
        return None
    number = _numbers_without(column.name, traces)
    places = _places_without(column.name, tail.cells.cuts, traces)
    cells = _cells_at(places, tail.cells)
    return replace(tail, bound=number(tail.bound), mean=number(tail.mean), cells=cells)


def _inside_without(column: InsideColumn, traces: Traces) -> InsideColumn:
    if column.cuts is None:
        return column
    places = _places_without(column.name, column.cuts, traces)
    counts = tuple(_joined(row, places) for row in column.counts)
    return replace(column, cuts=_placed(places), counts=counts)


def _cells_at(places: Sequence[float | None], cells: OrderedCells) -> OrderedCells:
    return OrderedCells(_placed(places), _joined(cells.counts, places))


def _places_without(name: str, cuts: Sequence[float], traces: Traces) -> tuple[float | None, ...]:
    """Rising places for the cuts, those at a trace moved to a round one between their neighbours;
    None for a cut that there is no place for, whose two cells become one."""
    is_trace = [traces.has_number(name, cut) for cut in cuts]
    above = [math.inf] * len(cuts)
    for place in range(len(cuts) - 2, -1, -1):
        above[place] = above[place + 1] if is_trace[place + 1] else cuts[place + 1]
    places: list[float | None] = []
    below = -math.inf
    for cut, moves, limit in zip(cuts, is_trace, above, strict=True):
        found: float | None = cut
        if moves:
            tried = _places_near(cut, below, limit)
            free = (each for each in tried if not traces.has_number(name, each))
            found = next((each for each in free if below < each < limit), None)
        places.append(found)
        below = below if found is None else found
    return tuple(places)


def _places_near(cut: float, below: float, above: float) -> Iterator[float]:
    """Round numbers first; then some on the way to the next cuts, or beyond the last one."""
    for towards in (None, math.inf, -math.inf):
        yield coarse(cut, towards=towards)
    low = below if math.isfinite(below) else coarse(min(cut, above), towards=-math.inf)
    high = above if math.isfinite(above) else coarse(max(cut, below), towards=math.inf)
    for share in SHARES_BETWEEN:
        yield low + share * (high - low)


def _placed(places: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(place for place in places if place is not None)


def _joined(counts: Sequence[int], places: Sequence[float | None]) -> tuple[int, ...]:
    """The counts of cells between places; cells with no place between them are counted as one."""
    joined = list(counts[:1])
    for count_above, place in zip(counts[1:], places, strict=True):
        if place is None:
            joined[-1] += count_above
        else:
            joined.append(count_above)
    return tuple(joined)


def _joined_means(
    means: Sequence[float], counts: Sequence[int], places: Sequence[float | None]
) -> tuple[float, ...]:
    """The mean of each of these cells, () where they are not known."""
    if not means or None not in places:
        return tuple(means)
    joined, sizes = list(means[:1]), list(counts[:1])
    for mean, size, place in zip(means[1:], counts[1:], places, strict=True):
        if place is None:
            total = sizes[-1] + size
            share = size / total if total else 0.0
            joined[-1] += share * (mean - joined[-1])
            sizes[-1] = total
        else:
            joined.append(mean)
            sizes.append(size)
    return tuple(joined)


def _numbers_without(name: str, traces: Traces) -> Callable[..., float]:
    def number(value: float, *, towards: float | None = None) -> float:
        return coarse(value, towards=towards) if traces.has_number(name, value) else value

    return number


def _levels_without(name: str, levels: Sequence[str], traces: Traces) -> tuple[str, ...]:
    """Levels in their places, which say how customers are counted, traces under another name."""
    named = list(levels)
    for place, level in enumerate(levels):
        if traces.has_text(name, level):
            numbered = (ERASED.format(f" {n}") for n in count(1))
            named[place] = next(each for each in numbered if each not in named)
    return tuple(named)
