"""The figures of the clusters' checks against scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, fisher_exact, ks_2samp

from ml.check_result import Check, CheckResult, Floors
from ml.inside_segments import InsideColumn
from ml.ordered_cells import anderson_darling
from ml.reference_profile import LevelColumn, ReferenceProfile
from ml.scored import Scored
from ml.segment_checks import check_segments, inside_shifts, segment_shifts
from ml.segment_distances import SegmentDistances
from ml.two_sample_tests import weighted_holm

N_REFERENCE = 800


def reference(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return rng.choice([-1, 0, 1, 2], N_REFERENCE), rng.gamma(2, size=N_REFERENCE)


def profiled(labels: NDArray[np.int64], distances: NDArray[np.float64]) -> ReferenceProfile:
    clusters, counts = np.unique(labels, return_counts=True)
    return ReferenceProfile(
        n_reference=len(labels),
        columns=(),
        clusters=tuple(clusters.tolist()),
        cluster_counts=tuple(counts.tolist()),
        distances=SegmentDistances.fit(distances),
    )


def checks_of(profile: ReferenceProfile, scored: Scored) -> dict[Check, CheckResult]:
    shifts = segment_shifts(profile, scored.labels)
    checks = check_segments(profile, {}, scored, shifts, Floors(), names={})
    return {check.check: check for check in checks}


@pytest.mark.parametrize("seed", range(4))
def test_shares_distances_and_far_customers_are_tested_as_scipy_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, distances = reference(rng)
    now, far = rng.choice([-1, 0, 1, 2], 150, p=[0.2, 0.2, 0.3, 0.3]), rng.gamma(2.4, size=150)

    found = checks_of(profiled(labels, distances), Scored(now, far))

    shares = np.array([[(x == c).sum() for c in (-1, 0, 1, 2)] for x in (labels, now)])
    pearson = chi2_contingency(shares, correction=False)
    assert found[Check.SEGMENTS].statistic == pytest.approx(pearson.statistic, rel=1e-9)
    assert found[Check.SEGMENTS].p_value == pytest.approx(pearson.pvalue, rel=1e-9)
    known = SegmentDistances.fit(distances)
    assert known is not None
    in_cells = np.array(known.cells.counts), known.cells.count(np.sort(far))
    assert found[Check.DISTANCE].p_value == anderson_darling(*in_cells).p_value
    # The gap is taken at the ends of cells, and cells hold a hundredth of the customers.
    assert abs(found[Check.DISTANCE].effect) == pytest.approx(
        ks_2samp(distances, far).statistic, abs=0.03
    )
    beyond = [int((x > known.far).sum()) for x in (distances, far)]
    fisher = fisher_exact([[beyond[0], 800 - beyond[0]], [beyond[1], 150 - beyond[1]]]).pvalue
    assert found[Check.FAR].p_value == pytest.approx(fisher, rel=1e-9)


def test_shares_are_counted_back_to_whole_customers() -> None:
    labels, distances = reference(np.random.default_rng(3))
    now = np.repeat([-1, 0, 1, 2], [29, 57, 6, 8])  # 29 / 100 * 100 lies below 29

    found = checks_of(profiled(labels, distances), Scored(now))

    table = [np.unique(x, return_counts=True)[1] for x in (labels, now)]
    pearson = chi2_contingency(table, correction=False)
    assert found[Check.SEGMENTS].statistic == pytest.approx(pearson.statistic, rel=1e-9)


def test_changes_inside_clusters_are_chi_squares_adjusted_by_holm() -> None:
    rng = np.random.default_rng(9)
    labels, distances = reference(rng)
    codes, clusters = rng.choice([0.0, 1.0, 2.0], N_REFERENCE), (-1, 0, 1, 2)
    column = InsideColumn.fit_levels("channel", codes, 3, labels, clusters)
    now = rng.choice([-1, 0, 1, 2], 400)
    moved = np.where((now == 1) & (rng.random(400) < 0.7), 2.0, rng.choice([0.0, 1.0, 2.0], 400))
    counts = tuple(np.bincount(codes.astype(np.int64)).tolist())
    profile = replace(
        profiled(labels, distances),
        columns=(LevelColumn("channel", 0, 0, ("web", "store", "app"), counts),),
        inside=(column,),
    )

    shifts = inside_shifts(
        profile,
        {"channel": moved},
        Scored(now),
        Floors(),
        threshold=0.05,
        names={},
        random_state=0,
    )

    p_values = []
    for cluster in clusters:
        table = [
            [((x == cluster) & (values == level)).sum() for level in range(3)]
            for x, values in ((labels, codes), (now, moved))
        ]
        p_values.append(chi2_contingency(table, correction=False).pvalue)
    expected = dict(zip(clusters, weighted_holm(p_values, [1.0] * 4), strict=True))
    assert [shift.cluster for shift in shifts] == [1]
    assert shifts[0].p_adjusted == pytest.approx(expected[1], rel=1e-9, abs=0)


def test_one_customer_in_one_cluster_is_no_finding() -> None:
    profile = profiled(np.zeros(N_REFERENCE, dtype=np.int64), np.ones(N_REFERENCE))

    found = checks_of(profile, Scored(np.zeros(1, dtype=np.int64), np.ones(1)))

    assert Check.SEGMENTS not in found
    assert found[Check.DISTANCE].p_value == found[Check.FAR].p_value == 1.0


def test_without_customers_there_are_no_shares() -> None:
    profile = profiled(*reference(np.random.default_rng(0)))

    assert segment_shifts(profile, np.empty(0, dtype=np.int64)) == ()


@pytest.mark.parametrize("distances", [None, np.array([1.0, np.inf])])
def test_distances_that_are_not_known_are_not_compared(distances) -> None:
    profile = profiled(*reference(np.random.default_rng(0)))

    found = checks_of(profile, Scored(np.array([0, 1]), distances))

    assert found.keys() == {Check.SEGMENTS}
