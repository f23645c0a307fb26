"""Choosing k and eps: known answers, small and awkward tables, row order, what is recorded."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score, silhouette_score

from ml.cluster_fits import fit_dbscan, fit_kmeans
from ml.eps_selection import N_EPS_CANDIDATES, choose_eps, default_min_samples
from ml.selection import (
    FEW_COLUMNS,
    MIN_STABILITY,
    UNSTABLE_WEIGHT,
    Selection,
    _evidence,
    _kept,
    _ranked,
    choose_n_clusters,
)


def blobs(*, n_rows: int, n_blobs: int, n_columns: int = 3, spread: float = 1.0, seed: int = 0):
    """Round clusters on the corners of a lattice, twelve spreads apart or more."""
    rng = np.random.default_rng(seed)
    corners = np.array(np.unravel_index(np.arange(n_blobs), (3,) * n_columns)).T * 12.0
    truth = np.arange(n_rows) % n_blobs
    return corners[truth] + rng.normal(scale=spread, size=(n_rows, n_columns)), truth


def rings(*, n_rows: int = 800, seed: int = 0):
    rng = np.random.default_rng(seed)
    truth = np.arange(n_rows) % 2
    angles = 4 * np.pi * (np.arange(n_rows) + rng.uniform(0, 2, size=n_rows)) / n_rows
    radii = 1.0 + 2.0 * truth + rng.normal(scale=0.05, size=n_rows)
    return np.column_stack([radii * np.cos(angles), radii * np.sin(angles)]), truth


@pytest.mark.parametrize("n_blobs", [4, 5])
def test_k_is_the_number_of_clear_clusters(n_blobs):
    X, _ = blobs(n_rows=400, n_blobs=n_blobs)

    selection = choose_n_clusters(X, candidates=range(2, 8), random_state=0)

    assert selection.chosen == {"n_clusters": n_blobs}
    assert selection.evidence == "strong"
    assert f"k = {n_blobs} " in selection.reason


@pytest.mark.parametrize("random_state", [0, 1])
def test_features_that_have_nothing_to_do_with_each_other_are_no_strong_evidence(random_state):
    rng = np.random.default_rng(random_state)
    n = 400
    one_hot = np.eye(3)[rng.integers(3, size=n)]
    square = rng.uniform(-1.7, 1.7, size=(n, 2))
    cells = np.hstack([one_hot, np.eye(2)[rng.integers(2, size=n)]])
    with_category = np.hstack([np.eye(2)[(rng.random(n) < 0.3) * 1], rng.normal(size=(n, 3))])

    judged = [
        choose_n_clusters(X, candidates=range(2, 5), widths=widths, random_state=random_state)
        for X, widths in ((square, [1, 1]), (cells, [3, 2]), (with_category, [2, 1, 1, 1]))
    ]

    assert [found.evidence for found in judged] == ["weak", "weak", "none"]
    assert "have nothing to do with each other do it too" in judged[0].reason
    assert judged[2].reason.startswith("No number of segments fits 400 sampled customers")


def test_the_share_of_the_work_that_is_done_grows_to_one():
    shares = []

    choose_n_clusters(
        close_pairs(gap=2.0), candidates=[2, 3], random_state=0, on_progress=shares.append
    )

    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.95)
    assert len(shares) > 20


def test_a_table_without_segments_is_no_strong_evidence():
    X = np.random.default_rng(7).normal(size=(300, 4))

    selection = choose_n_clusters(X, candidates=range(2, 6), random_state=0)

    assert selection.evidence != "strong"


@pytest.mark.parametrize(
    "excess, evidence", [(0.009, "none"), (0.011, "weak"), (0.029, "weak"), (0.031, "strong")]
)
def test_evidence_needs_size_as_well_as_significance(excess, evidence):
    copies = np.linspace(0.1, 0.101, 19)[:, None]

    assert _evidence(np.array([0.2]), copies, excess=excess) == evidence
    assert _evidence(np.array([0.1005]), copies, excess=excess) == "none"


def close_pairs(*, gap: float):
    """Three far groups of two near clusters each, `gap` spreads from the middle of the pair."""
    rng = np.random.default_rng(3)
    groups = np.array([[0.0, 0.0, 0.0], [14.0, 0.0, 0.0], [0.0, 14.0, 0.0]])
    middles = np.vstack([groups - gap, groups + gap])
    return middles[np.arange(300) % 6] + rng.normal(size=(300, 3))


def test_close_pairs_of_clusters_are_not_taken_for_one():
    # Without compactness the answer is three.
    selection = choose_n_clusters(close_pairs(gap=1.75), candidates=range(2, 8), random_state=0)

    separated = max(selection.curve, key=lambda point: point["excess"] * point["stability"])
    assert separated["n_clusters"] == 3
    assert selection.chosen == {"n_clusters": 6}


def test_the_k_that_serves_stays_while_another_is_hardly_better():
    X = close_pairs(gap=1.75)

    afresh, kept = (
        choose_n_clusters(X, candidates=[3, 6], incumbent=incumbent, random_state=0)
        for incumbent in (None, 3)
    )

    three, six = (f"{point['score']:.3f}" for point in kept.curve)
    assert (afresh.chosen, kept.chosen) == ({"n_clusters": 6}, {"n_clusters": 3})
    assert afresh.curve == kept.curve
    assert f"score {six}; the best of 2 candidates, before k = 3 with {three}" in afresh.reason
    assert (
        f"score {three}; the best of 2 candidates is k = 6 with {six}, too little more for a "
        "change; k is kept from the version that serves" in kept.reason
    )


def test_the_k_that_serves_goes_when_another_is_clearly_better():
    X, _ = blobs(n_rows=400, n_blobs=4)

    selection = choose_n_clusters(X, candidates=[2, 4], incumbent=2, random_state=0)

    assert selection.chosen == {"n_clusters": 4}
    score = f"{selection.curve[0]['score']:.3f}"
    assert f"k = 2 of the version that serves has {score}, too little to keep" in selection.reason


@pytest.mark.parametrize(
    "n_sampled, score, smallest_share, stays",
    [
        (200, 0.40, 0.1, True),
        (200, 0.39, 0.1, False),
        (1_500, 0.47, 0.1, True),
        (1_500, 0.46, 0.1, False),
        (1_500, 0.50, 0.005, True),
        (1_500, 0.50, 0.004, False),
    ],
)
def test_the_more_customers_the_less_the_k_that_serves_may_lack(
    n_sampled, score, smallest_share, stays
):
    best = {"n_clusters": 5, "large_enough": True, "score": 0.5, "smallest_share": 0.1}
    serving = {**best, "n_clusters": 3, "score": score, "smallest_share": smallest_share}

    kept = _kept([best, serving], 3, n_rows=100_000, n_sampled=n_sampled)

    assert kept is (serving if stays else None)


def test_the_k_that_serves_is_tried_though_no_candidate():
    X, _ = blobs(n_rows=450, n_blobs=14)

    selection = choose_n_clusters(X, candidates=[2, 12], incumbent=14, random_state=0)

    assert [point["n_clusters"] for point in selection.curve] == [2, 12, 14]
    assert selection.chosen == {"n_clusters": 14}


def test_a_k_that_halves_do_not_agree_on_counts_half_unless_it_serves():
    X = np.random.default_rng(3).normal(size=(300, 3))

    fresh, kept = (
        choose_n_clusters(X, candidates=[4, 7], incumbent=incumbent, random_state=0).curve[1]
        for incumbent in (None, 7)
    )

    assert fresh["stability"] < MIN_STABILITY
    assert kept["score"] == pytest.approx(fresh["score"] / UNSTABLE_WEIGHT)


@pytest.mark.parametrize("incumbent", [1, 9])
def test_a_k_that_is_no_longer_possible_is_given_up(incumbent):
    X, _ = blobs(n_rows=100, n_blobs=3)

    selection = choose_n_clusters(X, candidates=[2, 3], incumbent=incumbent, random_state=0)

    assert selection.chosen == {"n_clusters": 3}
    assert f"k = {incumbent} of the version that serves is not possible" in selection.reason


def test_the_curve_has_every_candidate_with_scikit_learns_silhouette():
    X, _ = blobs(n_rows=240, n_blobs=3, spread=4.0)

    selection = choose_n_clusters(X, candidates=[2, 3, 5], random_state=0)

    assert [point["n_clusters"] for point in selection.curve] == [2, 3, 5]
    for point in selection.curve:
        _, labels = fit_kmeans(X, n_clusters=point["n_clusters"], n_init=5, random_state=0)
        assert point["silhouette"] == pytest.approx(silhouette_score(X, labels))
        assert 0 <= point["stability"] <= 1
        above = np.sqrt(max(point["excess"], 0.0) * max(point["compactness"], 0.0))
        weight = 1.0 if point["stability"] >= MIN_STABILITY else UNSTABLE_WEIGHT
        assert point["score"] == pytest.approx(above * point["stability"] * weight)


@pytest.mark.parametrize(("n_columns", "chosen"), [(FEW_COLUMNS, 3), (FEW_COLUMNS + 1, 5)])
def test_in_few_columns_the_smallest_of_like_scores_is_chosen(n_columns, chosen):
    scores = {2: 0.77, 3: 0.79, 4: 0.9, 5: 1.0}
    curve = [{"n_clusters": k, "score": s, "large_enough": True} for k, s in scores.items()]

    ranked = _ranked(curve, n_columns=n_columns)

    assert ranked[0]["n_clusters"] == chosen
    assert sorted(point["n_clusters"] for point in ranked) == [2, 3, 4, 5]


def test_a_like_score_does_not_excuse_a_small_segment():
    curve = [
        {"n_clusters": 2, "score": 0.99, "large_enough": False},
        {"n_clusters": 5, "score": 1.0, "large_enough": True},
    ]

    assert _ranked(curve, n_columns=2)[0]["n_clusters"] == 5


def test_the_order_of_the_rows_changes_neither_choice():
    X, _ = blobs(n_rows=300, n_blobs=3, spread=3.0)
    order = np.random.default_rng(1).permutation(len(X))

    by_k = [
        choose_n_clusters(rows, candidates=[2, 3], max_rows=150, random_state=4)
        for rows in (X, X[order])
    ]
    by_eps = [choose_eps(rows, max_rows=150, random_state=4) for rows in (X, X[order])]

    assert by_k[0] == by_k[1]
    assert by_eps[0] == by_eps[1]


def test_a_segment_of_a_handful_is_refused_when_another_k_is_possible():
    # Ten of 1,210 customers far away: by score alone they would be a segment of their own.
    rng = np.random.default_rng(0)
    X = np.repeat([[0.0, 0.0], [12.0, 0.0], [6.0, 30.0]], [600, 600, 10], axis=0)
    X += rng.normal(size=X.shape)

    selection = choose_n_clusters(X, candidates=[2, 3], random_state=0)

    two, three = selection.curve
    assert three["score"] > two["score"]
    assert (two["large_enough"], three["large_enough"]) == (True, False)
    assert selection.chosen == {"n_clusters": 2}
    assert "refused for a segment that is too small: [3]" in selection.reason


def test_small_segments_of_a_small_table_are_allowed():
    # 200 customers, the smallest segment has 14 of them: under 20, yet a fourteenth of all.
    rng = np.random.default_rng(0)
    X = np.repeat([[0.0, 0.0], [12.0, 0.0], [0.0, 12.0]], [100, 86, 14], axis=0)
    X += rng.normal(size=X.shape)

    selection = choose_n_clusters(X, random_state=0)

    assert selection.chosen == {"n_clusters": 3}
    assert max(point["n_clusters"] for point in selection.curve) == 200 // 30


@pytest.mark.parametrize(
    "X, expected",
    [
        (np.array([[0.0]] * 5 + [[1.0]] * 5), 2),
        (np.arange(12.0)[:, None], 2),
        (np.repeat(np.eye(4), 100, axis=0), 4),
    ],
)
def test_awkward_tables_get_a_possible_k(X, expected):
    selection = choose_n_clusters(X, random_state=0)

    assert selection.chosen["n_clusters"] == expected
    assert all(np.isfinite(list(point.values())).all() for point in selection.curve)


@pytest.mark.parametrize("choose", [choose_n_clusters, choose_eps])
@pytest.mark.parametrize(
    "X, message",
    [
        (np.ones((50, 2)), "all sampled rows are alike"),
        (np.array([[0.0], [1.0]]), "at least three rows"),
        (np.full((20, 1), np.nan), "row 0, column 0"),
    ],
)
def test_tables_without_a_choice_are_refused(choose, X, message):
    with pytest.raises(ValueError, match=message):
        choose(X, random_state=0)


@pytest.mark.parametrize("n_columns, expected", [(1, 5), (2, 5), (4, 8), (10, 20), (60, 20)])
def test_min_samples_follows_the_columns(n_columns, expected):
    assert default_min_samples(n_columns) == expected


@pytest.mark.parametrize(
    "table",
    [
        rings(),
        blobs(n_rows=600, n_blobs=5, n_columns=2),
        blobs(n_rows=150, n_blobs=2, n_columns=8),
    ],
    ids=["rings", "blobs", "small"],
)
def test_eps_finds_dense_shapes(table):
    X, truth = table

    selection = choose_eps(X, random_state=0)

    _, labels = fit_dbscan(
        X, eps=selection.chosen["eps"], min_samples=int(selection.chosen["min_samples"])
    )
    assert adjusted_rand_score(truth, labels) > 0.9
    assert "density validity" in selection.reason


def test_the_reason_for_eps_names_the_best_with_other_clusters():
    X, _ = blobs(n_rows=600, n_blobs=5, n_columns=2)

    selection = choose_eps(X, random_state=0)

    others = [p for p in selection.curve if p["n_clusters"] != 5 and not p["degenerate"]]
    second = max(others, key=lambda point: point["score"])
    assert f"before {second['n_clusters']} clusters at eps = {second['eps']:.4g}" in (
        selection.reason
    )


def test_each_candidate_of_eps_is_dbscan_at_that_eps():
    X, _ = rings(n_rows=300)

    selection = choose_eps(X, min_samples=5, random_state=0)

    assert 10 <= len(selection.curve) <= N_EPS_CANDIDATES + 1
    for point in selection.curve:
        # A rounding wider, as the candidates are distances that occur.
        theirs = DBSCAN(eps=point["eps"] * (1 + 1e-9), min_samples=5).fit(X)
        assert point["n_clusters"] == theirs.labels_.max() + 1
        assert point["noise_share"] == pytest.approx(np.mean(theirs.labels_ < 0))


def test_density_validity_worked_by_hand():
    # Two runs of unit steps, eleven apart; with min_samples 2 each core distance is 1.
    X = np.array([[0.0], [1.0], [2.0], [13.0], [14.0], [15.0], [40.0]])

    selection = choose_eps(X, min_samples=2, random_state=0)

    # Six of seven customers in clusters of sparseness 1 and separation 11.
    best = max(selection.curve, key=lambda point: point["score"])
    assert best["score"] == pytest.approx(6 / 7 * (11 - 1) / 11)
    assert selection.chosen == {"eps": 1.0, "min_samples": 2}


def test_min_samples_scales_from_the_sample_to_the_table():
    X, truth = blobs(n_rows=4_000, n_blobs=4, n_columns=2)

    selection = choose_eps(X, max_rows=400, random_state=0)

    assert selection.chosen["min_samples"] == 10 * default_min_samples(2)
    _, labels = fit_dbscan(
        X, eps=selection.chosen["eps"], min_samples=int(selection.chosen["min_samples"])
    )
    assert adjusted_rand_score(truth, labels) > 0.9


def test_a_stated_min_samples_is_kept():
    X, _ = blobs(n_rows=900, n_blobs=3, n_columns=2)

    selection = choose_eps(X, min_samples=30, max_rows=300, random_state=0)

    assert selection.chosen["min_samples"] == 30


def test_when_every_eps_is_degenerate_the_reason_says_so():
    # Unit steps without a gap: one cluster or none, whatever eps.
    X = np.arange(200.0)[:, None]

    selection = choose_eps(X, random_state=0)

    assert all(point["degenerate"] for point in selection.curve)
    assert selection.reason.startswith(f"All {len(selection.curve)} candidates are degenerate")
    assert np.isfinite(selection.chosen["eps"])


def test_a_sound_eps_goes_before_a_degenerate_one():
    # In each of two lattices a tight crowd: the crowds alone score best and leave 52 % as noise.
    lattice = np.array(np.unravel_index(np.arange(64), (8, 8))).T.astype(float)
    angles = np.arange(60) * 2 * np.pi / 60
    crowd = 3.5 + 0.01 * np.column_stack([np.cos(angles), np.sin(angles)])
    X = np.vstack([lattice, crowd, lattice + [8.8, 0.0], crowd + [8.8, 0.0]])

    selection = choose_eps(X, min_samples=3, random_state=0)

    best = max(selection.curve, key=lambda point: point["score"])
    chosen = next(p for p in selection.curve if p["eps"] == selection.chosen["eps"])
    assert (best["degenerate"], chosen["degenerate"]) == (True, False)
    assert chosen["n_clusters"] == 2
    assert chosen["score"] < best["score"]


def test_crowds_of_equal_customers_get_an_eps():
    X = np.repeat([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]], 40, axis=0)

    selection = choose_eps(X, random_state=0)

    assert selection.chosen["eps"] in cdist(X, X)
    assert selection.chosen["eps"] > 0


def test_a_selection_is_plain_data():
    X, _ = blobs(n_rows=120, n_blobs=2)
    selections: list[Selection] = [
        choose_n_clusters(X, candidates=[2, 3], random_state=0),
        choose_eps(X, random_state=0),
    ]

    for selection in selections:
        kept = json.loads(json.dumps(selection.to_dict(), allow_nan=False))
        assert kept == selection.to_dict()
        assert kept["reason"].endswith(".")
