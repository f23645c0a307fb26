"""One check of a drift comparison: what it looks at, how large a change counts, what it found."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from ml.two_sample_tests import TestOutcome


class Check(StrEnum):
    """What a check looks at."""

    DISTRIBUTION = "distribution"
    LOWER_TAIL = "lower_tail"
    UPPER_TAIL = "upper_tail"
    MISSING = "missing"
    LEVELS = "levels"
    UNSEEN = "unseen"
    GONE = "gone"
    RETYPED = "retyped"
    CORRELATION = "correlation"
    SEGMENTS = "segments"
    DISTANCE = "distance"
    FAR = "far"


EFFECT_NAMES = {
    Check.DISTRIBUTION: "largest gap between cumulative shares",
    Check.LOWER_TAIL: "largest gap between cumulative shares, in the lowest 5 %",
    Check.UPPER_TAIL: "largest gap between cumulative shares, in the highest 5 %",
    Check.MISSING: "change of the missing share",
    Check.LEVELS: "share of customers moved between levels",
    Check.UNSEEN: "unseen share above the expected one",
    Check.GONE: "change of the missing share",
    Check.RETYPED: "change of the missing share",
    Check.CORRELATION: "change of the correlation of ranks",
    Check.SEGMENTS: "share of customers moved between clusters",
    Check.DISTANCE: "largest gap between cumulative shares of the distance",
    Check.FAR: "change of the share of customers far from every cluster",
}

# A fall of these is no drift. Customers of the training who come back as current ones lie closer
# to what the model is like than any others do.
ONE_SIDED = frozenset({Check.UNSEEN, Check.DISTANCE, Check.FAR})
CERTAIN = frozenset({Check.GONE, Check.RETYPED})  # findings that are no matter of chance


@dataclass(frozen=True, slots=True)
class Floors:
    """Smallest effects that count as drift, however certain they are.

    Shares of customers (0-1), but `correlation`, a difference. By judgement: a gap of 0.025
    between cumulative shares is a shift of about 0.06 sd.
    """

    distribution: float = 0.025
    tail: float = 0.15
    missing: float = 0.02
    levels: float = 0.025
    unseen: float = 0.002
    correlation: float = 0.05
    segments: float = 0.025
    distance: float = 0.025
    far: float = 0.01

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) <= 1:
                raise ValueError(f"floor {field.name!r} must lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class Shown:
    """Figures beside a check of one column that people know. They decide nothing.

    Medians and means in the column's raw unit, of the reference and of current customers;
    `median_shift_sd` and `wasserstein_sd` in reference standard deviations.
    """

    median_before: float | None = None
    median_now: float | None = None
    mean_before: float | None = None
    mean_now: float | None = None
    median_shift_sd: float | None = None
    psi: float | None = None
    jensen_shannon: float | None = None
    wasserstein_sd: float | None = None
    out_of_range_share: float | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check.

    `feature` is None where clusters are checked; `other` is the second feature of a pair.
    `effect` is what the floor applies to: positive where current values lie higher or what is
    counted grew; moves between levels or clusters have no sign. `weight` is the share of the
    family (0-1), 0 for a column that is gone, which is no matter of chance. `drifted` says that
    the check is a finding at DRIFT_THRESHOLD.
    """

    feature: str | None
    kind: str
    check: Check
    test: str
    n_reference: int
    n_current: int
    statistic: float
    p_value: float
    p_adjusted: float
    weight: float
    effect: float
    effect_name: str
    floor: float
    drifted: bool
    sentence: str
    other: str | None = None
    shown: Shown = Shown()

    @property
    def subjects(self) -> tuple[str, ...]:
        """What the check is about: the features it looks at, or the segments."""
        return tuple(name for name in (self.feature or "segments", self.other) if name)


def undecided(
    check: Check,
    outcome: TestOutcome,
    *,
    feature: str | None,
    kind: str,
    sizes: tuple[int, int],
    effect: float,
    floor: float,
    sentence: str,
    weight: float = 1.0,
    other: str | None = None,
    shown: Shown = Shown(),  # noqa: B008 - frozen
) -> CheckResult:
    """Return a check before the family is judged; its weight is relative to its neighbours."""
    return CheckResult(
        feature=feature,
        kind=kind,
        check=check,
        test=outcome.test,
        n_reference=sizes[0],
        n_current=sizes[1],
        statistic=outcome.statistic,
        p_value=outcome.p_value,
        p_adjusted=1.0,
        weight=weight,
        effect=effect,
        effect_name=EFFECT_NAMES[check],
        floor=floor,
        drifted=False,
        sentence=sentence,
        other=other,
        shown=shown,
    )
