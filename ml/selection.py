"""What a choice is, and choosing k for k-means; `ml.eps_selection` chooses eps for DBSCAN.

A *candidate* is one value tried, the *curve* is every candidate with its figures, and *evidence*
says whether the table holds segments at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from ml.cluster_fits import distinct_rows, fit_kmeans, single_threaded
from ml.clusterers import FloatArray, IntArray, check_encoded
from ml.evaluation import silhouette_values

# Source for the method and each number up to the next blank line: compared on 84 generated
# customer tables and 39 labelled benchmark sets; mean adjusted Rand index .59 and .57, against
# .56 and .56 without compactness (it takes too few clusters where some lie close together), .47
# and .57 for the largest silhouette, and .64 and .64 for the best of all k.
CANDIDATE_N_CLUSTERS = range(2, 13)
# Two fits on halves that agree by less (mean adjusted Rand index) find other segments each time:
# such a k must be twice as good. It changes none of the means above, and a real table of 2,240
# customers whose best scores are alike (k = 12 with stability .59, k = 4 with .81) has the same k
# on 17 of 19 bootstraps, where it had it on one.
MIN_STABILITY = 0.7
UNSTABLE_WEIGHT = 0.5
# In so few columns the scores of several k are often alike: the smallest k within this share of the
# best is taken. It gains .009 on the 39 sets and .03 on 15 generated tables of two columns; with
# more columns it costs up to .05, as close clusters are taken for one.
FEW_COLUMNS = 2
ALIKE_SHARE = 0.22
MAX_ROWS = 1_500
ROWS_PER_CLUSTER = 30
N_STARTS = 5
N_HALVINGS = 8
# 19 copies and the table itself make 20 ranks: being first has probability .05.
N_COPIES = 19
# Silhouette above the copies from which a proven structure is called strong; set where of 42
# tables without segments none came near (.024 at most) and of 84 with them 68 were above.
STRONG_EXCESS = 0.03
# Below this even a proven structure is none: a skewed table without segments differs from its
# Gaussian copies by as little. Of 84 such tables 92 % then have none (87 % without this floor),
# of 126 tables with segments 4 % (3 %).
WEAK_EXCESS = 0.01
SIGNIFICANCE = 0.05
# What halves of the customers agree on by less is no evidence, whatever its silhouette: of 21
# generated tables with segments 20 have .75 or more, independent columns with a category among
# them .16 to .39.
LEAST_STABILITY = 0.5
# How much the score of the k that serves may lack and still stay, times the square root of the
# sampled customers, as the noise of a mean falls with that root: .11 for 200, .04 for 1,500. Its
# smallest segment may be half of what a new k needs, as sizes vary too. Set on 20 bootstraps of two
# real tables whose curves are flat: 95 % of customers keep their segment on both (72 and 26 % with
# k chosen afresh) for .04 and .01 of score. Of 8 generated tables whose customers were half
# replaced by other segments k moved in 5, of 8 that lost half of their segments in all.
INCUMBENT_MARGIN = 1.5
INCUMBENT_SEGMENT_SHARE = 0.5

# Customers that a segment needs to be worth naming; a judgement, not a measurement. In tables
# under 400 customers the twentieth part is enough.
MIN_SEGMENT_ROWS = 20
MIN_SEGMENT_SHARE = 0.01
MIN_SEGMENT_SHARE_OF_SMALL_TABLE = 0.05


@dataclass(frozen=True, slots=True)
class Selection:
    """A choice, and what it was made from.

    Attributes
    ----------
    chosen : dict
        The chosen parameters by name.
    curve : list of dict
        Every candidate with its figures; ``score`` decides, larger is better.
    reason : str
        One sentence a person reads.
    evidence : str or None
        ``strong``, ``weak`` or ``none``: whether the table holds segments at all. None where the
        method does not say.
    """

    chosen: dict[str, int | float]
    curve: list[dict[str, Any]]
    reason: str
    evidence: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return asdict(self)


def choose_n_clusters(
    X: FloatArray,
    *,
    candidates: Iterable[int] = CANDIDATE_N_CLUSTERS,
    incumbent: int | None = None,
    widths: Sequence[int] | None = None,
    max_rows: int = MAX_ROWS,
    random_state: int,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Selection:
    """Choose k by separation and compactness above structureless copies, times stability.

    The k of the version that serves stays unless another is clearly better: were k to follow the
    noise of the sample, customers would change segments for no reason.

    Parameters
    ----------
    X : float64 array (n, n_columns)
        Encoded rows.
    candidates : iterable of int
        Values of k from 2; those above n / 30 or the number of distinct rows are left out.
    incumbent : int, optional
        k of the version that serves; tried like a candidate, and chosen while its score is at
        most `INCUMBENT_MARGIN` / √(sampled rows) below the best and its smallest segment is at
        least `INCUMBENT_SEGMENT_SHARE` of what a new k needs.
    widths : sequence of int, optional
        Columns of X that each feature has, in order; one each if not given. They are what is
        independent of each other in a table without structure.
    max_rows : int
        Rows of the seeded sample that everything is computed on.
    random_state : int
        Seed of sample, starts, copies and halvings. The row order changes nothing.
    on_progress : callable
        Called with the share of the work done, 0-1.

    Returns
    -------
    Selection
        ``chosen`` has ``n_clusters``; each point of the curve has ``n_clusters``, ``silhouette``,
        ``excess`` (above the mean of the copies), ``compactness`` (share by which the inertia is
        below the mean of the copies), ``stability`` (mean adjusted Rand index of fits on two
        halves), ``smallest_share``, ``large_enough`` and ``score``: the geometric mean of excess
        and compactness, times stability, 0 where one of them is negative, and half of it where
        the stability is below `MIN_STABILITY` and k is not the incumbent. The largest score wins;
        in `FEW_COLUMNS` the smallest k whose score is within `ALIKE_SHARE` of it.

    Raises
    ------
    ValueError
        Fewer than three rows, or all rows alike.

    Notes
    -----
    A copy is drawn from one Gaussian with the covariance of the sample. The evidence is strong only
    if the chosen k also separates the table better than copies whose features keep their values
    and are independent: the corners of a square, the cells of a few categories, or the two halves
    of one column alone, are hardly segments.
    Source: the comparison with a structureless reference is Tibshirani, Walther, Hastie (2001),
    the gap statistic; stability is Ben-Hur, Elisseeff, Guyon (2002).
    """
    rng = np.random.default_rng(random_state)
    sample = seeded_sample(X, max_rows, rng)
    tried = candidates if incumbent is None else {*candidates, incumbent}
    ks = _possible(tried, sample, n_rows=len(X))
    with single_threaded().limit(limits=1):
        labels, silhouettes, inertias = _judged(sample, ks, random_state)
        copies, copies_inertias = _judged_copies(
            sample, ks, rng, random_state, lambda share: on_progress(0.05 + 0.6 * share)
        )
        stabilities = _stabilities(
            sample, ks, rng, random_state, lambda share: on_progress(0.65 + 0.3 * share)
        )
    excesses = silhouettes - copies.mean(axis=0)
    compactness = 1.0 - inertias / copies_inertias.mean(axis=0)
    above = np.sqrt(np.maximum(excesses, 0.0) * np.maximum(compactness, 0.0))
    # The k that serves is not doubted for what another draw of the customers does to it.
    is_firm = (stabilities >= MIN_STABILITY) | np.array([k == incumbent for k in ks])
    weights = np.where(is_firm, 1.0, UNSTABLE_WEIGHT)
    scores = above * np.maximum(stabilities, 0.0) * weights
    smallest = [float(np.bincount(own).min()) / len(sample) for own in labels]
    curve = [
        {
            "n_clusters": k,
            "silhouette": float(silhouettes[i]),
            "excess": float(excesses[i]),
            "compactness": float(compactness[i]),
            "stability": float(stabilities[i]),
            "smallest_share": smallest[i],
            "large_enough": smallest[i] >= _smallest_allowed_share(len(X)),
            "score": float(scores[i]),
        }
        for i, k in enumerate(ks)
    ]
    ranked = _ranked(curve, n_columns=X.shape[1])
    chosen = _kept(ranked, incumbent, n_rows=len(X), n_sampled=len(sample)) or ranked[0]
    evidence, doubt = _evidence(silhouettes, copies, excess=float(excesses.max())), ""
    if chosen["stability"] < LEAST_STABILITY or not chosen["score"]:
        evidence = "none"
    elif evidence == "strong":
        independent = _independent_silhouettes(
            sample, chosen["n_clusters"], widths or [1] * X.shape[1], rng, random_state
        )
        if chosen["silhouette"] <= independent.max():
            evidence, doubt = (
                "weak",
                ", as features that have nothing to do with each other do it too",
            )
    return Selection(
        chosen={"n_clusters": chosen["n_clusters"]},
        curve=curve,
        reason=_reason_for_k(
            chosen,
            ranked,
            incumbent=incumbent,
            n_sampled=len(sample),
            evidence=evidence,
            doubt=doubt,
        ),
        evidence=evidence,
    )


def seeded_sample(X: FloatArray, max_rows: int, rng: np.random.Generator) -> FloatArray:
    """Draw rows after sorting them, so that the order they came in changes nothing."""
    check_encoded(X, "X")
    if len(X) < 3:
        raise ValueError(f"X: expected at least three rows, found {len(X)}")
    if max_rows < 3:
        raise ValueError(f"max_rows: expected at least three, found {max_rows}")
    ordered = X[np.lexsort(X.T[::-1])] + 0.0
    if len(ordered) > max_rows:
        ordered = ordered[np.sort(rng.choice(len(ordered), size=max_rows, replace=False))]
    if (ordered == ordered[0]).all():
        raise ValueError("X: all sampled rows are alike, there is nothing to choose from")
    return np.ascontiguousarray(ordered)


def _possible(candidates: Iterable[int], sample: FloatArray, *, n_rows: int) -> list[int]:
    n_distinct = len(distinct_rows(sample)[0])
    limit = min(max(2, n_rows // ROWS_PER_CLUSTER), n_distinct, len(sample) - 1)
    # Two clusters are always possible here; they also stand in when all candidates are too many.
    return sorted({k for k in candidates if 2 <= k <= limit}) or [2]


def _smallest_allowed_share(n_rows: int) -> float:
    share = min(MIN_SEGMENT_ROWS / n_rows, MIN_SEGMENT_SHARE_OF_SMALL_TABLE)
    return max(share, MIN_SEGMENT_SHARE)


def _judged(
    X: FloatArray, ks: list[int], random_state: int
) -> tuple[list[IntArray], FloatArray, FloatArray]:
    """Fit each k; return the labels, and silhouettes and inertias of shape (len(ks),)."""
    fits = [fit_kmeans(X, n_clusters=k, n_init=N_STARTS, random_state=random_state) for k in ks]
    labelings = [labels for _, labels in fits]
    inertias = [float(np.sum(model.predict(X).distances ** 2)) for model, _ in fits]
    return labelings, _silhouettes(X, labelings), np.array(inertias)


def _silhouettes(X: FloatArray, labelings: list[IntArray]) -> FloatArray:
    distances = cdist(X, X)
    return np.array(
        [
            # Rows closer than float64 can square end in one cluster, which separates nothing.
            silhouette_values(distances, labels).mean() if labels.any() else 0.0
            for labels in labelings
        ]
    )


def _judged_copies(
    sample: FloatArray,
    ks: list[int],
    rng: np.random.Generator,
    random_state: int,
    on_progress: Callable[[float], None],
) -> tuple[FloatArray, FloatArray]:
    """Silhouettes and inertias of structureless copies, each of shape (N_COPIES, len(ks))."""
    mean, covariance = sample.mean(axis=0), np.atleast_2d(np.cov(sample, rowvar=False))
    silhouettes, inertias = np.empty((2, N_COPIES, len(ks)))
    for i in range(N_COPIES):
        # One-hot columns make the covariance singular, which is no fault here.
        copy = rng.multivariate_normal(
            mean, covariance, size=len(sample), method="eigh", check_valid="ignore"
        )
        _, silhouettes[i], inertias[i] = _judged(copy, ks, random_state)
        on_progress((i + 1) / N_COPIES)
    return silhouettes, inertias


def _independent_silhouettes(
    sample: FloatArray,
    n_clusters: int,
    widths: Sequence[int],
    rng: np.random.Generator,
    random_state: int,
) -> FloatArray:
    """Silhouettes (N_COPIES,) of copies whose features keep their values, each in its own order."""
    features = np.split(sample, np.cumsum(widths)[:-1], axis=1)
    silhouettes = np.empty(N_COPIES)
    with single_threaded().limit(limits=1):
        for i in range(N_COPIES):
            copy = np.hstack([values[rng.permutation(len(sample))] for values in features])
            k = min(n_clusters, len(distinct_rows(copy)[0]))
            silhouettes[i] = _judged(copy, [k], random_state)[1][0]
    return silhouettes


def _stabilities(
    sample: FloatArray,
    ks: list[int],
    rng: np.random.Generator,
    random_state: int,
    on_progress: Callable[[float], None],
) -> FloatArray:
    """Mean agreement, over halvings, of two fits on halves that both label the whole sample."""
    # Only training needs scikit-learn: the web process never loads it.
    from sklearn.metrics import adjusted_rand_score

    agreements = np.empty((N_HALVINGS, len(ks)))
    for i in range(N_HALVINGS):
        order = rng.permutation(len(sample))
        halves = [sample[part] for part in np.array_split(order, 2)]
        limits = [len(distinct_rows(half)[0]) for half in halves]
        for j, k in enumerate(ks):
            one, other = (
                fit_kmeans(
                    half, n_clusters=min(k, limit), n_init=N_STARTS, random_state=random_state
                )[0]
                .predict(sample)
                .labels
                for half, limit in zip(halves, limits, strict=True)
            )
            agreements[i, j] = adjusted_rand_score(one, other)
        on_progress((i + 1) / N_HALVINGS)
    means: FloatArray = agreements.mean(axis=0)
    return means


def _evidence(silhouettes: FloatArray, copies: FloatArray, *, excess: float) -> str:
    """Rank the table among its copies by the largest standardised silhouette over k."""
    everyone = np.vstack([silhouettes, copies])
    spread = everyone.std(axis=0)
    centred = everyone - everyone.mean(axis=0)
    standardised = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    largest = standardised.max(axis=1)
    p_value = np.count_nonzero(largest >= largest[0]) / len(largest)
    if p_value > SIGNIFICANCE or excess < WEAK_EXCESS:
        return "none"
    return "strong" if excess >= STRONG_EXCESS else "weak"


def _ranked(curve: list[dict[str, Any]], *, n_columns: int) -> list[dict[str, Any]]:
    """The points of the curve, the one to choose first and the others by their score."""
    by_score = sorted(curve, key=lambda p: (p["large_enough"], p["score"]), reverse=True)
    if n_columns > FEW_COLUMNS:
        return by_score
    best = by_score[0]
    alike = [
        point
        for point in by_score
        if point["large_enough"] == best["large_enough"]
        and point["score"] >= (1.0 - ALIKE_SHARE) * best["score"]
    ]
    first = min(alike, key=itemgetter("n_clusters"))
    return [first, *(point for point in by_score if point is not first)]


def _kept(
    ranked: list[dict[str, Any]], incumbent: int | None, *, n_rows: int, n_sampled: int
) -> dict[str, Any] | None:
    """The point of the k that serves, unless another is clearly better."""
    best = ranked[0]
    lowest_score = best["score"] - INCUMBENT_MARGIN / math.sqrt(n_sampled)
    lowest_share = INCUMBENT_SEGMENT_SHARE * _smallest_allowed_share(n_rows)
    for point in ranked:
        is_as_large = point["smallest_share"] >= lowest_share or not best["large_enough"]
        if point["n_clusters"] == incumbent and is_as_large and point["score"] >= lowest_score:
            return point
    return None


def _reason_for_k(
    chosen: dict[str, Any],
    ranked: list[dict[str, Any]],
    *,
    incumbent: int | None,
    n_sampled: int,
    evidence: str,
    doubt: str,
) -> str:
    separates = f"k = {chosen['n_clusters']} separates {n_sampled:,} sampled customers"
    if evidence == "none":
        separates = (
            f"No number of segments fits {n_sampled:,} sampled customers better than chance would; "
            f"k = {chosen['n_clusters']} is the least bad"
        )
    parts = (
        f"{separates}, beside chance {chosen['excess']:+.3f} of silhouette and "
        f"{-chosen['compactness']:+.0%} of inertia, with stability {chosen['stability']:.2f}: "
        f"score {chosen['score']:.3f}",
        _beside_others(chosen, ranked),
        _beside_incumbent(chosen, ranked, incumbent),
        _small_segments(chosen, ranked),
        f"evidence of segments: {evidence}{doubt}",
    )
    return "; ".join(part for part in parts if part) + "."


def _beside_others(chosen: dict[str, Any], ranked: list[dict[str, Any]]) -> str:
    if len(ranked) == 1:
        return "the only candidate"
    other = next(point for point in ranked if point is not chosen)
    named = f"k = {other['n_clusters']} with {other['score']:.3f}"
    if chosen is ranked[0] and other["score"] > chosen["score"] and other["large_enough"]:
        return f"the smallest k that is like the best of {len(ranked)} candidates, {named}"
    if chosen is ranked[0]:
        return f"the best of {len(ranked)} candidates, before {named}"
    return f"the best of {len(ranked)} candidates is {named}, too little more for a change"


def _beside_incumbent(
    chosen: dict[str, Any], ranked: list[dict[str, Any]], incumbent: int | None
) -> str:
    if incumbent is None:
        return ""
    if chosen["n_clusters"] == incumbent:
        return "k is kept from the version that serves"
    for point in ranked:
        if point["n_clusters"] == incumbent:
            score = f"{point['score']:.3f}"
            return f"k = {incumbent} of the version that serves has {score}, too little to keep it"
    return f"k = {incumbent} of the version that serves is not possible with these customers"


def _small_segments(chosen: dict[str, Any], ranked: list[dict[str, Any]]) -> str:
    if not any(point["large_enough"] for point in ranked):
        return "one segment is small, but no other k avoids it"
    refused = sorted(
        point["n_clusters"]
        for point in ranked
        if point["score"] > chosen["score"] and not point["large_enough"]
    )
    return f"refused for a segment that is too small: {refused}" if refused else ""
