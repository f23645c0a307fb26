"""Values of single customers in what a version keeps of all: ranges, cuts, names of rare levels.

Means, medians and shares of many are not anybody's; but the largest value that training saw is
somebody's, and so is a cut between two cells or a level that one customer alone had. A *trace* is
such a value, of a customer who goes and of nobody who stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
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
ERASED = "(erased{})"
"""Stands in for a text."""


@dataclass(frozen=True, slots=True)
class Traces:
    """By feature the values, in raw units, and the texts that are traces."""

    numbers: Mapping[str, Set[float]]
    texts: Mapping[str, Set[str]]

    def has_number(self, name: str, value: float) -> bool:
        """Whether it is a trace, or the float beside one: cuts touch the values they lie at."""
        known = self.numbers.get(name, frozenset())
        return bool(known) and not known.isdisjoint(
            (value, math.nextafter(value, math.inf), math.nextafter(value, -math.inf))
        )

    def knows(self, name: str) -> bool:
        """Whether it is the name of a feature."""
        return name in self.numbers or name in self.texts

    def has_text(self, name: str, text: str) -> bool:
        return text in self.texts.get(name, frozenset())


def coarse(value: float, *, towards: float | None = None) -> float:
    """Another number nearby, of two significant digits: the next one towards an infinity, or else
    the nearest; 0 and the limit of all numbers stay."""
    if not 0 < abs(value) < NUMBER_LIMIT:
        return value
    rounded = float(f"{value:.{DIGITS - 1}e}")
    step = 10.0 ** (math.floor(math.log10(abs(value))) - DIGITS + 1)
    if towards is None:
        return rounded if rounded != value else float(f"{value + step:.{DIGITS - 1}e}")
    sign = math.copysign(1.0, towards)
    while sign * (rounded - value) <= 0:
        rounded = float(f"{rounded + sign * step:.{DIGITS - 1}e}")
    return rounded


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
    return replace(
        feature,
        low=number(feature.low, towards=-math.inf),
        high=number(feature.high, towards=math.inf),
        fill=fill,
        rare_levels=_levels_without(feature.name, feature.rare_levels, traces),
    )


def _column_without(column: Column, traces: Traces) -> Column:
    if isinstance(column, LevelColumn):
        return replace(column, levels=_levels_without(column.name, column.levels, traces))
    number = _numbers_without(column.name, traces)
    return replace(
        column,
        cells=_cells_without(column.name, column.cells, traces),
        median=number(column.median),
        low=number(column.low, towards=-math.inf),
        high=number(column.high, towards=math.inf),
        lower_tail=_tail_without(column, column.lower_tail, traces),
        upper_tail=_tail_without(column, column.upper_tail, traces),
        means=tuple(map(number, column.means)),
    )


def _tail_without(
    column: OrderedColumn, tail: TailCells | None, traces: Traces
) -> TailCells | None:
    if tail is None:
        return None
    number = _numbers_without(column.name, traces)
    cells = _cells_without(column.name, tail.cells, traces)
    return replace(tail, bound=number(tail.bound), mean=number(tail.mean), cells=cells)


def _inside_without(column: InsideColumn, traces: Traces) -> InsideColumn:
    if column.cuts is None:
        return column
    return replace(column, cuts=_cuts_without(column.name, column.cuts, traces))


def _cells_without(name: str, cells: OrderedCells, traces: Traces) -> OrderedCells:
    return replace(cells, cuts=_cuts_without(name, cells.cuts, traces))


def _cuts_without(name: str, cuts: Sequence[float], traces: Traces) -> tuple[float, ...]:
    """Rising cuts, those at a trace moved to a round place between their neighbours."""
    moved: list[float] = []
    kept = [cut for cut in cuts if not traces.has_number(name, cut)]
    for cut in cuts:
        if cut in kept:
            moved.append(cut)
            continue
        above = min((other for other in kept if other > cut), default=math.inf)
        below = moved[-1] if moved else -math.inf
        places = (coarse(cut), coarse(cut, towards=math.inf), coarse(cut, towards=-math.inf))
        fitting = [place for place in places if below < place < above and place != cut]
        moved.append(fitting[0] if fitting else _between(below, cut, above))
    return tuple(moved)


def _between(below: float, cut: float, above: float) -> float:
    """Half way to a neighbour; the cut lies between both, and they are not both infinite."""
    if math.isfinite(above):
        return (max(below, cut) + above) / 2.0
    return below + abs(coarse(below, towards=math.inf) - below)


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
