"""The bounds of a rule made readable: conditions that add nothing left out, thresholds as round as
the rule can bear. A date is round at the turn of a year or month, a number by its digits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta

from ml.features import Feature, FeatureSchema, Kind, RawColumns
from ml.rule_conditions import (
    Alternative,
    BoolArray,
    LevelCondition,
    RangeCondition,
    f1,
    fill_of,
    match,
)
from ml.rule_words import RANGE_WORDS

MAX_ROUNDING_COST = 0.01  # F1 that round thresholds may cost in all
MIN_DIGITS = 2  # significant digits of a threshold
MAX_DIGITS = 17  # tells any two float64 apart


def range_condition(
    schema: FeatureSchema, feature: Feature, above: float | None, at_most: float | None
) -> RangeCondition:
    """Make the condition that a feature lies above one bound, at most at another, or both.

    Parameters
    ----------
    schema : FeatureSchema
        Its day is the one from which a date is counted back.
    feature : Feature
        A number, boolean or date.
    above, at_most : float or None
        In raw units, days before the training date for a date, 0 and 1 for a boolean.

    Returns
    -------
    The condition with its words. A missing value satisfies it if the training median does.
    """
    fill = fill_of(feature)
    fill_fits = (above is None or fill > above) and (at_most is None or fill <= at_most)
    text = RANGE_WORDS[feature.kind](feature, above, at_most, schema.as_of)
    if fill_fits and feature.imputed:
        text += " (or unknown)"
    return RangeCondition(feature.name, feature.kind.value, text, above, at_most, fill_fits)


def shortened(
    alternatives: tuple[Alternative, ...], raw: RawColumns, members: BoolArray
) -> tuple[Alternative, ...]:
    """Leave out conditions without which the rule is as good: a tree asks before it knows.

    Parameters
    ----------
    alternatives : tuple of tuples of conditions
    raw : mapping of feature name to float64 (n,), in raw units
    members : bool (n,)
        Customers of the cluster that the rule is for.

    Returns
    -------
    The alternatives, none of them empty, with an F1 on these customers that is no lower.
    """
    best = f1(match(alternatives, raw), members)
    for place in reversed(list(_places(alternatives))):
        tried = _replaced(alternatives, place, ())
        if all(tried) and (score := f1(match(tried, raw), members)) >= best:
            alternatives, best = tried, score
    return alternatives


def with_round_bounds(
    alternatives: tuple[Alternative, ...],
    schema: FeatureSchema,
    raw: RawColumns,
    members: BoolArray,
) -> tuple[Alternative, ...]:
    """Make each threshold as round as the rule can bear, all together within the cost.

    Parameters
    ----------
    alternatives : tuple of tuples of conditions
    schema : FeatureSchema
    raw : mapping of feature name to float64 (n,), in raw units
    members : bool (n,)
        Customers of the cluster that the rule is for.

    Returns
    -------
    The alternatives, with an F1 on these customers that is lower by less than
    `MAX_ROUNDING_COST`. Levels and booleans stay as they are.
    """
    least = f1(match(alternatives, raw), members) - MAX_ROUNDING_COST
    features = {feature.name: feature for feature in schema.features}
    for place in _places(alternatives):
        condition = alternatives[place[0]][place[1]]
        if isinstance(condition, LevelCondition) or condition.kind == Kind.BOOLEAN:
            continue
        for option in _rounder_options(condition, schema, features[condition.feature]):
            tried = _replaced(alternatives, place, (option,))
            if f1(match(tried, raw), members) > least:
                alternatives = tried
                break
    return alternatives


def _places(alternatives: Sequence[Alternative]) -> Iterator[tuple[int, int]]:
    return ((i, j) for i, conditions in enumerate(alternatives) for j in range(len(conditions)))


def _replaced(
    alternatives: tuple[Alternative, ...], place: tuple[int, int], new: Alternative
) -> tuple[Alternative, ...]:
    i, j = place
    changed = (*alternatives[i][:j], *new, *alternatives[i][j + 1 :])
    return (*alternatives[:i], changed, *alternatives[i + 1 :])


def _rounder_options(
    condition: RangeCondition, schema: FeatureSchema, feature: Feature
) -> list[RangeCondition]:
    """The condition with ever finer thresholds, the roundest first, ending at the exact ones."""
    round_to = _round_days(schema.as_of) if feature.kind is Kind.DATE else _ROUND_NUMBERS
    return [
        range_condition(
            schema,
            feature,
            None if condition.above is None else rounded(condition.above),
            None if condition.at_most is None else rounded(condition.at_most),
        )
        for rounded in round_to
    ]


def _significant(value: float, digits: int) -> float:
    return float(f"{value:.{digits - 1}e}")


def _to_digits(digits: int) -> Callable[[float], float]:
    return lambda value: _significant(value, digits)


_ROUND_NUMBERS = [_to_digits(digits) for digits in range(MIN_DIGITS, MAX_DIGITS + 1)]


def _round_days(as_of: date) -> list[Callable[[float], float]]:
    """Dates are round at the turn of a year, then of a month."""

    def to_nearest(starts: Callable[[date], tuple[date, date]]) -> Callable[[float], float]:
        def rounded(days: float) -> float:
            day = as_of - timedelta(days=days)
            nearest = min(starts(day), key=lambda start: abs((start - day).days))
            return float((as_of - nearest).days)

        return rounded

    return [to_nearest(_years_around), to_nearest(_months_around), lambda days: days]


def _years_around(day: date) -> tuple[date, date]:
    first = day.replace(month=1, day=1)
    return first, first.replace(year=min(day.year + 1, date.max.year))


def _months_around(day: date) -> tuple[date, date]:
    first = day.replace(day=1)
    if day.month < 12:
        return first, first.replace(month=day.month + 1)
    return first, first.replace(year=min(day.year + 1, date.max.year), month=1)
