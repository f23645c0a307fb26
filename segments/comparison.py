"""Two versions of a model type compared on the same stored customers: who would move where.

`before` is the version compared with, mostly the one that serves; `after` is the version looked at.
Noise counts as a segment, written as None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from django.db import connection
from django.db.models import Count
from numpy.typing import NDArray

from ml.agreement import adjusted_rand_index
from modelregistry.models import ModelVersion, Stage
from segments.models import Assignment, Fate, VersionSegment

SegmentId: TypeAlias = int | None
NOISE_NAME = "Noise"
RETIRED = "retired"
"""Fate of a segment that the version has no cluster for; the others are `Fate`."""
# A customer who changed since one of the two was made is not the same customer in both. The signs
# keep SQLite from reading the table in the order of the segments, which takes half as long again.
MIGRATIONS = """SELECT +mine.segment_id, +other.segment_id,
        mine.customer_revision = other.customer_revision, COUNT(*)
    FROM segments_assignment AS mine
    JOIN segments_assignment AS other
        ON other.version_id = %s AND other.customer_id = mine.customer_id
    WHERE mine.version_id = %s
    GROUP BY 1, 2, 3"""


class NotComparable(Exception):
    """The two versions cannot be compared; says why."""


@dataclass(frozen=True, slots=True)
class SegmentChange:
    """One segment under both versions, counted on the compared customers.

    `fate` is None for noise; `match_score` (0-1) and `related_segments` are those of the training,
    known when `after` was matched with `before` then.
    """

    segment: SegmentId
    name: str
    n_before: int
    n_after: int
    share_before: float
    share_after: float
    fate: str | None
    match_score: float | None = None
    related_segments: tuple[int, ...] = ()

    @property
    def share_change(self) -> float:
        """In shares of the compared customers, -1 to 1."""
        return self.share_after - self.share_before


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of one comparison.

    Attributes
    ----------
    after, before : ModelVersion
    rows, columns : ids of the segments of `before`, and of `after` with those in both first, in
        the order of the rows; None, the last, stands for noise and is there when anybody is in it
    counts : int64 array (n_rows, n_columns)
        Customers by their segment under `before` and under `after`.
    n_before_only, n_after_only : int
        Customers assigned to one version, and not, or not as they are now, to the other.
    n_changed : int
        Customers assigned to both, and changed in between; counted in both of the above.
    segments : each segment of either version, noise last
    adjusted_rand_index : float or None
        None when fewer than two customers could be compared.
    """

    after: ModelVersion
    before: ModelVersion
    rows: tuple[SegmentId, ...]
    columns: tuple[SegmentId, ...]
    counts: NDArray[np.int64]
    n_before_only: int
    n_after_only: int
    n_changed: int
    segments: tuple[SegmentChange, ...]
    adjusted_rand_index: float | None

    @property
    def n_compared(self) -> int:
        return int(self.counts.sum())

    @property
    def n_moved(self) -> int:
        """Customers in another segment under `after`; from and to noise is a move too."""
        stayed = np.equal.outer(_keys(self.rows), _keys(self.columns))
        return int(self.counts[~stayed].sum())

    @property
    def moved_share(self) -> float | None:
        """None when nobody could be compared."""
        return self.n_moved / self.n_compared if self.n_compared else None


def compare(after: ModelVersion, before: ModelVersion) -> Comparison:
    """Compare two trained versions of one type; five queries. Raises `NotComparable`."""
    if after.model_type != before.model_type:
        raise NotComparable(
            f"{after} and {before} are of two model types; their segments have nothing in common."
        )
    for version in (after, before):
        if version.stage != Stage.TRAINED:
            raise NotComparable(f"{version} is not trained: {version.get_stage_display()}.")
    mine, others = _segments_of(after), _segments_of(before)
    migrations, n_changed = _migrations(after, before)
    rows = (*others, *_noise_in({row for row, _ in migrations}))
    in_both, only_mine = [s for s in others if s in mine], [s for s in mine if s not in others]
    columns = (*in_both, *only_mine, *_noise_in({column for _, column in migrations}))
    counts = np.array(
        [[migrations.get((row, column), 0) for column in columns] for row in rows], dtype=np.int64
    ).reshape(len(rows), len(columns))
    n_compared = int(counts.sum())
    changes = _changes(
        mine,
        others,
        dict(zip(rows, counts.sum(axis=1).tolist(), strict=True)),
        dict(zip(columns, counts.sum(axis=0).tolist(), strict=True)),
        was_matched=(after.identity or {}).get("compared_with") == before.number,
    )
    return Comparison(
        after=after,
        before=before,
        rows=rows,
        columns=columns,
        counts=counts,
        n_before_only=_n_assigned(before) - n_compared,
        n_after_only=_n_assigned(after) - n_compared,
        n_changed=n_changed,
        segments=tuple(changes),
        adjusted_rand_index=adjusted_rand_index(counts) if n_compared > 1 else None,
    )


def _segments_of(version: ModelVersion) -> dict[int, VersionSegment]:
    """By segment id, in the order of the clusters."""
    rows = VersionSegment.objects.filter(version=version).select_related("segment")
    return {row.segment_id: row for row in rows.defer("features", "medians").order_by("cluster")}


def notes_of(comparison: Comparison, *, is_proposed: bool) -> list[str]:
    """Sentences on what the figures do not say: who is left out, and whose segments are continued.

    `is_proposed` says that `after` could be activated in place of `before`.
    """
    notes = [_left_out(comparison), _continued(comparison) if is_proposed else ""]
    return [note for note in notes if note]


def _left_out(comparison: Comparison) -> str:
    n_changed = comparison.n_changed
    n_one_sided = comparison.n_before_only + comparison.n_after_only - 2 * n_changed
    parts = [f"{n_changed:,} changed since one of the two versions was assigned"] * bool(n_changed)
    parts += [f"{n_one_sided:,} assigned to one of the two alone"] * bool(n_one_sided)
    if not parts:
        return ""
    return (
        f"Customers not compared: {', '.join(parts)}. "
        "Activating a version first assigns everybody who has the values it needs."
    )


def _continued(comparison: Comparison) -> str:
    """Whose segments the version continues, when not those of the version it would replace."""
    after, before = comparison.after, comparison.before
    again = "train again to continue these."
    if after.identity is None:
        shared = {*comparison.rows} & {*comparison.columns} - {None}
        return "" if shared else f"{after} continues no segment of {before}; {again}"
    number = after.identity["compared_with"]
    if number == before.number:
        return ""
    trained_beside = f"{after.model_type} {number}"
    return (
        f"{after} was trained while {trained_beside} served: it continues that version's "
        f"segments, not those of {before}; {again}"
    )


def _migrations(
    after: ModelVersion, before: ModelVersion
) -> tuple[dict[tuple[SegmentId, SegmentId], int], int]:
    """Customers by their segment under `before` and under `after`, and how many others changed
    between the two; one query."""
    with connection.cursor() as cursor:
        cursor.execute(MIGRATIONS, [after.pk, before.pk])
        found = cursor.fetchall()
    same = {(row, column): n for row, column, is_same, n in found if is_same}
    return same, sum(n for _, _, is_same, n in found if not is_same)


def _n_assigned(version: ModelVersion) -> int:
    n: int = Assignment.objects.filter(version=version).aggregate(n=Count("*"))["n"]
    return n


def _noise_in(segments: set[SegmentId]) -> tuple[SegmentId, ...]:
    return (None,) if None in segments else ()


def _keys(segments: tuple[SegmentId, ...]) -> NDArray[np.int64]:
    """Ids as numbers; a segment's is 1 or more, so 0 is free for noise."""
    return np.array([segment or 0 for segment in segments], dtype=np.int64)


def _changes(
    mine: Mapping[int, VersionSegment],
    others: Mapping[int, VersionSegment],
    n_before: Mapping[SegmentId, int],
    n_after: Mapping[SegmentId, int],
    *,
    was_matched: bool,
) -> Iterator[SegmentChange]:
    """Each segment of either version, those of `before` first."""
    n_compared = max(sum(n_after.values()), 1)
    for segment in dict.fromkeys([*others, *mine, *_noise_in({*n_before, *n_after})]):
        known = None if segment is None else mine.get(segment) or others[segment]
        matched = mine.get(segment) if was_matched and segment is not None else None
        before, after = n_before.get(segment, 0), n_after.get(segment, 0)
        yield SegmentChange(
            segment=segment,
            name=known.segment.name if known else NOISE_NAME,
            n_before=before,
            n_after=after,
            share_before=before / n_compared,
            share_after=after / n_compared,
            fate=_fate(segment, matched, mine=mine, others=others),
            match_score=matched.match_score if matched else None,
            related_segments=tuple(matched.related_segments) if matched else (),
        )


def _fate(
    segment: SegmentId,
    matched: VersionSegment | None,
    *,
    mine: Mapping[int, VersionSegment],
    others: Mapping[int, VersionSegment],
) -> str | None:
    """As the training matched it; between other versions the ids, which last, say it."""
    if segment is None:
        return None
    if segment not in mine:
        return RETIRED
    if matched is not None:
        return matched.fate
    return str(Fate.KEPT if segment in others else Fate.NEW)
