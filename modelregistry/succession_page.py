"""What became of the segments when a version was trained, as people read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from access.figures import NONE, figure, share
from access.staff import Table
from ml.cluster_fits import WARM_START_TOLERANCE
from ml.identity import MIN_SCORE
from modelregistry.models import ModelVersion
from segments.description_page import FATE_STYLES, RETIRED, fate_label, score_text, segment_link
from segments.models import Fate, Segment, VersionSegment

BASES = {
    "customers": "Compared with {old} on the {n_shared} customers that have a segment in both.",
    "centres": "Compared with {old} on what is typical of each segment: no customer is in both.",
    "none": "{old} served then, but there was nothing to compare.",
}
SCORES = {
    "customers": (
        "Overlap",
        "Overlap with the segment it continues, or with the nearest: customers in both over "
        f"customers in either, 0 to 1. From {MIN_SCORE} on, a segment keeps its id and name.",
    ),
    "centres": (
        "Closeness",
        "Closeness to the segment it continues, or to the nearest: 1 where the typical customers "
        f"are the same. From {MIN_SCORE} on, a segment keeps its id and name.",
    ),
}
RELATED_WORDS = {
    Fate.KEPT.value: "with customers of",
    Fate.MERGED.value: "took in",
    Fate.SPLIT.value: "came from",
    Fate.NEW.value: "with customers of",
    RETIRED: "went into",
}


@dataclass(frozen=True, slots=True)
class Succession:
    """`counts` has the number of segments of each fate, with the fate's style."""

    sentences: list[str]
    counts: list[tuple[int, str, str]]
    table: Table
    score_words: str
    has_changed: bool


def succession(
    version: ModelVersion, rows: Sequence[VersionSegment], *, with_links: bool
) -> Succession | None:
    """None for a version that was compared with no other.

    `rows` are all segments of the version with their `segment` loaded; one query finds the names
    of those that are not among them.
    """
    identity = version.identity
    if identity is None:
        return None
    retired: list[int] = identity["retired"]
    others = {*retired, *(other for row in rows for other in row.related_segments)}
    known = {row.segment_id: row.segment for row in rows}
    known |= Segment.objects.in_bulk(others - known.keys())
    links = {id_: segment_link(segment, with_link=with_links) for id_, segment in known.items()}
    fates = Counter([row.fate for row in rows] + [RETIRED] * len(retired))
    header, words = SCORES.get(identity["basis"], ("Score", ""))
    return Succession(
        sentences=[*_comparison(version), *_fitting(version, rows)],
        counts=[(fates[fate], fate, style) for fate, style in FATE_STYLES.items() if fates[fate]],
        table=_table(header, retired, rows, links),
        score_words=words,
        has_changed=any(fate != Fate.KEPT for fate in fates),
    )


def _old(version: ModelVersion) -> str:
    return f"{version.model_type} {(version.identity or {})['compared_with']}"


def _comparison(version: ModelVersion) -> Iterable[str]:
    identity = version.identity or {}
    n_shared = figure(identity["n_shared"])
    yield BASES[identity["basis"]].format(old=_old(version), n_shared=n_shared)
    if identity["kept_share"] is not None:
        kept = share(identity["kept_share"])
        yield f"{kept} of the customers that had a segment in {_old(version)} keep it."


def _fitting(version: ModelVersion, rows: Sequence[VersionSegment]) -> Iterable[str]:
    """Where k-means started from; DBSCAN has no start."""
    if "n_clusters" not in version.parameters:
        return
    identity, old = version.identity or {}, _old(version)
    n_continued = sum(row.segment.created_at < version.trained_at for row in rows)
    n_old = n_continued + len(identity["retired"])
    if identity["warm_started"]:
        yield (
            f"Fitted from the centres of {old}: no fresh start was more than "
            f"{WARM_START_TOLERANCE:.0%} better."
        )
    elif n_old != version.parameters["n_clusters"]:
        yield f"Fitted afresh: {old} has {n_old} segments, so its centres were no start."
    else:
        yield (
            f"Fitted afresh: no start from the centres of {old} came within "
            f"{WARM_START_TOLERANCE:.0%} of it."
        )


def _table(
    score_header: str,
    retired: Sequence[int],
    rows: Sequence[VersionSegment],
    links: Mapping[int, SafeString],
) -> Table:
    went_into = {
        id_: [row.segment_id for row in rows if id_ in row.related_segments] for id_ in retired
    }
    return Table(
        ["Fate", "Segment", score_header, "Other segments"],
        [
            *(
                (
                    fate_label(row.fate),
                    links[row.segment_id],
                    score_text(row.match_score),
                    _related(row.fate, row.related_segments, links),
                )
                for row in rows
            ),
            *(
                (fate_label(RETIRED), links[id_], NONE, _related(RETIRED, went_into[id_], links))
                for id_ in retired
                if id_ in links
            ),
        ],
    )


def _related(fate: str, ids: Sequence[int], links: Mapping[int, SafeString]) -> SafeString | str:
    named = [(links[id_],) for id_ in ids if id_ in links]
    if not named:
        return NONE
    return format_html("{} {}", RELATED_WORDS[fate], format_html_join(", ", "{}", named))
