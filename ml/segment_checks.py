"""The checks of clusters: their shares, how far customers lie from them, and who is far from all.
Drift inside clusters is described beside them and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml import drift_wording
from ml.check_result import Check, CheckResult, Floors, undecided
from ml.features import RawColumns
from ml.inside_segments import MAX_INSIDE_ROWS, InsideColumn
from ml.ordered_cells import anderson_darling, ks_distance
from ml.reference_profile import OrderedColumn, ReferenceProfile
from ml.row_samples import sample_rows
from ml.scored import Scored
from ml.two_sample_tests import (
    chi_square,
    hypergeometric_two_sided,
    pool_rare,
    share_moved,
    weighted_holm,
)

SHARES_WEIGHT, DISTANCE_WEIGHT, FAR_WEIGHT = 4, 3, 1  # relative to each other
N_LOCATING = 3  # features that say where far customers are
MIN_LOCATING_SD = 0.5  # shift (reference sd) from which a feature says so
MAX_INSIDE = 20  # changes inside clusters that are kept, the largest

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SegmentShift:
    """Share of the reference and of current customers (0-1) in one cluster."""

    cluster: int
    reference_share: float
    current_share: float


@dataclass(frozen=True, slots=True)
class InsideShift:
    """One feature changed among the customers of one cluster.

    `effect` is the largest gap between cumulative shares, positive where current values lie
    higher, or for a category the share of customers moved between levels; `p_adjusted` is over
    all features of all clusters.
    """

    cluster: int
    feature: str
    n_reference: int
    n_current: int
    effect: float
    p_adjusted: float
    sentence: str


def segment_shifts(profile: ReferenceProfile, labels: Counts) -> tuple[SegmentShift, ...]:
    """Return both shares of every cluster of either sample; none without current customers."""
    if not len(labels):
        return ()
    lowest = int(labels.min())
    counts = np.bincount(labels - lowest)
    current = {lowest + place: int(counts[place]) for place in np.flatnonzero(counts).tolist()}
    counted = profile.fitted_counts or profile.cluster_counts
    reference = dict(zip(profile.clusters, counted, strict=True))
    return tuple(
        SegmentShift(
            cluster=cluster,
            reference_share=reference.get(cluster, 0) / max(sum(counted), 1),
            current_share=current.get(cluster, 0) / len(labels),
        )
        for cluster in sorted(reference.keys() | current.keys())
    )


def check_segments(
    profile: ReferenceProfile,
    raw: RawColumns,
    scored: Scored,
    shifts: Sequence[SegmentShift],
    floors: Floors,
    *,
    names: Mapping[int, str],
) -> list[CheckResult]:
    """Check shares of clusters, distances, and far customers, as far as they are profiled.

    Parameters
    ----------
    profile : of the reference
    raw : one float64 (n,) a column
    scored : clusters and distances of current customers
    shifts : shares of the clusters
    floors : smallest effects that count
    names : what clusters are called
    """
    checks = []
    if len(shifts) > 1:
        checks.append(_check_shares(profile, shifts, len(scored.labels), floors, names))
    distances = scored.distances
    if profile.distances is not None and distances is not None and np.isfinite(distances).all():
        checks.append(_check_distance(profile, np.sort(distances), floors))
        checks.append(_check_far(profile, raw, scored, distances, floors))
    return checks


def _check_shares(
    profile: ReferenceProfile,
    shifts: Sequence[SegmentShift],
    n_current: int,
    floors: Floors,
    names: Mapping[int, str],
) -> CheckResult:
    """Return the check of the clusters' shares, noise included.

    A DBSCAN has fewer of its own customers as noise than of new ones, and current customers may
    be either: shares are drift only where neither explains them, so the larger p value counts.
    """
    now = np.array([shift.current_share for shift in shifts])
    current = np.rint(now * n_current).astype(np.int64)
    readings = [profile.cluster_counts, *filter(None, [profile.fitted_counts])]
    found = []
    for counted in readings:
        known = dict(zip(profile.clusters, counted, strict=True))
        reference = np.array([known.get(shift.cluster, 0) for shift in shifts], dtype=np.int64)
        cells = pool_rare(reference, current)
        found.append((chi_square(*cells), share_moved(*cells), reference))
    outcome, effect, reference = max(found, key=lambda each: each[0].p_value)
    called = [drift_wording.cluster_name(shift.cluster, names) for shift in shifts]
    return undecided(
        Check.SEGMENTS,
        outcome,
        feature=None,
        kind="cluster",
        sizes=(int(reference.sum()), n_current),
        effect=effect,
        floor=floors.segments,
        sentence=drift_wording.of_largest_move(
            "Segments", called, reference / max(int(reference.sum()), 1), now
        ),
        weight=SHARES_WEIGHT,
    )


def _check_distance(
    profile: ReferenceProfile, ordered: NDArray[np.float64], floors: Floors
) -> CheckResult:
    """Return the check of how far customers lie from what their cluster is like."""
    assert profile.distances is not None
    reference = np.array(profile.distances.cells.counts, dtype=np.int64)
    current = profile.distances.cells.count(ordered)
    return undecided(
        Check.DISTANCE,
        anderson_darling(reference, current),
        feature=None,
        kind="cluster",
        sizes=(profile.distances.n_customers, len(ordered)),
        effect=ks_distance(reference, current),
        floor=floors.distance,
        sentence=drift_wording.of_distance(profile.distances.median, float(np.median(ordered))),
        weight=DISTANCE_WEIGHT,
    )


def _check_far(
    profile: ReferenceProfile,
    raw: RawColumns,
    scored: Scored,
    distances: NDArray[np.float64],
    floors: Floors,
) -> CheckResult:
    """Return the check of customers far from every cluster: a segment that may be forming.

    The test is exact: how many current customers lie beyond one of the reference is a negative
    hypergeometric count, whose upper tail is that of the fourfold table.
    """
    assert profile.distances is not None
    n, m = profile.distances.n_customers, len(distances)
    is_far = distances > profile.distances.far
    before, now = profile.distances.n_far / n, float(is_far.mean())
    return undecided(
        Check.FAR,
        hypergeometric_two_sided(profile.distances.n_far, n, int(is_far.sum()), m),
        feature=None,
        kind="cluster",
        sizes=(n, m),
        effect=now - before,
        floor=floors.far,
        sentence=drift_wording.of_far(before, now, _location(profile, raw, scored, is_far)),
        weight=FAR_WEIGHT,
    )


def _location(
    profile: ReferenceProfile, raw: RawColumns, scored: Scored, is_far: NDArray[np.bool_]
) -> list[tuple[str, float]]:
    """Return the features in which far customers differ most from the reference, in its sd."""
    rows = np.flatnonzero(is_far) if scored.rows is None else scored.rows[is_far]
    shifts = []
    for column in profile.columns:
        if isinstance(column, OrderedColumn) and column.sd > 0:
            values = raw[column.name][rows]
            present = values[~np.isnan(values)]
            if len(present):
                shifts.append((column.name, float(np.median(present) - column.median) / column.sd))
    shifts.sort(key=lambda each: -abs(each[1]))
    return [each for each in shifts[:N_LOCATING] if abs(each[1]) >= MIN_LOCATING_SD]


def inside_shifts(
    profile: ReferenceProfile,
    raw: RawColumns,
    scored: Scored,
    floors: Floors,
    *,
    threshold: float,
    names: Mapping[int, str],
    random_state: int,
) -> tuple[InsideShift, ...]:
    """Describe which features changed among the customers of which cluster, largest first.

    A family of its own by Holm at the threshold, with the floors of distributions and levels; at
    most MAX_INSIDE_ROWS seeded customers are looked at.
    """
    if not profile.inside or not len(scored.labels):
        return ()
    sample = sample_rows(len(scored.labels), MAX_INSIDE_ROWS, random_state=random_state)
    if sample is not None:
        rows = sample if scored.rows is None else scored.rows[sample]
        scored = Scored(scored.labels[sample], None, rows)
    found, p_values = [], []
    columns = scored.columns(raw, [column.name for column in profile.inside])
    for column, values in zip(profile.inside, columns, strict=True):
        now = column.count(values, scored.labels, profile.clusters)
        for cluster, before, current in zip(profile.clusters, column.counts, now, strict=True):
            reference = np.array(before, dtype=np.int64)
            if reference.any() and current.any():
                p_values.append(chi_square(*pool_rare(reference, current)).p_value)
                found.append((cluster, column, reference, current))
    adjusted = weighted_holm(p_values, [1.0] * len(p_values))
    shifts = [
        _inside_shift(*each, p_adjusted, names)
        for each, p_adjusted in zip(found, adjusted, strict=True)
        if p_adjusted <= threshold
    ]
    large = [shift for shift in shifts if abs(shift.effect) >= floors.distribution]
    return tuple(sorted(large, key=lambda shift: -abs(shift.effect))[:MAX_INSIDE])


def _inside_shift(
    cluster: int,
    column: InsideColumn,
    reference: Counts,
    current: Counts,
    p_adjusted: float,
    names: Mapping[int, str],
) -> InsideShift:
    """Return one change inside one cluster."""
    ordered = column.cuts is not None
    effect = (ks_distance if ordered else share_moved)(reference, current)
    called = drift_wording.cluster_name(cluster, names)
    return InsideShift(
        cluster=cluster,
        feature=column.name,
        n_reference=int(reference.sum()),
        n_current=int(current.sum()),
        effect=effect,
        p_adjusted=p_adjusted,
        sentence=drift_wording.of_inside(called, column.name, effect, ordered=ordered),
    )
