"""Which segment each new cluster continues: by hand, by properties, and beside an assignment."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from ml.cluster_fits import fit_kmeans
from ml.clusterers import NOISE
from ml.identity import SegmentMatch, match_on_centres, match_on_customers, mean_centres

N_SEGMENTS, N_CLUSTERS = 4, 5
# Counts of customers for each segment (rows) and cluster (columns); the last ones are noise.
COUNTS = hnp.arrays(np.int64, (N_SEGMENTS + 1, N_CLUSTERS + 1), elements=st.integers(0, 12))


def customers(counts: dict[tuple[int, int], int]):
    """Old segment and new cluster of customers, so many for each pair."""
    old, new = np.array(list(counts), dtype=np.int64).reshape(-1, 2).T
    sizes = list(counts.values())
    return np.repeat(old, sizes), np.repeat(new, sizes)


def customers_of_table(counts):
    segments, clusters = np.indices(counts.shape)
    segments[-1], clusters[:, -1] = NOISE, NOISE
    sizes = counts.ravel()
    return np.repeat(segments.ravel(), sizes), np.repeat(clusters.ravel(), sizes)


def identity_of(counts: dict[tuple[int, int], int], **announced):
    return match_on_customers(*customers(counts), **announced)


def test_renamed_clusters_keep_their_segments():
    identity = identity_of({(7, 1): 30, (9, 0): 50, (12, 2): 20})

    assert identity.matches == (
        SegmentMatch(0, 9, 1.0, "kept"),
        SegmentMatch(1, 7, 1.0, "kept"),
        SegmentMatch(2, 12, 1.0, "kept"),
    )
    assert identity.retired == ()
    assert identity.kept_share == 1.0
    assert identity.n_shared == 100
    assert identity.basis == "customers"


def test_customers_who_change_lower_the_score_and_the_kept_share():
    identity = identity_of({(1, 0): 60, (1, 1): 20, (2, 0): 10, (2, 1): 30})

    # 60 of the 90 in either; 30 of the 60 in either, which is just enough.
    assert identity.matches == (
        SegmentMatch(0, 1, 60 / 90, "kept"),
        SegmentMatch(1, 2, 30 / 60, "kept"),
    )
    assert identity.kept_share == 90 / 120


def test_less_than_half_in_common_is_a_new_segment_and_retires_the_old():
    identity = identity_of({(1, 0): 30, (1, 1): 20, (2, 0): 11, (2, 1): 39, (3, 2): 5})

    # 30 of 61: the largest share of both sides, yet no continuation.
    assert identity.matches[0] == SegmentMatch(0, None, 30 / 61, "split", related=(1,))
    assert identity.matches[1] == SegmentMatch(1, 2, 39 / 70, "kept")
    assert identity.retired == (1,)
    assert identity.kept_share == 44 / 105


def test_the_larger_part_of_a_split_keeps_the_id_and_the_smaller_names_its_origin():
    identity = identity_of({(4, 0): 60, (4, 1): 40, (5, 2): 70})

    assert identity.matches == (
        SegmentMatch(0, 4, 0.6, "kept"),
        SegmentMatch(1, None, 0.4, "split", related=(4,)),
        SegmentMatch(2, 5, 1.0, "kept"),
    )
    assert identity.retired == ()


def test_a_piece_that_swallowed_another_segment_names_its_origin_first():
    identity = identity_of({(4, 0): 40, (4, 1): 45, (4, 2): 55, (3, 0): 30})

    assert identity.matches[0] == SegmentMatch(0, None, 3 / 7, "split", related=(4, 3))
    assert identity.retired == (3, 4)


def test_a_segment_in_many_pieces_ends_and_every_piece_names_it():
    identity = identity_of({(4, 0): 34, (4, 1): 33, (4, 2): 33})

    assert [match.fate for match in identity.matches] == ["split"] * 3
    assert [match.related for match in identity.matches] == [(4,)] * 3
    assert identity.retired == (4,)
    assert identity.kept_share == 0.0


def test_a_merger_keeps_the_id_of_the_larger_and_names_the_other():
    identity = identity_of({(4, 0): 60, (5, 0): 40, (6, 1): 10})

    assert identity.matches[0] == SegmentMatch(0, 4, 0.6, "merged", related=(5,))
    assert identity.retired == (5,)


def test_half_of_a_segment_is_not_most_of_it():
    identity = identity_of({(1, 0): 50, (1, 1): 50, (2, 0): 100})

    assert identity.matches == (
        SegmentMatch(0, 2, 100 / 150, "kept"),
        SegmentMatch(1, 1, 0.5, "kept"),
    )


def test_a_merger_of_many_is_a_segment_of_its_own():
    identity = identity_of({(4, 0): 30, (5, 0): 40, (6, 0): 35})

    assert identity.matches == (SegmentMatch(0, None, 40 / 105, "merged", related=(5, 6, 4)),)
    assert identity.retired == (4, 5, 6)


def test_a_crowd_out_of_noise_is_new_and_names_the_segment_it_swallowed():
    identity = identity_of({(NOISE, 0): 80, (4, 0): 10, (5, 1): 50})

    assert identity.matches[0] == SegmentMatch(0, None, 10 / 90, "new", related=(4,))
    assert identity.retired == (4,)


def test_a_mixture_that_is_mostly_of_nobody_is_new():
    identity = identity_of({(1, 0): 60, (2, 1): 60, (1, 2): 20, (2, 2): 20})

    assert identity.matches[2] == SegmentMatch(2, None, 0.2 * 100 / 100, "new")


def test_falling_into_noise_leaves_the_segment():
    identity = identity_of({(1, 0): 40, (1, NOISE): 60, (NOISE, NOISE): 500})

    assert identity.matches == (SegmentMatch(0, None, 0.4, "split", related=(1,)),)
    assert identity.kept_share == 0.0
    assert identity.n_shared == 40


@pytest.mark.parametrize("smaller", [3, 4])
def test_exact_halves_go_to_the_lowest(smaller):
    halves = identity_of({(8, 1): 50, (8, 0): 50})
    twins = identity_of({(8, 0): 50, (smaller, 0): 50})

    assert [match.segment for match in halves.matches] == [8, None]
    assert twins.matches[0].segment == smaller
    assert twins.retired == (8,)


def test_segments_and_clusters_without_shared_customers_are_not_forgotten():
    identity = identity_of({(3, 0): 10}, segment_ids=[9, 3, 5], n_clusters=3)

    assert identity.matches == (
        SegmentMatch(0, 3, 1.0, "kept"),
        SegmentMatch(1, None, 0.0, "new"),
        SegmentMatch(2, None, 0.0, "new"),
    )
    assert identity.retired == (5, 9)


@pytest.mark.parametrize("counts", [{}, {(NOISE, 0): 5}, {(2, NOISE): 5}])
def test_nobody_in_common_says_so(counts):
    identity = identity_of(counts, segment_ids=[2], n_clusters=1)

    assert identity.basis == "none"
    assert identity.matches == (SegmentMatch(0, None, 0.0, "new"),)
    assert identity.retired == (2,)
    assert not identity.kept_share


def test_the_result_is_plain_json():
    identity = identity_of({(4, 0): 60, (5, 0): 40, (6, 1): 10})

    assert json.loads(json.dumps(identity.to_dict())) == identity.to_dict()
    assert identity.to_dict()["matches"][0] == {
        "cluster": 0,
        "segment": 4,
        "score": 0.6,
        "fate": "merged",
        "related": [5],
    }


@settings(max_examples=80, deadline=None)
@given(COUNTS)
def test_no_id_is_given_twice_and_every_segment_is_kept_or_retired(counts):
    old, new = customers_of_table(counts)

    identity = match_on_customers(old, new)

    kept = [match.segment for match in identity.matches if match.segment is not None]
    assert len(set(kept)) == len(kept)
    assert sorted([*kept, *identity.retired]) == sorted(set(old.tolist()) - {NOISE})
    for match in identity.matches:
        assert (match.score > 0.5) <= (match.segment is not None) <= (match.score >= 0.5)
        assert match.segment not in match.related
        assert (match.fate == "kept") <= (match.segment is not None)
        assert (match.fate == "split") <= (match.segment is None and len(match.related) >= 1)
        assert (match.fate == "merged") <= (len(match.related) >= 1)


@settings(max_examples=80, deadline=None)
@given(COUNTS)
def test_a_maximum_weight_assignment_agrees_above_one_half(counts):
    old, new = customers_of_table(counts)
    shared = counts[:-1, :-1]
    union = counts[:-1].sum(axis=1)[:, None] + counts[:, :-1].sum(axis=0) - shared
    assigned = {
        (int(segment), int(cluster))
        for segment, cluster in zip(*linear_sum_assignment(-shared), strict=True)
        if 2 * shared[segment, cluster] > union[segment, cluster]
    }

    identity = match_on_customers(old, new, threshold=np.nextafter(0.5, 1.0))

    kept = {(m.segment, m.cluster) for m in identity.matches if m.segment is not None}
    assert kept == assigned
    n_with_segment = int(counts[:-1].sum())
    n_kept = sum(int(shared[pair]) for pair in assigned)
    assert (identity.kept_share or 0.0) == (n_kept / n_with_segment if n_with_segment else 0.0)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.integers(0, 2**32))
def test_relabelling_either_side_permutes_the_answer(counts, seed):
    old, new = customers_of_table(counts)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(old))
    ids = np.append(rng.permutation(N_SEGMENTS) * 3, NOISE)
    names = np.append(rng.permutation(N_CLUSTERS), NOISE)
    announced = {"n_clusters": N_CLUSTERS, "threshold": 0.51}  # exact halves have no one answer

    identity = match_on_customers(old, new, segment_ids=range(N_SEGMENTS), **announced)
    renamed = match_on_customers(
        ids[old][shuffled], names[new][shuffled], segment_ids=ids[:-1], **announced
    )

    for match in identity.matches:
        other = renamed.matches[names[match.cluster]]
        expected_id = None if match.segment is None else ids[match.segment]
        assert (other.segment, other.score, other.fate) == (expected_id, match.score, match.fate)
        assert set(other.related) == {ids[segment] for segment in match.related}
    assert set(renamed.retired) == {ids[segment] for segment in identity.retired}
    assert renamed.kept_share == identity.kept_share


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(-1, 6)))
def test_identical_partitions_keep_every_id_with_score_one(segments):
    ids, clusters = np.unique(segments[segments != NOISE], return_inverse=True)
    labels = np.full(len(segments), NOISE, dtype=np.int64)
    labels[segments != NOISE] = clusters

    identity = match_on_customers(segments, labels)

    expected = tuple(SegmentMatch(i, int(ids[i]), 1.0, "kept") for i in range(len(ids)))
    assert identity.matches == expected
    assert identity.retired == ()
    assert identity.kept_share == (1.0 if len(ids) else None)


def test_many_clusters_are_counted_like_few():
    # More pairs than customers: the sorted way of counting, on the same answers.
    rng = np.random.default_rng(3)
    old = rng.integers(-1, 300, size=2_000) * 1_000_003
    old[old < 0] = NOISE
    new = np.where(rng.random(2_000) < 0.9, old // 1_000_003, rng.integers(-1, 300, size=2_000))

    identity = match_on_customers(old, new)
    tenfold = match_on_customers(np.tile(old, 100), np.tile(new, 100))

    assert len(old) < 300 * 300 < 100 * len(old)
    assert tenfold.matches == identity.matches
    assert identity.kept_share > 0.5


def test_a_million_customers_take_less_than_a_second():
    rng = np.random.default_rng(0)
    old = rng.integers(-1, 12, size=1_000_000)
    new = np.where(rng.random(len(old)) < 0.9, old, rng.integers(-1, 12, size=len(old)))
    started = time.process_time()

    identity = match_on_customers(old, new)

    assert time.process_time() - started < 1.0
    assert identity.retired == ()


def test_near_centres_keep_their_segments():
    old = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    new = np.array([[0.0, 9.0], [1.0, 0.0], [10.0, 0.0]])

    identity = match_on_centres([4, 2, 9], old, new)

    # The way to the next centre of the same version: √82 from (0, 9), 9 from (1, 0).
    assert identity.matches == (
        SegmentMatch(0, 9, pytest.approx(1 - 1 / np.sqrt(82)), "kept"),
        SegmentMatch(1, 4, pytest.approx(1 - 1 / 9), "kept"),
        SegmentMatch(2, 2, 1.0, "kept"),
    )
    assert identity.retired == ()
    assert identity.kept_share is None
    assert identity.basis == "centres"


def test_a_centre_between_two_old_ones_continues_neither():
    old = np.array([[0.0, 0.0], [10.0, 0.0], [30.0, 0.0]])
    new = np.array([[6.0, 4.0], [30.0, 0.0]])

    identity = match_on_centres([1, 2, 3], old, new)

    assert [match.segment for match in identity.matches] == [None, 3]
    assert identity.matches[0].fate == "new"
    assert identity.retired == (1, 2)


@pytest.mark.parametrize("moved, kept", [(0.7, True), (0.72, False)])
def test_a_single_centre_may_move_half_the_spread_of_the_table(moved, kept):
    identity = match_on_centres([5], np.zeros((1, 2)), np.array([[moved, 0.0]]))

    assert (identity.matches[0].segment == 5) is kept


def test_centres_in_one_place_cannot_be_told_apart():
    twins = np.array([[1.0, 1.0], [1.0, 1.0], [9.0, 9.0]])

    identity = match_on_centres([1, 2, 3], twins, twins)

    assert [match.segment for match in identity.matches] == [None, None, 3]


@pytest.mark.parametrize("n_old, n_new", [(0, 2), (2, 0), (0, 0)])
def test_no_centres_on_one_side_match_nothing(n_old, n_new):
    identity = match_on_centres(range(n_old), np.eye(2)[:n_old], np.eye(2)[:n_new])

    assert [match.fate for match in identity.matches] == ["new"] * n_new
    assert identity.retired == tuple(range(n_old))
    assert identity.basis == "none"


@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(2)), elements=st.integers(-9, 9)),
    hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(2)), elements=st.integers(-9, 9)),
)
def test_matched_centres_are_each_others_nearest(old, new):
    identity = match_on_centres(range(len(old)), old, new)

    distances = np.hypot(*(old[:, None] - new).T).T
    kept = [(m.segment, m.cluster) for m in identity.matches if m.segment is not None]
    assert len({segment for segment, _ in kept}) == len(kept)
    for segment, cluster in kept:
        nearest = distances[segment, cluster] + 1e-9
        assert nearest >= distances[segment].min()
        assert distances[segment, cluster] <= distances[:, cluster].min() + 1e-9
        assert distances[segment, cluster] <= distances[segment].min() + 1e-9


def test_centres_agree_with_customers_on_separate_crowds():
    rng = np.random.default_rng(1)
    middles = rng.normal(scale=6, size=(5, 4))
    segments = rng.integers(5, size=300)
    X = middles[segments] + rng.normal(size=(300, 4))
    model, labels = fit_kmeans(X, n_clusters=5, n_init=3, random_state=0)
    ids, centres = mean_centres(X, segments * 10)

    by_customers = match_on_customers(segments * 10, labels)
    by_centres = match_on_centres(ids.tolist(), centres, model.centers)

    assert [m.segment for m in by_centres.matches] == [m.segment for m in by_customers.matches]
    assert by_customers.kept_share > 0.95


def test_mean_centres_leave_noise_out_and_ignore_the_order_of_rows():
    X = np.random.default_rng(2).normal(size=(500, 3))
    segments = np.random.default_rng(3).integers(-1, 4, size=500) * 5
    segments[segments < 0] = NOISE
    order = np.random.default_rng(4).permutation(500)

    ids, centres = mean_centres(X, segments)

    assert ids.tolist() == [0, 5, 10, 15]
    expected = [X[segments == segment].mean(axis=0) for segment in ids]
    np.testing.assert_allclose(centres, expected, rtol=0, atol=1e-14)
    assert mean_centres(X[order], segments[order])[1].tobytes() == centres.tobytes()
    assert mean_centres(X, np.full(500, NOISE))[1].shape == (0, 3)


def ints(*values: int):
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(
    "old, new, announced, message",
    [
        ([0], ints(0), {}, "old_segments: expected a one-dimensional int64 array"),
        (ints(0), np.zeros(1), {}, "new_clusters: expected a one-dimensional int64 array"),
        (ints(0, -2), ints(0, 0), {}, "old_segments: row 1: expected -1 for noise"),
        (ints(0), ints(-3), {}, "new_clusters: row 0"),
        (ints(0, 1), ints(0), {}, "expected one length, found 2 and 1"),
        (ints(0, 4), ints(0, 0), {"segment_ids": [0, 1]}, "segment 4 is not among segment_ids"),
        (ints(0), ints(0), {"segment_ids": [-1, 0]}, "expected 0 or more, found -1"),
        (ints(0), ints(3), {"n_clusters": 3}, "label 3, but n_clusters=3"),
        (ints(0), ints(0), {"threshold": 0.49}, "threshold: expected 0.5 to 1, found 0.49"),
        (ints(0), ints(0), {"threshold": float("nan")}, "threshold: expected 0.5 to 1"),
    ],
)
def test_bad_customers_are_refused(old, new, announced, message):
    with pytest.raises(ValueError, match=message):
        match_on_customers(old, new, **announced)


@pytest.mark.parametrize(
    "ids, old, new, message",
    [
        ([1], np.zeros((2, 2)), np.zeros((1, 2)), "old_ids: expected 2 different ids"),
        ([1, 1], np.zeros((2, 2)), np.zeros((1, 2)), "old_ids: expected 2 different ids"),
        ([-1], np.zeros((1, 2)), np.zeros((1, 2)), "expected 0 or more, found -1"),
        ([1], np.zeros((1, 2)), np.zeros((1, 3)), "new_centres: expected 2 columns, found 3"),
        ([1], np.full((1, 2), np.nan), np.zeros((1, 2)), "old_centres: row 0, column 0"),
    ],
)
def test_bad_centres_are_refused(ids, old, new, message):
    with pytest.raises(ValueError, match=message):
        match_on_centres(ids, old, new)


def test_mean_centres_refuse_another_number_of_segments():
    with pytest.raises(ValueError, match="one for each of 3 rows, found 2"):
        mean_centres(np.zeros((3, 1)), ints(0, 1))
