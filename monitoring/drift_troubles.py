"""What a drift report finds wrong, in troubles: one thing wrong with one column or segment.

A column may have several, each with a cause of its own: its values moved, it lacks values, it has
a level never seen. One cause in turn shows as several troubles. Nothing here reads the database.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scipy.special import ndtri

from ml.check_result import CERTAIN, Check
from ml.drift import POWER_QUANTILE

NOISE_SDS = 3.0
"""Standard deviations within which two checks of unchanged customers differ; by judgement."""
VANISHED_SHARE = 1 / 5
"""Of its share in the reference, below which a segment counts as vanished; by judgement."""
WIDEST = 0.25
"""Variance of a share of one half: a bound where it is not known which share stands behind it."""


COMPARABLE_SHARE = 1 / 2
"""Of the customers of an earlier check, from which on another one weighs the same; by judgement."""
TINIEST = 1e-300
"""Stands for p values that are zero to a computer."""


class Sort(StrEnum):
    """What is wrong, the most telling first."""

    GONE = "gone"
    VANISHED = "vanished"
    UNSEEN = "unseen"
    MISSING = "missing"
    VALUES = "values"
    FAR = "far"
    SEGMENTS = "segments"
    PAIR = "pair"


SORTS = {
    Check.DISTRIBUTION: Sort.VALUES,
    Check.LOWER_TAIL: Sort.VALUES,
    Check.UPPER_TAIL: Sort.VALUES,
    Check.LEVELS: Sort.VALUES,
    Check.MISSING: Sort.MISSING,
    Check.GONE: Sort.MISSING,
    Check.RETYPED: Sort.MISSING,
    Check.UNSEEN: Sort.UNSEEN,
    Check.CORRELATION: Sort.PAIR,
    Check.SEGMENTS: Sort.SEGMENTS,
    Check.DISTANCE: Sort.SEGMENTS,
    Check.FAR: Sort.FAR,
}
ORDER = list(Sort)
SPREADING = frozenset({Sort.VALUES, Sort.SEGMENTS, Sort.FAR, Sort.PAIR})
"""What a change of values elsewhere may bring about as it grows."""
EXACT_SHARES = frozenset({Check.MISSING, Check.UNSEEN, Check.FAR, Check.GONE, Check.RETYPED})
"""Checks whose effect is a share of customers beyond a known one."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing wrong; `name` is what its alerts call it, `finding` the check that shows it.

    `effect` is a difference of shares (0-1) or of correlations. `is_sure` says that it alone is
    drift: not a pair, and no matter of chance at the level of an alarm.
    """

    name: str
    sort: Sort
    finding: Mapping[str, Any]
    effect: float
    is_sure: bool
    sentence: str
    segment: int | None = None


def troubles_in(report: Mapping[str, Any]) -> tuple[Trouble, ...]:
    """What is wrong, each once, the most telling and then the surest first."""
    found: dict[str, Trouble] = {}
    for finding in report.get("findings", ()):
        for trouble in _of(finding, report):
            found.setdefault(trouble.name, trouble)
    return tuple(sorted(found.values(), key=lambda each: ORDER.index(each.sort)))


def unjudged(report: Mapping[str, Any]) -> set[str]:
    """Names of troubles that the report cannot tell the absence of: there were no values to see.

    A name that one check could judge is judged: a day without anybody in a tail says no less of
    the values.
    """
    silent, judged = set(), set()
    for check in report.get("checks", ()):
        name = _name(SORTS[check["check"]], check["feature"], check["other"])
        if check["check"] in CERTAIN:
            silent |= {_name(sort, check["feature"]) for sort in (Sort.VALUES, Sort.UNSEEN)}
        elif check["test"] == "none" or not check["n_current"]:
            silent.add(name)
        else:
            judged.add(name)
    return silent - judged


def has_grown(trouble: Trouble, since: Mapping[str, Any]) -> bool:
    """Whether it is worse than in an earlier report by more than two checks differ by chance."""
    if trouble.segment is None:
        before, n_before = _effect_in(since, trouble.finding)
    else:
        before, n_before = _lost_share(since, trouble.segment), since["n_scored"]
    now, n_now = abs(trouble.effect), trouble.finding["n_current"]
    if not n_before or not n_now:
        return True
    return now - before > NOISE_SDS * math.sqrt(
        _variance(trouble, max(before, now)) * (1 / n_before + 1 / n_now)
    )


def could_see(trouble: Trouble, then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a later report would most likely show a trouble of an earlier one, were it there.

    One of hardly fewer customers would, or is told no less than the earlier one was. Of far fewer
    the normal score of its finding changes with the root of 1 / (1/n + 1/m); it must still exceed
    what a finding takes by the score of a power of 80 %.
    """
    finding = trouble.finding
    if finding["check"] in CERTAIN:
        return bool(now["n_current"])
    n_reference, n_then = finding["n_reference"], finding["n_current"]
    share = now["n_current"] / max(then["n_current"], 1)
    n_now = n_then * share
    if share >= COMPARABLE_SHARE:
        return True
    if not (n_reference and n_now):
        return False
    change = math.sqrt((1 / n_reference + 1 / n_then) / (1 / n_reference + 1 / n_now))
    score = -float(ndtri(max(finding["p_value"], TINIEST) / 2))
    needed = -float(ndtri(now["threshold"] * finding["weight"] / 2)) + POWER_QUANTILE
    return score * change >= needed


def _of(finding: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[Trouble]:
    """The troubles that one finding shows."""
    check, feature, other = finding["check"], finding["feature"], finding["other"]
    is_certain = check in CERTAIN
    is_sure = is_certain or (other is None and finding["p_adjusted"] <= report["alarm_threshold"])

    def trouble(sort: Sort) -> Trouble:
        name = _name(sort, feature, other)
        return Trouble(name, sort, finding, finding["effect"], is_sure, finding["sentence"])

    if is_certain:
        yield trouble(Sort.GONE)
    yield trouble(SORTS[check])
    if check == Check.SEGMENTS:
        for shift in report["segments"]:
            if _has_vanished(shift, finding):
                yield _vanished(shift, finding, is_sure=is_sure)


def _name(sort: Sort, feature: str | None, other: str | None = None) -> str:
    if sort == Sort.SEGMENTS:
        return "segments"
    if sort == Sort.FAR:
        return "far from every segment"
    if sort == Sort.PAIR:
        return f"{feature} with {other}"
    words = {Sort.GONE: ": gone", Sort.MISSING: ": missing", Sort.UNSEEN: ": new levels"}
    return f"{feature}{words.get(sort, '')}"


def _has_vanished(shift: Mapping[str, Any], finding: Mapping[str, Any]) -> bool:
    """Whether a segment lost nearly all of its customers, more than by chance. Noise cannot."""
    before, now = shift["reference_share"], shift["current_share"]
    sizes = finding["n_reference"], finding["n_current"]
    if shift["segment"] is None or not all(sizes) or now >= VANISHED_SHARE * before:
        return False
    variance = before * (1 - before) * sum(1 / size for size in sizes)
    return bool(before - now > NOISE_SDS * math.sqrt(variance))


def _vanished(shift: Mapping[str, Any], finding: Mapping[str, Any], *, is_sure: bool) -> Trouble:
    before, now = shift["reference_share"], shift["current_share"]
    called = shift["segment_name"] or f"segment {shift['segment']}"
    return Trouble(
        name=f"segment {shift['segment']}: vanished",
        sort=Sort.VANISHED,
        finding=finding,
        effect=before - now,
        is_sure=is_sure,
        sentence=f"{called}: {100 * before:.1f} % of customers before, {100 * now:.1f} % now",
        segment=shift["segment"],
    )


def _effect_in(report: Mapping[str, Any], finding: Mapping[str, Any]) -> tuple[float, int]:
    """How large the same effect was in another report, and among how many customers."""
    for check in report.get("checks", ()):
        if all(check[key] == finding[key] for key in ("feature", "other", "check")):
            return abs(check["effect"]), check["n_current"]
    return 0.0, report["n_current"]


def _lost_share(report: Mapping[str, Any], segment: int) -> float:
    """The share of customers that a segment lost in another report."""
    for shift in report["segments"]:
        if shift["segment"] == segment:
            return max(0.0, shift["reference_share"] - shift["current_share"])
    return 0.0


def _variance(trouble: Trouble, share: float) -> float:
    """Of one customer's part in the effect."""
    if trouble.segment is not None or trouble.finding["check"] in EXACT_SHARES:
        return share * (1 - share)
    return 1.0 if trouble.sort == Sort.PAIR else WIDEST
