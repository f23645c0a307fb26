"""How a rule is said: its bounds and levels in words, joined to a sentence. Nothing is decided
here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta

from ml.cluster_names import feature_title
from ml.features import Feature, Kind
from ml.rule_conditions import OTHER, Alternative, tokens_of

NO_SHORT_RULE = "no short rule"
EVERY_CUSTOMER = "every customer"
# A threshold beyond this is written as float64 prints it: thousands separators no longer help.
LARGEST_SPELLED_OUT = 1e15


def rule_words(alternatives: Sequence[Alternative]) -> str:
    """Say a rule by the texts of its conditions; `EVERY_CUSTOMER` if there are none."""
    texts = [" and ".join(c.text for c in alternative) for alternative in alternatives]
    return ", or ".join(texts) or EVERY_CUSTOMER


def _number_words(feature: Feature, above: float | None, at_most: float | None, as_of: date) -> str:
    title = feature_title(feature.name)
    if above is None or at_most is None:
        return (
            f"{title} > {_spelled(above)}" if at_most is None else f"{title} ≤ {_spelled(at_most)}"
        )
    return f"{_spelled(above)} < {title} ≤ {_spelled(at_most)}"


def _boolean_words(
    feature: Feature, above: float | None, at_most: float | None, as_of: date
) -> str:
    return f"{feature_title(feature.name)} = {'yes' if at_most is None else 'no'}"


def _date_words(feature: Feature, above: float | None, at_most: float | None, as_of: date) -> str:
    """More days before the training date is earlier."""
    words = [] if at_most is None else [f"on or after {_day(as_of, at_most)}"]
    words += [] if above is None else [f"before {_day(as_of, above)}"]
    # "signed up on" reads "signed up on or after", not "signed up on on or after".
    title = feature_title(feature.name).removesuffix(" on")
    return f"{title} {' and '.join(words)}"


RANGE_WORDS: dict[Kind, Callable[[Feature, float | None, float | None, date], str]] = {
    Kind.NUMBER: _number_words,
    Kind.BOOLEAN: _boolean_words,
    Kind.DATE: _date_words,
}
"""By kind, how the bounds `above` and `at_most` of a feature are said.

They are in raw units, None if open; a date's are days before the day given last."""


def _day(as_of: date, days: float) -> str:
    return (as_of - timedelta(days=days)).isoformat()


def _spelled(value: float | None) -> str:
    if value is None:
        return ""
    whole = value.is_integer() and abs(value) < LARGEST_SPELLED_OUT
    return f"{value:,.0f}" if whole else repr(value)


def level_words(feature: Feature, allowed: set[int]) -> str:
    """Say what a category is, or what it is not: whichever is shorter.

    Parameters
    ----------
    feature : Feature
    allowed : set of int
        The tokens that satisfy the condition.
    """
    known = tokens_of(feature)
    inside = [token for token in known if token in allowed]
    outside = [token for token in known if token not in allowed]
    tokens, verb = (inside, "is") if len(inside) <= len(outside) else (outside, "is not")
    names = [_token_word(feature, token) for token in tokens]
    return f"{feature_title(feature.name)} {verb} {' or '.join(names)}"


def _token_word(feature: Feature, token: int) -> str:
    if token >= 0:
        return feature.levels[token]
    return "a rare value" if token == OTHER else "unknown"
