"""Learning a schema: which attributes carry information, and how each is to be encoded."""

import difflib
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.dates import date_format_of
from ml.features import (
    MAX_LEVELS,
    MAX_RARE_LEVELS,
    MIN_SCALE,
    Feature,
    FeatureSchema,
    FloatArray,
    Kind,
    NoUsableFeatures,
    Omission,
    UnknownFeature,
)
from ml.raw_columns import (
    NUMBER_KINDS,
    at_codes,
    coded_texts,
    frame_numbers,
    frame_values,
    holds_coded_texts,
    holds_numbers,
    raw_booleans,
    raw_days,
    raw_numbers,
    transform,
)
from ml.records import ID_FIELD, NUMBER_LIMIT

if TYPE_CHECKING:
    import pandas as pd

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
NEAR_UNIQUE_SHARE = 0.5  # distinct texts over customers with text: above it, names or notes
NEAR_UNIQUE_COUNT = 20  # distinct texts that may always be a category
MIN_SEQUENCE = 20  # customers: fewer consecutive integers may well be ages
MAX_SEQUENCE_GAPS = 1.1  # range over count: a numbering with some rows deleted; rule of thumb
# A spread below this share of the largest value is rounding noise of float64 (2.2e-16 a step).
MIN_RELATIVE_SCALE = 1e-12

# Last word of a name that says identifier; some are run together where the name has no capitals.
ID_WORDS = frozenset({"id", "ids", "uid", "uuid", "guid", "key", "no", "nr", "num", "number"}) | {
    *("code", "index", "ref", "reference", "customerid", "clientid", "userid", "memberid"),
}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

REASON_ID = "an identifier: a different value for every customer"
REASON_NOT_CHOSEN = "not among the chosen features"
REASON_MISSING = "missing for every customer"
REASON_CONSTANT = "the same for every customer, or as good as"
REASON_MIXED = "mixes numbers, text or booleans, or holds values of another type"
REASON_RANGE = f"holds numbers that are infinite or beyond {NUMBER_LIMIT:.0e}"
REASON_NEAR_UNIQUE = "nearly every customer has a text of their own"


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
    if holds_numbers(column):
        return _learn_given_numbers(
            name, frame_numbers(column), int(column.isna().sum()), named=named
        )
    if holds_coded_texts(column):
        return _learn_coded_texts(name, column, as_of)
    return learn_attribute(name, frame_values(column), as_of, named=named)


def learn_attribute(
    name: str, values: list[Any], as_of: date, *, named: bool = False
) -> Feature | Omission:
    """Learn one attribute from its values, None where missing, by the same rules as a table's."""
    kinds = set(map(type, values)) - {NoneType}
    if not kinds:
        return Omission(name, REASON_MISSING)
    if kinds <= NUMBER_KINDS:
        return _learn_given_numbers(name, raw_numbers(values), values.count(None), named=named)
    if kinds == {bool}:
        return _learn_numbers(name, Kind.BOOLEAN, raw_booleans(values))
    if kinds == {str}:
        counts = Counter(values)
        n_missing = counts.pop(None, 0)
        return _learn_texts(name, counts, n_missing, lambda form: raw_days(values, form, as_of))
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
    transformed = transform(filled, log=log)
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


def _learn_coded_texts(name: str, column: "pd.Series", as_of: date) -> Feature | Omission:
    texts, codes = coded_texts(column)
    n_missing, *counts = np.bincount(codes + 1, minlength=len(texts) + 1).tolist()
    levels = Counter({text: n for text, n in zip(texts, counts, strict=True) if n})
    if not levels:
        return Omission(name, REASON_MISSING)
    return _learn_texts(
        name, levels, n_missing, lambda form: at_codes(raw_days(texts, form, as_of), codes)
    )


def _learn_texts(
    name: str, levels: Counter[str], n_missing: int, days: Callable[[str | None], FloatArray]
) -> Feature | Omission:
    """Read texts as dates or as levels; `days` gives every row's, once their format is known."""
    dated, date_format = date_format_of(list(levels))
    if dated:
        return _learn_numbers(name, Kind.DATE, days(date_format), date_format)
    n_known = levels.total()
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
