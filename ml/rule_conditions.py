"""The conditions of a rule, and which customers they hold for.

Words: a *condition* bounds one feature, an *alternative* is conditions that hold together; a
*token* is the code of a level of a category, or one of two that stand for all other values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.features import Feature, FloatArray, Kind

IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

OTHER, MISSING = -1, -2  # what a level token is if it is none of the feature's own levels


@dataclass(frozen=True, slots=True)
class RangeCondition:
    """A number, boolean or date lies above one bound, at most at another, or both.

    Attributes
    ----------
    feature, kind, text : str
        `text` says the condition in words.
    above, at_most : float or None
        In raw units, days before the training date for a date, 0 and 1 for a boolean.
    or_missing : bool
        Whether a missing value satisfies it: the model reads it as the training median.
    """

    feature: str
    kind: str
    text: str
    above: float | None
    at_most: float | None
    or_missing: bool

    def matches(self, raw: Mapping[str, FloatArray]) -> BoolArray:
        values = raw[self.feature]
        holds = np.full(len(values), True)
        if self.above is not None:
            holds &= values > self.above
        if self.at_most is not None:
            holds &= values <= self.at_most
        return np.where(np.isnan(values), self.or_missing, holds)


@dataclass(frozen=True, slots=True)
class LevelCondition:
    """A category holds one of some levels.

    Attributes
    ----------
    feature, kind, text : str
    levels : tuple of str
        Those allowed among the levels with a column of their own.
    codes : tuple of int
        The raw codes of `levels`.
    n_levels : int
        Codes from here on, and below 0, are rare and unseen levels.
    or_other, or_missing : bool
        Whether a rare or unseen level, or a missing value, satisfies it.
    """

    feature: str
    kind: str
    text: str
    levels: tuple[str, ...]
    codes: tuple[int, ...]
    n_levels: int
    or_other: bool
    or_missing: bool

    def matches(self, raw: Mapping[str, FloatArray]) -> BoolArray:
        tokens = level_tokens(raw[self.feature], self.n_levels)
        allowed = [*self.codes, *[OTHER] * self.or_other, *[MISSING] * self.or_missing]
        return np.isin(tokens, allowed)


Condition: TypeAlias = RangeCondition | LevelCondition
Alternative: TypeAlias = tuple[Condition, ...]


def match(alternatives: Sequence[Alternative], raw: Mapping[str, FloatArray]) -> BoolArray:
    """Find the customers for whom all conditions of an alternative hold, of one at least.

    Parameters
    ----------
    alternatives : sequence of tuples of conditions
        An empty tuple holds for everyone; without alternatives nobody is matched.
    raw : mapping of feature name to float64 (n,), in raw units
        One column at least.

    Returns
    -------
    bool (n,)
    """
    n_rows = len(next(iter(raw.values())))
    matched = np.full(n_rows, False)
    for alternative in alternatives:
        inside = np.full(n_rows, True)
        for condition in alternative:
            inside &= condition.matches(raw)
        matched |= inside
    return matched


def f1(matched: BoolArray, members: BoolArray) -> float:
    """Compute the harmonic mean of precision and recall, 2 tp / (matched + members).

    Parameters
    ----------
    matched, members : bool (n,)
        Customers that a rule matches, and those of the cluster.

    Returns
    -------
    float in 0-1; 0 when there are neither.

    Source
    ------
    van Rijsbergen (1979).
    """
    total = int(matched.sum()) + int(members.sum())
    return 2.0 * int((matched & members).sum()) / total if total else 0.0


def fill_of(feature: Feature) -> float:
    """Return what the model reads for a missing value of a number, boolean or date.

    In raw units; of a date whole days before the training date, as dates have no halves.
    """
    return float(math.floor(feature.fill)) if feature.kind is Kind.DATE else feature.fill


def level_tokens(values: FloatArray, n_levels: int) -> IntArray:
    """Find the token of each value of a category.

    Parameters
    ----------
    values : float64 (n,)
        Raw codes, NaN for a missing value.
    n_levels : int
        Codes from here on, and below 0, are rare and unseen levels.

    Returns
    -------
    int64 (n,): a code below `n_levels`, `OTHER` or `MISSING`.
    """
    known = np.where(np.isnan(values), -1.0, values).astype(np.int64)
    tokens = np.where((known >= 0) & (known < n_levels), known, OTHER)
    return np.where(np.isnan(values), MISSING, tokens)


def tokens_of(feature: Feature) -> list[int]:
    """List the tokens that a category's values may have for the model: its levels come first.

    `OTHER` is among them if it has rare levels, `MISSING` if values were missing at training.
    """
    extras = [OTHER] * bool(feature.rare_levels) + [MISSING] * feature.imputed
    return [*range(len(feature.levels)), *extras]
