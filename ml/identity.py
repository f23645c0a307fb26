"""Which segment each cluster of a new version continues, and which segments end with the old one.

A *cluster* is a raw label inside the new version; a *segment* is the lasting identity that it
keeps when more than half of both is the same. A *score* is that overlap (or closeness), 0-1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.clusterers import NOISE, FloatArray, IntArray, check_encoded

Fate: TypeAlias = Literal["kept", "split", "merged", "new"]
Basis: TypeAlias = Literal["customers", "centres", "none"]

# From one half on, a cluster and a segment are each other's only possible partner (see
# `match_on_customers`), so an id can neither be given twice nor to the wrong one of two. Source:
# Hennig (2007), Cluster-wise assessment of cluster stability: Jaccard up to .5 is "dissolved".
MIN_SCORE = 0.5


@dataclass(frozen=True, slots=True)
class SegmentMatch:
    """What became of the old segments in one new cluster.

    Attributes
    ----------
    cluster : int
        Label inside the new version.
    segment : int or None
        The segment whose id it keeps; None when it needs an id of its own.
    score : float
        Overlap (Jaccard) or closeness of centres, 0-1: with `segment`, or, where none is kept,
        with the best old segment.
    fate : str
        ``kept``: continues `segment`. ``merged``: two or more old segments have most of their
        customers here; keeps the id of one of them, or of none. ``split``: keeps no id; most of
        its customers come from one old segment that has customers elsewhere too. ``new``: none
        of these. "Most" is more than half. Matched on centres only ``kept`` and ``new`` occur.
    related : tuple of int
        Old segments other than `segment` that have most of their customers here, or that most of
        the customers here come from. Those with most customers here go first, so the first of a
        ``split`` is where it comes from.
    """

    cluster: int
    segment: int | None
    score: float
    fate: Fate
    related: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class IdentityResult:
    """How the segments of two versions belong together.

    Attributes
    ----------
    matches : tuple of SegmentMatch
        One for each cluster of the new version, in the order of their labels.
    retired : tuple of int
        Old segments whose id no cluster keeps, ascending.
    kept_share : float or None
        Share (0-1) of the shared customers with an old segment whose new cluster keeps its id.
        None where no shared customer had one.
    basis : str
        ``customers``, ``centres``, or ``none`` when there was nothing to compare.
    n_shared : int
        Customers that have a segment in the old version and a cluster in the new one.
    """

    matches: tuple[SegmentMatch, ...]
    retired: tuple[int, ...]
    kept_share: float | None
    basis: Basis
    n_shared: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {
            **asdict(self),
            "matches": [asdict(match) | {"related": list(match.related)} for match in self.matches],
            "retired": list(self.retired),
        }


@dataclass(frozen=True, slots=True)
class _Overlaps:
    """Every pair of an old segment and a new cluster that share a customer.

    `segments` are places in the sorted ids, `clusters` are labels, `counts` the shared customers;
    `n_old` and `n_new` the customers of each segment and cluster among the compared ones.
    """

    segments: NDArray[np.intp]
    clusters: NDArray[np.intp]
    counts: IntArray
    n_old: IntArray
    n_new: IntArray

    @property
    def scores(self) -> FloatArray:
        """Jaccard of each pair: shared customers over those in either of both."""
        union = self.n_old[self.segments] + self.n_new[self.clusters] - self.counts
        return self.counts / union

    @property
    def went_into(self) -> NDArray[np.bool_]:
        """Pairs where most of the old segment's customers are in the cluster."""
        return 2 * self.counts > self.n_old[self.segments]

    @property
    def came_from(self) -> NDArray[np.bool_]:
        """Pairs where most of the cluster's customers come from the old segment."""
        return 2 * self.counts > self.n_new[self.clusters]


def match_on_customers(
    old_segments: IntArray,
    new_clusters: IntArray,
    *,
    threshold: float = MIN_SCORE,
    segment_ids: Iterable[int] | None = None,
    n_clusters: int | None = None,
) -> IdentityResult:
    """Match new clusters to old segments by the customers that both versions know.

    Parameters
    ----------
    old_segments : int64 array (n,)
        Segment of each customer in the old version, ``NOISE`` for none.
    new_clusters : int64 array (n,)
        Cluster of the same customers in the new version, ``NOISE`` for none.
    threshold : float
        Least Jaccard overlap that keeps an id, 0.5 to 1.
    segment_ids : iterable of int, optional
        All segments of the old version, where some may have no customer here. Default: those
        that occur.
    n_clusters : int, optional
        Clusters of the new version, where the last may have no customer here. Default: the
        highest label that occurs, plus one.

    Returns
    -------
    IdentityResult
        With basis ``none`` and everything new when no customer has both a segment and a cluster.

    Raises
    ------
    ValueError
        Wrong dtype or shape, labels below ``NOISE``, a segment or cluster that was not announced,
        or a threshold out of range.

    Notes
    -----
    Customers that are noise on one side belong to no pair, but they count in the size of the
    segment or cluster that has them on the other: who falls into noise has left the segment.

    This is the maximum-weight matching on shared customers, cut at `threshold`. A segment A and a
    cluster B with Jaccard above one half share more customers c than A and B have outside of each
    other (|A ∪ B| - c < c). Any matching that parts them gains at most |A| - c + |B| - c, which is
    that smaller number, so every maximum-weight matching contains all such pairs, and no A or B
    is in two of them. At exactly one half there can be two, when a segment falls apart into equal
    halves or two equal ones merge with nobody else: then the lowest segment id and the lowest
    cluster win. Source: Kuhn (1955), The Hungarian method for the assignment problem, for the
    matching; Jaccard (1901) for the overlap.
    """
    _check_threshold(threshold)
    _check_labels(old_segments, "old_segments")
    _check_labels(new_clusters, "new_clusters")
    if old_segments.shape != new_clusters.shape:
        raise ValueError(
            f"old_segments and new_clusters: expected one length, found {len(old_segments)} and "
            f"{len(new_clusters)}"
        )
    ids = _all_ids(old_segments, segment_ids)
    n_new_clusters = _checked_n_clusters(new_clusters, n_clusters)
    overlaps = _overlaps(ids, old_segments, new_clusters, n_new_clusters)
    partner = _partners(
        overlaps.segments, overlaps.clusters, overlaps.scores, n_new_clusters, threshold
    )
    n_kept = int(overlaps.counts[partner[overlaps.clusters] == overlaps.segments].sum())
    n_with_segment = int(overlaps.n_old.sum())
    return IdentityResult(
        matches=_matches(ids, overlaps, partner),
        retired=_retired(ids, partner),
        kept_share=n_kept / n_with_segment if n_with_segment else None,
        basis="customers" if len(overlaps.counts) else "none",
        n_shared=int(overlaps.counts.sum()),
    )


def match_on_centres(
    old_ids: Sequence[int],
    old_centres: FloatArray,
    new_centres: FloatArray,
    *,
    threshold: float = MIN_SCORE,
) -> IdentityResult:
    """Match new clusters to old segments by their centres, where no customers are shared.

    Parameters
    ----------
    old_ids : sequence of int
        Segment of each row of `old_centres`, each at most once.
    old_centres : float64 array (n_old, n_columns)
        Typical customers of the old segments (medians of the raw attributes, say), encoded by
        the **new** version's encoder: distances mean nothing between two encodings. A feature
        that the old version did not have is missing there and filled like any missing value.
    new_centres : float64 array (n_clusters, n_columns)
        Typical customers of the new clusters, taken in the same way and encoded by the same
        encoder; row ``i`` stands for cluster ``i``.
    threshold : float
        Least closeness that keeps an id, 0.5 to 1.

    Returns
    -------
    IdentityResult
        ``kept_share`` is None, as no customer is known to both. Basis ``none`` where one side
        has no centre.

    Raises
    ------
    ValueError
        Wrong shape, dtype or values, ids that are repeated or negative, a threshold out of range.

    Notes
    -----
    Closeness is 1 - d / r, not below 0: d is the distance of both centres, r the way from either
    to the nearest other centre of its own version, whichever is shorter. At closeness 1/2 and
    above d is at most half of r, so by the triangle inequality no other centre of either version
    is nearer to them, and as with customers no assignment problem is left. Where neither side has
    a second centre, r is the root mean square distance of a customer from the middle of a
    standardised table, the square root of n_columns.
    """
    _check_threshold(threshold)
    check_encoded(old_centres, "old_centres")
    check_encoded(new_centres, "new_centres", n_columns=old_centres.shape[1])
    ids = _checked_ids(old_ids)
    if len(ids) != len(old_ids) or len(ids) != len(old_centres):
        raise ValueError(
            f"old_ids: expected {len(old_centres)} different ids, one a row of old_centres"
        )
    order = np.argsort(np.asarray(old_ids, dtype=np.int64))
    closeness = _closeness(old_centres[order], new_centres)
    segments, clusters = np.indices(closeness.shape).reshape(2, -1)
    partner = _partners(segments, clusters, closeness.ravel(), len(new_centres), threshold)
    best = closeness.max(axis=0, initial=0.0)
    matches = tuple(
        SegmentMatch(cluster, *_kept_or_new(ids, place, float(best[cluster])))
        for cluster, place in enumerate(partner.tolist())
    )
    return IdentityResult(
        matches=matches,
        retired=_retired(ids, partner),
        kept_share=None,
        basis="centres" if len(ids) and matches else "none",
    )


def mean_centres(X: FloatArray, segments: IntArray) -> tuple[IntArray, FloatArray]:
    """Average the encoded customers of each segment.

    With the rows a new version is trained on and the segments that the active version gives
    them, these are the old centres in the new version's space, whatever features either uses.

    Parameters
    ----------
    X : float64 array (n, n_columns)
        Encoded rows.
    segments : int64 array (n,)
        Segment or cluster of each row, ``NOISE`` for none.

    Returns
    -------
    ids : int64 array (k,)
        Those that occur, ascending.
    centres : float64 array (k, n_columns)

    Raises
    ------
    ValueError
        Wrong shape, dtype or values.
    """
    check_encoded(X, "X")
    _check_labels(segments, "segments")
    if len(X) != len(segments):
        raise ValueError(f"segments: expected one for each of {len(X)} rows, found {len(segments)}")
    # Sorted, so that the order the customers come in does not change the rounding of the sums.
    order = np.lexsort((*X.T[::-1], segments))
    order = order[np.searchsorted(segments[order], 0) :]
    ids, starts, sizes = np.unique(segments[order], return_index=True, return_counts=True)
    if not len(ids):
        return ids, np.empty((0, X.shape[1]))
    return ids, np.add.reduceat(X[order], starts, axis=0) / sizes[:, None]


def _overlaps(
    ids: IntArray, old_segments: IntArray, new_clusters: IntArray, n_clusters: int
) -> _Overlaps:
    """Count shared customers of the pairs that have any; a full table may not fit in memory."""
    had, has = old_segments != NOISE, new_clusters != NOISE
    places = np.searchsorted(ids, old_segments[had])
    codes = places[has[had]] * n_clusters + new_clusters[had & has]
    pairs, counts = _counted(codes, len(ids) * n_clusters)
    segments, clusters = np.divmod(pairs, max(n_clusters, 1))
    return _Overlaps(
        segments=segments,
        clusters=clusters,
        counts=counts,
        n_old=np.bincount(places, minlength=len(ids)).astype(np.int64),
        n_new=np.bincount(new_clusters[has], minlength=n_clusters).astype(np.int64),
    )


def _counted(codes: IntArray, n_codes: int) -> tuple[IntArray, IntArray]:
    """Return the codes that occur, ascending, and how often each does."""
    # Counting into a table is ten times faster than sorting, as long as the table is the smaller.
    if n_codes <= len(codes):
        table = np.bincount(codes, minlength=n_codes)
        found = np.flatnonzero(table)
        return found, table[found]
    return np.unique(codes, return_counts=True)


def _partners(
    segments: NDArray[np.intp],
    clusters: NDArray[np.intp],
    scores: FloatArray,
    n_clusters: int,
    threshold: float,
) -> IntArray:
    """Name the place of the segment that each cluster continues, -1 for none, int64 (n_clusters,).

    Pairs come ordered by segment, then cluster.
    """
    partner = np.full(n_clusters, -1, dtype=np.int64)
    high = scores >= threshold
    # From one half on, several partners are equally good ones, so the first is as good as any.
    first = np.unique(segments[high], return_index=True)[1]
    candidates, own = segments[high][first], clusters[high][first]
    lowest = np.unique(own, return_index=True)[1]
    partner[own[lowest]] = candidates[lowest]
    return partner


def _matches(ids: IntArray, overlaps: _Overlaps, partner: IntArray) -> tuple[SegmentMatch, ...]:
    n_clusters = len(partner)
    best = np.zeros(n_clusters)
    np.maximum.at(best, overlaps.clusters, overlaps.scores)
    elsewhere = overlaps.counts < overlaps.n_old[overlaps.segments]
    n_taken_in = np.bincount(overlaps.clusters[overlaps.went_into], minlength=n_clusters)
    is_piece = np.zeros(n_clusters, dtype=bool)
    is_piece[overlaps.clusters[overlaps.came_from & elsewhere]] = True
    related = _related(ids, overlaps, partner)
    matches = []
    for cluster, place in enumerate(partner.tolist()):
        segment, score, fate = _kept_or_new(ids, place, float(best[cluster]))
        if n_taken_in[cluster] >= 2:
            fate = "merged"
        elif segment is None and is_piece[cluster]:
            fate = "split"
        matches.append(SegmentMatch(cluster, segment, score, fate, related[cluster]))
    return tuple(matches)


def _related(ids: IntArray, overlaps: _Overlaps, partner: IntArray) -> list[tuple[int, ...]]:
    """Name the other old segments concerned in each cluster, those with most customers first."""
    concerned = overlaps.went_into | overlaps.came_from
    concerned &= partner[overlaps.clusters] != overlaps.segments
    pairs = np.flatnonzero(concerned)
    pairs = pairs[np.argsort(-overlaps.counts[pairs], kind="stable")]
    related: list[tuple[int, ...]] = [()] * len(partner)
    segments = ids[overlaps.segments[pairs]].tolist()
    for segment, cluster in zip(segments, overlaps.clusters[pairs].tolist(), strict=True):
        related[cluster] += (segment,)
    return related


def _kept_or_new(ids: IntArray, place: int, score: float) -> tuple[int | None, float, Fate]:
    return (int(ids[place]), score, "kept") if place >= 0 else (None, score, "new")


def _retired(ids: IntArray, partner: IntArray) -> tuple[int, ...]:
    return tuple(np.delete(ids, partner[partner >= 0]).tolist())


def _closeness(old: FloatArray, new: FloatArray) -> FloatArray:
    """Closeness of each old and new centre, float64 (n_old, n_new), 0-1."""
    distances = _distances(old, new)
    room = np.minimum(_gaps(old)[:, None], _gaps(new))
    room[np.isinf(room)] = np.sqrt(old.shape[1])
    # Two centres of one version in one place leave no room: nothing can tell them apart.
    moved = np.divide(distances, room, out=np.ones_like(distances), where=room > 0.0)
    return np.maximum(1.0 - moved, 0.0)


def _gaps(centres: FloatArray) -> FloatArray:
    """Distance of each centre to the nearest other one; infinite for a single one."""
    distances = _distances(centres, centres)
    np.fill_diagonal(distances, np.inf)
    gaps: FloatArray = distances.min(axis=1, initial=np.inf)
    return gaps


def _distances(one: FloatArray, other: FloatArray) -> FloatArray:
    distances: FloatArray = np.sqrt(((one[:, None] - other) ** 2).sum(axis=2))
    return distances


def _all_ids(old_segments: IntArray, segment_ids: Iterable[int] | None) -> IntArray:
    found = np.unique(old_segments)
    found = found[found != NOISE]
    if segment_ids is None:
        return found
    ids = _checked_ids(segment_ids)
    unknown = np.setdiff1d(found, ids)
    if len(unknown):
        raise ValueError(f"old_segments: segment {unknown[0]} is not among segment_ids")
    return ids


def _checked_ids(segment_ids: Iterable[int]) -> IntArray:
    ids = np.unique(np.fromiter(segment_ids, dtype=np.int64))
    if len(ids) and ids[0] < 0:
        raise ValueError(f"segment ids: expected 0 or more, found {ids[0]}")
    return ids


def _checked_n_clusters(new_clusters: IntArray, n_clusters: int | None) -> int:
    needed = int(new_clusters.max(initial=NOISE)) + 1
    if n_clusters is not None and n_clusters < needed:
        raise ValueError(f"new_clusters: label {needed - 1}, but n_clusters={n_clusters}")
    return needed if n_clusters is None else n_clusters


def _check_labels(labels: IntArray, name: str) -> None:
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype != np.int64:
        raise ValueError(f"{name}: expected a one-dimensional int64 array")
    if labels.min(initial=NOISE) < NOISE:
        row = int(np.argmax(labels < NOISE))
        raise ValueError(f"{name}: row {row}: expected {NOISE} for noise, or 0 and above")


def _check_threshold(threshold: float) -> None:
    if not MIN_SCORE <= threshold <= 1.0:
        raise ValueError(f"threshold: expected {MIN_SCORE} to 1, found {threshold}")
