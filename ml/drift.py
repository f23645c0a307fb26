"""Whether current customers still come from the population a version was trained on.
A check is one test of one column or of the clusters; a finding is a check that counts as drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ml.clusterers import NOISE
from ml.ordered_cells import anderson_darling, ks_distance
from ml.reference_profile import (
    LevelColumn,
    OrderedColumn,
    ReferenceProfile,
    check_columns,
    count_levels,
    sorted_values,
)
from ml.two_sample_tests import (
    TestOutcome,
    all_hits_chance,
    chi_square,
    hypergeometric_two_sided,
    pool_rare,
    psi,
    psi_of_ordered_cells,
    share_moved,
    weighted_holm,
)

if TYPE_CHECKING:
    from ml.features import RawColumns

__all__ = [
    "Check",
    "DriftResult",
    "FeatureDrift",
    "Floors",
    "ReferenceProfile",
    "SegmentShift",
    "Verdict",
    "compare",
]

Counts = NDArray[np.int64]

MIN_REFERENCE = 200  # customers below which a profile says too little; by judgement
MIN_CURRENT = 50  # customers below which even a large change is invisible; by judgement
MIN_VALUES = 10  # values in either sample below which a distribution is not compared

# Weights of the family. Inside an ordered column that misses values the distribution weighs twice
# as much as the missing rate; inside a category the known levels weigh three times the unseen ones.
COLUMNS_WEIGHT = 3 / 4
SEGMENTS_WEIGHT = 1 / 4
DISTRIBUTION_WEIGHT, MISSING_WEIGHT = 2 / 3, 1 / 3
LEVELS_WEIGHT, UNSEEN_WEIGHT = 3 / 4, 1 / 4

# A column without a single value is gone unless that is credible of a column mostly empty before;
# then the missing rate is tested like any other, so that the family keeps its promise.
GONE_CHANCE = 1e-4
POWER_QUANTILE = 0.84  # standard normal quantile of a power of 80 %


class Check(StrEnum):
    """What a check looks at."""

    DISTRIBUTION = "distribution"
    MISSING = "missing"
    LEVELS = "levels"
    UNSEEN = "unseen"
    GONE = "gone"
    SEGMENTS = "segments"


class Verdict(StrEnum):
    """The outcome of one comparison."""

    OK = "ok"
    DRIFT = "drift"
    INSUFFICIENT_DATA = "insufficient_data"


EFFECT_NAMES = {
    Check.DISTRIBUTION: "largest gap between cumulative shares",
    Check.MISSING: "change of the missing share",
    Check.LEVELS: "share of customers moved between levels",
    Check.UNSEEN: "unseen share above the expected one",
    Check.GONE: "change of the missing share",
    Check.SEGMENTS: "share of customers moved between clusters",
}


@dataclass(frozen=True, slots=True)
class Floors:
    """Smallest effects (shares, 0-1) that count as drift, however certain they are.

    By judgement: a gap of 0.025 between cumulative shares is a shift of about 0.06 sd.
    """

    distribution: float = 0.025
    levels: float = 0.025
    segments: float = 0.025
    missing: float = 0.02
    unseen: float = 0.002

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) <= 1:
                raise ValueError(f"floor {field.name!r} must lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One check. `feature` is None where the clusters are checked.

    `effect` is what the floor applies to, in shares of customers: positive where current values
    lie higher or what is counted grew; moves between levels or clusters have no sign.
    `median_shift_sd` is in reference standard deviations. `weight` is the share of the family
    (0-1), 0 for a column that is gone, which is no matter of chance.
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
    median_shift_sd: float | None = None
    psi: float | None = None
    out_of_range_share: float | None = None


@dataclass(frozen=True, slots=True)
class SegmentShift:
    """Share of the reference and of current customers (0-1) in one cluster."""

    cluster: int
    reference_share: float
    current_share: float


@dataclass(frozen=True)
class DriftResult:
    """The outcome of one comparison; `features` holds every check of a column, in their order."""

    verdict: Verdict
    summary: str
    threshold: float
    n_reference: int
    n_current: int
    smallest_visible_shift_sd: float | None
    findings: tuple[FeatureDrift, ...]
    features: tuple[FeatureDrift, ...]
    segments: tuple[SegmentShift, ...]
    segment_drift: FeatureDrift | None

    @property
    def drifted_features(self) -> tuple[str, ...]:
        """Names of the features with a finding, each once, the surest first."""
        return tuple(dict.fromkeys(f.feature for f in self.findings if f.feature is not None))

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON types, without NaN or infinities."""
        plain = asdict(self)
        for name in ("findings", "features", "segments"):
            plain[name] = list(plain[name])
        return plain


def compare(
    profile: ReferenceProfile,
    raw: RawColumns,
    labels: NDArray[np.int64],
    *,
    threshold: float = 0.05,
    floors: Floors = Floors(),  # noqa: B008 - frozen
) -> DriftResult:
    """Compare current customers with the reference.

    Everything looked at is one family by weighted Holm: without any change the probability of a
    finding is at most the threshold, whatever the dependence between columns.

    Parameters
    ----------
    profile : ReferenceProfile of the version
    raw : one float64 (n,) a profiled feature, in raw units; NaN = missing, level code -1 = unseen
    labels : int64 (n,), cluster the version predicts for each customer, NOISE = -1
    threshold : family-wise significance level, in (0, 1)
    floors : smallest effects that count

    Returns
    -------
    DriftResult, the same for the same arguments

    Raises
    ------
    ValueError for a threshold outside (0, 1), or naming a column that is absent, infinite, of
    another length than labels, or holds a code outside its levels
    """
    if not 0 < threshold < 1:
        raise ValueError("threshold must lie between 0 and 1")
    check_columns(raw, [column.name for column in profile.columns], len(labels))
    segments = _segment_shifts(profile, labels)
    if profile.n_reference < MIN_REFERENCE or len(labels) < MIN_CURRENT:
        return _insufficient(profile, len(labels), segments, threshold)
    by_column = [_check_column(column, raw[column.name], floors) for column in profile.columns]
    of_segments = _check_segments(profile, segments, len(labels), floors)
    judged = _judge(_weigh(by_column, of_segments), threshold)
    in_order = sorted((check for check in judged if check.drifted), key=_certainty)
    visible = _smallest_visible_shift(judged, threshold, profile.n_reference, len(labels))
    return DriftResult(
        verdict=Verdict.DRIFT if in_order else Verdict.OK,
        summary=_summary(in_order, judged, visible),
        threshold=threshold,
        n_reference=profile.n_reference,
        n_current=len(labels),
        smallest_visible_shift_sd=visible,
        findings=tuple(in_order),
        features=tuple(check for check in judged if check.feature is not None),
        segments=segments,
        segment_drift=next((check for check in judged if check.feature is None), None),
    )


def _check_column(
    column: OrderedColumn | LevelColumn, values: NDArray[np.float64], floors: Floors
) -> list[FeatureDrift]:
    """Return the checks of one column, weighted within it; none where it never had a value."""
    n_missing = int(np.isnan(values).sum())
    if n_missing == len(values):
        if column.n_missing == column.n_customers:
            return []
        chance = all_hits_chance(column.n_missing, column.n_customers, len(values))
        if chance <= GONE_CHANCE:
            return [_gone(column, len(values), chance)]
    if isinstance(column, LevelColumn):
        return _check_levels(column, values, floors)
    return _check_ordered(column, values, n_missing, floors)


def _gone(column: OrderedColumn | LevelColumn, n_current: int, chance: float) -> FeatureDrift:
    """Return the finding that a column has no value left."""
    share = column.n_missing / column.n_customers
    return FeatureDrift(
        feature=column.name,
        kind=column.kind,
        check=Check.GONE,
        test="none",
        n_reference=column.n_customers,
        n_current=n_current,
        statistic=float(n_current),
        p_value=chance,
        p_adjusted=chance,
        weight=0.0,
        effect=1 - share,
        effect_name=EFFECT_NAMES[Check.GONE],
        floor=0.0,
        drifted=True,
        sentence=f"{column.name}: no current customer has a value; "
        f"{_percent(1 - share)} of the reference had one",
    )


def _check_ordered(
    column: OrderedColumn, values: NDArray[np.float64], n_missing: int, floors: Floors
) -> list[FeatureDrift]:
    """Return the distribution check of a number, date or boolean, and the missing check if any."""
    distribution = _check_distribution(column, sorted_values(column.name, values), floors)
    if column.n_missing + n_missing == 0:
        return [distribution]
    n, m = column.n_customers, len(values)
    before, now = column.n_missing / n, n_missing / m
    missing = _undecided(
        column,
        Check.MISSING,
        hypergeometric_two_sided(column.n_missing, n, n_missing, m),
        sizes=(n, m),
        effect=now - before,
        floor=floors.missing,
        sentence=f"{column.name}: missing for {_percent(before)} before, {_percent(now)} now",
    )
    return [
        replace(distribution, weight=DISTRIBUTION_WEIGHT),
        replace(missing, weight=MISSING_WEIGHT),
    ]


def _check_distribution(
    column: OrderedColumn, present: NDArray[np.float64], floors: Floors
) -> FeatureDrift:
    """Return the check of where the values lie."""
    reference = np.array(column.cells.counts, dtype=np.int64)
    current = column.cells.count(present)
    n, m = int(reference.sum()), len(present)
    too_few = min(n, m) < MIN_VALUES
    outcome = TestOutcome("none", 0.0, 1.0) if too_few else anderson_darling(reference, current)
    distance = ks_distance(reference, current)
    check = _undecided(
        column,
        Check.DISTRIBUTION,
        outcome,
        sizes=(n, m),
        effect=distance,
        floor=floors.distribution,
        sentence=f"{column.name}: too few values to compare ({n} before, {m} now)",
    )
    if too_few:
        return check
    median = float(np.median(present))
    shift = (median - column.median) / column.sd if column.sd > 0 else None
    outside = np.searchsorted(present, column.low, "left") + m
    outside -= np.searchsorted(present, column.high, "right")
    moved = "" if shift is None else f"median {shift:+.2f} reference sd, "
    return replace(
        check,
        sentence=f"{column.name}: {moved}distributions {_percent(abs(distance))} apart at most",
        median_shift_sd=shift,
        psi=psi_of_ordered_cells(reference, current),
        out_of_range_share=int(outside) / m,
    )


def _check_levels(
    column: LevelColumn, codes: NDArray[np.float64], floors: Floors
) -> list[FeatureDrift]:
    """Return the check of the known levels, missing being one of them, and of unseen levels."""
    known, n_unknown, n_missing = count_levels(column.name, codes, len(column.levels))
    reference = np.array([*column.counts, column.n_missing], dtype=np.int64)
    current = np.append(known, n_missing)
    n, m = column.n_customers, len(codes)
    # In an open list new levels replace rare ones without any drift: the two must be one cell.
    # In a closed list they would only put the blame for a new level on the known ones as well.
    is_open = column.n_unseen_expected > 0
    rest = (column.n_unknown, n_unknown) if is_open else (0, 0)
    cells = pool_rare(reference, current, rest=rest)
    names = [repr(level) for level in column.levels] + ["missing"]
    levels = _undecided(
        column,
        Check.LEVELS,
        chi_square(*cells),
        sizes=(n, m),
        effect=share_moved(*cells),
        floor=floors.levels,
        sentence=f"{column.name}: {_largest_move(names, reference / n, current / m)}",
    )
    levels = replace(
        levels,
        weight=LEVELS_WEIGHT,
        psi=psi(np.append(reference, column.n_unknown), np.append(current, n_unknown)),
    )
    return [levels, replace(_check_unseen(column, n_unknown, m, floors), weight=UNSEEN_WEIGHT)]


def _check_unseen(
    column: LevelColumn, n_unknown: int, n_current: int, floors: Floors
) -> FeatureDrift:
    """Return the check of levels the reference never had.

    Customers of one new level come together, so current customers beyond the size of the
    reference sharpen nothing: the current sample counts as at most as large.
    """
    n, expected = column.n_customers, column.n_unseen_expected / column.n_customers
    share = n_unknown / n_current
    counted = min(n, n_current)
    hits = n_unknown if counted == n_current else int(share * counted)
    return _undecided(
        column,
        Check.UNSEEN,
        hypergeometric_two_sided(column.n_unseen_expected, n, hits, counted),
        sizes=(n, n_current),
        effect=share - expected,
        floor=floors.unseen,
        sentence=f"{column.name}: {_percent(share)} of customers have a level never seen before, "
        f"{_percent(expected)} expected",
    )


def _check_segments(
    profile: ReferenceProfile,
    segments: Sequence[SegmentShift],
    n_current: int,
    floors: Floors,
) -> FeatureDrift | None:
    """Return the check of the clusters' shares, noise included; None where there is one cluster."""
    if len(segments) < 2:
        return None
    n = profile.n_reference
    before = np.array([shift.reference_share for shift in segments])
    now = np.array([shift.current_share for shift in segments])
    cells = pool_rare(
        np.rint(before * n).astype(np.int64), np.rint(now * n_current).astype(np.int64)
    )
    outcome = chi_square(*cells)
    names = [
        "noise" if shift.cluster == NOISE else f"cluster {shift.cluster}" for shift in segments
    ]
    return FeatureDrift(
        feature=None,
        kind="cluster",
        check=Check.SEGMENTS,
        test=outcome.test,
        n_reference=n,
        n_current=n_current,
        statistic=outcome.statistic,
        p_value=outcome.p_value,
        p_adjusted=1.0,
        weight=1.0,
        effect=share_moved(*cells),
        effect_name=EFFECT_NAMES[Check.SEGMENTS],
        floor=floors.segments,
        drifted=False,
        sentence=f"Segments: {_largest_move(names, before, now)}",
    )


def _undecided(
    column: OrderedColumn | LevelColumn,
    check: Check,
    outcome: TestOutcome,
    *,
    sizes: tuple[int, int],
    effect: float,
    floor: float,
    sentence: str,
) -> FeatureDrift:
    """Return a check of a column before the family is judged."""
    return FeatureDrift(
        feature=column.name,
        kind=column.kind,
        check=check,
        test=outcome.test,
        n_reference=sizes[0],
        n_current=sizes[1],
        statistic=outcome.statistic,
        p_value=outcome.p_value,
        p_adjusted=1.0,
        weight=1.0,
        effect=effect,
        effect_name=EFFECT_NAMES[check],
        floor=floor,
        drifted=False,
        sentence=sentence,
    )


def _weigh(
    by_column: Sequence[Sequence[FeatureDrift]], of_segments: FeatureDrift | None
) -> list[FeatureDrift]:
    """Return all checks with their weight in the family; the weights sum to 1.

    Which checks exist depends on pooled counts alone, so sharing out the weight of an absent one
    costs nothing of the promise.
    """
    tested = [checks for checks in by_column if sum(check.weight for check in checks) > 0]
    total = COLUMNS_WEIGHT * bool(tested) + SEGMENTS_WEIGHT * (of_segments is not None)
    weighed = [
        replace(check, weight=check.weight * COLUMNS_WEIGHT / total / len(tested))
        if check.weight > 0
        else check
        for checks in by_column
        for check in checks
    ]
    if of_segments is not None:
        weighed.append(replace(of_segments, weight=SEGMENTS_WEIGHT / total))
    return weighed


def _judge(checks: Sequence[FeatureDrift], threshold: float) -> list[FeatureDrift]:
    """Return the checks with adjusted p values and, from these and the floors, the findings."""
    family = [check for check in checks if check.weight > 0]
    adjusted = iter(weighted_holm([c.p_value for c in family], [c.weight for c in family]))
    return [
        _decide(check, next(adjusted), threshold) if check.weight > 0 else check for check in checks
    ]


def _decide(check: FeatureDrift, p_adjusted: float, threshold: float) -> FeatureDrift:
    """Return the check with its verdict; fewer unseen levels than expected are no finding."""
    size = check.effect if check.check == Check.UNSEEN else abs(check.effect)
    drifted = p_adjusted <= threshold and size >= check.floor
    return replace(check, p_adjusted=p_adjusted, drifted=drifted)


def _certainty(check: FeatureDrift) -> tuple[bool, float, float]:
    """Return the sort key of findings: a column gone first, then the smallest adjusted p."""
    return check.check != Check.GONE, check.p_adjusted, -abs(check.effect)


def _smallest_visible_shift(
    checks: Sequence[FeatureDrift], threshold: float, n: int, m: int
) -> float | None:
    """Return the shift (reference sd) that 80 % of comparisons of this size would find.

    It is (z(1 - threshold w / 2) + 0.84) sqrt(1/n + 1/m), the power of a test of one mean, w the
    smallest weight of a distribution check; None where no distribution is checked.
    """
    weights = [check.weight for check in checks if check.check == Check.DISTRIBUTION]
    if not weights:
        return None
    quantile = -float(ndtri(threshold * min(weights) / 2))
    return (quantile + POWER_QUANTILE) * (1 / n + 1 / m) ** 0.5


def _segment_shifts(
    profile: ReferenceProfile, labels: NDArray[np.int64]
) -> tuple[SegmentShift, ...]:
    """Return both shares of every cluster of either sample; none without current customers."""
    if not len(labels):
        return ()
    found, counts = np.unique(labels, return_counts=True)
    current = dict(zip(found.tolist(), counts.tolist(), strict=True))
    reference = dict(zip(profile.clusters, profile.cluster_counts, strict=True))
    return tuple(
        SegmentShift(
            cluster=cluster,
            reference_share=reference.get(cluster, 0) / max(profile.n_reference, 1),
            current_share=current.get(cluster, 0) / len(labels),
        )
        for cluster in sorted(reference.keys() | current.keys())
    )


def _insufficient(
    profile: ReferenceProfile,
    n_current: int,
    segments: tuple[SegmentShift, ...],
    threshold: float,
) -> DriftResult:
    """Return the result of a comparison that too few customers allow."""
    return DriftResult(
        verdict=Verdict.INSUFFICIENT_DATA,
        summary=f"Too few customers to judge: {n_current} current (at least {MIN_CURRENT} needed), "
        f"{profile.n_reference} in the reference (at least {MIN_REFERENCE} needed).",
        threshold=threshold,
        n_reference=profile.n_reference,
        n_current=n_current,
        smallest_visible_shift_sd=None,
        findings=(),
        features=(),
        segments=segments,
        segment_drift=None,
    )


def _summary(
    findings: Sequence[FeatureDrift], checks: Sequence[FeatureDrift], visible: float | None
) -> str:
    """Return one sentence on the whole comparison."""
    if findings:
        return f"{len(findings)} of {len(checks)} checks show drift; first: {findings[0].sentence}."
    seen = (
        "" if visible is None else f"; a shift of {visible:.2f} sd would most likely have been seen"
    )
    return f"None of {len(checks)} checks shows drift{seen}."


def _largest_move(
    names: Sequence[str], before: NDArray[np.float64], now: NDArray[np.float64]
) -> str:
    """Return in words whose share of the customers changed most."""
    most = int(np.abs(now - before).argmax())
    return f"{names[most]} from {_percent(before[most])} to {_percent(now[most])} of customers"


def _percent(share: float) -> str:
    """Return a share (0-1) for reading."""
    return f"{100 * share:.1f} %"
