"""Whether current customers still come from the population a version was trained on.
A check is one test of a column, a pair or the clusters; a finding is a check that shows drift."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from scipy.special import ndtri

from ml import drift_wording
from ml.check_result import CERTAIN, ONE_SIDED, Check, CheckResult, Floors
from ml.column_checks import check_column
from ml.pair_checks import check_pairs
from ml.reference_profile import ReferenceProfile, check_columns
from ml.scored import Scored
from ml.segment_checks import (
    InsideShift,
    SegmentShift,
    check_segments,
    inside_shifts,
    segment_shifts,
)
from ml.share_tables import ShareTable, share_table
from ml.two_sample_tests import weighted_holm

if TYPE_CHECKING:
    from ml.features import RawColumns

__all__ = [
    "Check",
    "CheckResult",
    "DriftResult",
    "Floors",
    "InsideShift",
    "Reason",
    "ReferenceProfile",
    "Scored",
    "SegmentShift",
    "ShareTable",
    "Verdict",
    "compare",
]

MIN_REFERENCE = 200  # customers below which a profile says too little; by judgement
MIN_CURRENT = 50  # customers below which even a large change is invisible; by judgement

# Weights of the family, shared out where there is nothing to look at.
COLUMNS_WEIGHT, PAIRS_WEIGHT, SEGMENTS_WEIGHT = 1 / 2, 1 / 4, 1 / 4
# A year of checks shares its luck: that of one reference. Source: 121 simulated years of weekly
# checks without any change; 9 had an alarm with `threshold / checks`, 4 with a third of that.
ALARM_SHARE = 1 / 3
# Checks a year up to which any two warnings running on one subject are an alarm (2 of those years).
# Neighbours that warn by chance grow with their number and the square of the level.
REPEATABLE_CHECKS = 52
POWER_QUANTILE = 0.84  # standard normal quantile of a power of 80 %
MAX_TABLES = 200  # features whose shares by cell are kept, those with the surest findings first
MAX_TABLES_OF_FINDINGS = 8  # the same, where only features with a finding have theirs kept

NO_NAMES: Mapping[int, str] = MappingProxyType({})
NONE_UNREADABLE: Mapping[str, int] = MappingProxyType({})


class Verdict(StrEnum):
    """The outcome of one comparison."""

    OK = "ok"
    WARNING = "warning"
    DRIFT = "drift"
    INSUFFICIENT_DATA = "insufficient_data"


class Reason(StrEnum):
    """Why there was not enough to compare."""

    NOTHING_NEW = "nothing_new"
    FEW_CURRENT = "few_current"
    FEW_IN_REFERENCE = "few_in_reference"


@dataclass(frozen=True)
class DriftResult:
    """The outcome of one comparison.

    `checks` holds every check in order: columns, pairs, clusters; `findings` those that show
    drift at `threshold`, the surest first. `alarm_threshold` is the level at which one finding
    alone is drift, `repeat_threshold` that at which it is when it repeats; `subjects` names what
    findings of that level are about, for the next comparison.
    `n_scored` current customers stand for all where clusters are checked. `inside` describes, and
    so do `tables`: the shares of customers by cell of a feature, the surest findings first.
    """

    verdict: Verdict
    reason: Reason | None
    summary: str
    threshold: float
    alarm_threshold: float
    repeat_threshold: float
    n_reference: int
    n_current: int
    n_scored: int
    smallest_visible_shift_sd: float | None
    findings: tuple[CheckResult, ...]
    checks: tuple[CheckResult, ...]
    segments: tuple[SegmentShift, ...]
    inside: tuple[InsideShift, ...]
    tables: tuple[ShareTable, ...] = ()

    @property
    def subjects(self) -> tuple[str, ...]:
        """What findings that may repeat are about, each once, the surest first."""
        found = (check for check in self.findings if self.is_repeatable(check))
        return tuple(dict.fromkeys(name for check in found for name in check.subjects))

    @property
    def drifted_features(self) -> tuple[str, ...]:
        """Names of the features with a finding of their own, each once, the surest first."""
        alone = (check.feature for check in self.findings if check.other is None)
        return tuple(dict.fromkeys(name for name in alone if name is not None))

    def is_repeatable(self, finding: CheckResult) -> bool:
        """Whether a finding is drift when the comparison before had one like it."""
        return finding.check in CERTAIN or finding.p_adjusted <= self.repeat_threshold

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON types, without NaN or infinities."""
        plain = asdict(self) | {"subjects": list(self.subjects)}
        for name in ("findings", "checks", "segments", "inside", "tables"):
            plain[name] = list(plain[name])
        return plain


def compare(
    profile: ReferenceProfile,
    raw: RawColumns,
    scored: Scored,
    *,
    threshold: float = 0.05,
    checks_per_year: float = 1.0,
    previous_subjects: Collection[str] = (),
    floors: Floors = Floors(),  # noqa: B008 - frozen
    days_since_training: int = 0,
    unreadable: Mapping[str, int] = NONE_UNREADABLE,
    segment_names: Mapping[int, str] = NO_NAMES,
    random_state: int = 0,
    with_all_tables: bool = True,
) -> DriftResult:
    """Compare current customers with the reference.

    Everything looked at is one family by weighted Holm: without any change the probability of a
    finding is at most the threshold, whatever the dependence between columns. A finding is a
    warning; it is drift where it would be one at `alarm_threshold`, or where it and one of the
    comparison before, on the same subject, would be at `repeat_threshold`.

    Parameters
    ----------
    profile : ReferenceProfile of the version
    raw : one float64 (n,) a profiled feature, in raw units; NaN = missing, level code -1 = unseen
    scored : clusters the version predicts for these customers, and their distances
    threshold : family-wise significance level of one comparison, in (0, 1)
    checks_per_year : comparisons a year that one alarm in 1 / threshold years is shared by, >= 1
    previous_subjects : `subjects` of the comparison before; none where it was ok
    floors : smallest effects that count
    days_since_training : by which dates may have moved on, >= 0
    unreadable : missing values by feature that were given, but of another type
    segment_names : what clusters are called
    random_state : seed of the samples that pairs and clusters are looked at in
    with_all_tables : whether shares by cell are kept of features without a finding too

    Returns
    -------
    DriftResult, the same for the same arguments

    Raises
    ------
    ValueError for a threshold, number of checks or of days out of bounds, or naming a column that
    is absent, infinite, of another length than the labels, or holds a code outside its levels
    """
    if not 0 < threshold < 1:
        raise ValueError("threshold must lie between 0 and 1")
    if not checks_per_year >= 1:
        raise ValueError("checks_per_year must be at least 1")
    if days_since_training < 0:
        raise ValueError("days_since_training must not be negative")
    n_current = scored.n_customers(raw)
    check_columns(raw, [column.name for column in profile.columns], n_current)
    reason = _too_little(profile, n_current)
    unjudged = DriftResult(
        verdict=Verdict.INSUFFICIENT_DATA,
        reason=reason,
        summary=drift_wording.of_insufficient(
            n_current, profile.n_reference, MIN_CURRENT, MIN_REFERENCE
        ),
        threshold=threshold,
        alarm_threshold=alarm_threshold(threshold, checks_per_year),
        repeat_threshold=threshold * min(1.0, (REPEATABLE_CHECKS / checks_per_year) ** 0.5),
        n_reference=profile.n_reference,
        n_current=n_current,
        n_scored=len(scored.labels),
        smallest_visible_shift_sd=None,
        findings=(),
        checks=(),
        segments=segment_shifts(profile, scored.labels),
        inside=(),
    )
    if reason is not None:
        return unjudged
    by_column = [
        check_column(
            column,
            raw[column.name],
            floors,
            n_unreadable=unreadable.get(column.name, 0),
            days_since_training=days_since_training,
        )
        for column in profile.columns
    ]
    of_pairs = check_pairs(
        profile.pairs, raw, floors, n_reference=profile.n_reference, random_state=random_state
    )
    of_segments = check_segments(
        profile, raw, scored, unjudged.segments, floors, names=segment_names
    )
    inside = inside_shifts(
        profile,
        raw,
        scored,
        floors,
        threshold=threshold,
        names=segment_names,
        random_state=random_state,
    )
    checks = _judge(
        _weigh(
            (COLUMNS_WEIGHT, by_column),
            (PAIRS_WEIGHT, [[check] for check in of_pairs]),
            (SEGMENTS_WEIGHT, [of_segments]),
        ),
        threshold,
    )
    result = _concluded(replace(unjudged, checks=tuple(checks), inside=inside), previous_subjects)
    names = _with_tables(result) if with_all_tables else result.drifted_features
    most = MAX_TABLES if with_all_tables else MAX_TABLES_OF_FINDINGS
    return replace(result, tables=_tables(profile, raw, names[:most]))


def alarm_threshold(threshold: float, checks_per_year: float) -> float:
    """Return the level at which one finding alone is an alarm; with one check a year all of it.

    Parameters
    ----------
    threshold : float
        Chance of a false alarm in a year, in (0, 1).
    checks_per_year : float
        1 or more.
    """
    return threshold / (1.0 + (checks_per_year - 1.0) / ALARM_SHARE)


def _too_little(profile: ReferenceProfile, n_current: int) -> Reason | None:
    """Return why the two samples cannot be compared, None where they can."""
    if not n_current:
        return Reason.NOTHING_NEW
    if n_current < MIN_CURRENT:
        return Reason.FEW_CURRENT
    if min(profile.n_reference, profile.n_scored) < MIN_REFERENCE:
        return Reason.FEW_IN_REFERENCE
    return None


def _weigh(*blocks: tuple[float, Sequence[Sequence[CheckResult]]]) -> list[CheckResult]:
    """Return all checks with their weight in the family; the weights sum to 1.

    A block has a weight and groups that share it alike; inside a group the weights of checks are
    relative. Which checks exist depends on the reference and on pooled counts alone, so sharing
    out the weight of an absent one costs nothing of the promise.
    """
    tested = [
        (weight, sum(_total(group) > 0 for group in groups), groups) for weight, groups in blocks
    ]
    in_play = sum(weight for weight, n_groups, _ in tested if n_groups)
    return [
        replace(check, weight=check.weight / _total(group) * weight / n_groups / in_play)
        if check.weight
        else check
        for weight, n_groups, groups in tested
        for group in groups
        for check in group
    ]


def _with_tables(result: DriftResult) -> tuple[str, ...]:
    """Return the features that were checked: the surest findings, then by size of effect."""
    alone = (check for check in result.checks if check.feature and check.other is None)
    largest = sorted(alone, key=lambda check: -abs(check.effect))
    names = (check.feature for check in largest if check.feature)
    return tuple(dict.fromkeys([*result.drifted_features, *names]))


def _tables(
    profile: ReferenceProfile, raw: RawColumns, names: Sequence[str]
) -> tuple[ShareTable, ...]:
    """Return the shares by cell of the named features, in their order."""
    columns = {column.name: column for column in profile.columns}
    tables = (share_table(columns[name], raw[name]) for name in names)
    return tuple(table for table in tables if table is not None)


def _total(group: Sequence[CheckResult]) -> float:
    return sum(check.weight for check in group)


def _judge(checks: Sequence[CheckResult], threshold: float) -> list[CheckResult]:
    """Return the checks with adjusted p values and, from these and the floors, the findings."""
    family = [check for check in checks if check.weight]
    adjusted = iter(weighted_holm([c.p_value for c in family], [c.weight for c in family]))
    return [
        _decide(check, next(adjusted), threshold) if check.weight else check for check in checks
    ]


def _decide(check: CheckResult, p_adjusted: float, threshold: float) -> CheckResult:
    """Return the check with its verdict."""
    size = check.effect if check.check in ONE_SIDED else abs(check.effect)
    drifted = p_adjusted <= threshold and size >= check.floor
    return replace(check, p_adjusted=p_adjusted, drifted=drifted)


def _concluded(result: DriftResult, previous_subjects: Collection[str]) -> DriftResult:
    """Return the result with its findings, verdict and summary."""
    checks = result.checks
    findings = tuple(sorted((check for check in checks if check.drifted), key=_certainty))
    visible = _smallest_visible_shift(result)
    alarmed = any(
        check.check in CERTAIN
        or check.p_adjusted <= result.alarm_threshold
        or (result.is_repeatable(check) and not set(previous_subjects).isdisjoint(check.subjects))
        for check in findings
    )
    if findings:
        verdict = Verdict.DRIFT if alarmed else Verdict.WARNING
        summary = drift_wording.of_findings(findings, len(checks), alarmed=alarmed)
    else:
        verdict, summary = Verdict.OK, drift_wording.of_nothing_wrong(len(checks), visible)
    return replace(
        result,
        verdict=verdict,
        summary=summary,
        findings=findings,
        smallest_visible_shift_sd=visible,
    )


def _certainty(check: CheckResult) -> tuple[bool, float, float]:
    """Return the sort key of findings: a column gone first, then the smallest adjusted p."""
    return check.check not in CERTAIN, check.p_adjusted, -abs(check.effect)


def _smallest_visible_shift(result: DriftResult) -> float | None:
    """Return the shift (reference sd) that 80 % of comparisons of this size would find.

    It is (z(1 - threshold w / 2) + 0.84) sqrt(1/n + 1/m), the power of a test of one mean, w the
    smallest weight of a distribution check; None where no distribution is checked.
    """
    weights = [check.weight for check in result.checks if check.check == Check.DISTRIBUTION]
    if not weights:
        return None
    quantile = -float(ndtri(result.threshold * min(weights) / 2))
    return (quantile + POWER_QUANTILE) * (1 / result.n_reference + 1 / result.n_current) ** 0.5
