"""Dates as people write them: ISO 8601, or one other format that a whole column keeps to.

Words: an ordinal counts days from 0001-01-01 (1), as `datetime.date.toordinal` does.
"""

import math
import re
from collections.abc import Sequence
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

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


def ordinals(texts: Sequence[str], date_format: str | None) -> NDArray[np.float64]:
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


def date_format_of(texts: list[str]) -> tuple[bool, str | None]:
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


def spelled(date_format: str) -> str:
    return date_format.replace("%d", "DD").replace("%m", "MM").replace("%Y", "YYYY")
