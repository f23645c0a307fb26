"""Words that say something of erased customers alone: levels that nobody else has, and the name
and description of a segment that nobody is in any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from segments.erasure_plan import VersionPlan
from segments.models import Assignment, Segment, VersionSegment
from segments.naming import named_by_staff

NEUTRAL_NAME = "Segment {}"
NO_DESCRIPTION: Mapping[str, Any] = {
    "medians": {},
    "features": [],
    "distinguishing": [],
    "rule": None,
}


@dataclass(frozen=True, slots=True)
class Words:
    """What is called otherwise from now on.

    Attributes
    ----------
    levels : by key of a version and by feature, levels with their new names
    names : by id of a segment, the new name
    """

    levels: Mapping[int, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)


NO_WORDS = Words()


def words_about(versions: Sequence[VersionPlan], emptied: Sequence[Segment]) -> Words:
    """Of customers who go; a name that staff gave to a segment stays."""
    levels = {each.version.pk: each.renamed_levels for each in versions}
    is_named = named_by_staff(emptied)
    return Words(
        levels={key: renamed for key, renamed in levels.items() if renamed},
        names={
            each.pk: NEUTRAL_NAME.format(each.pk) for each in emptied if each.pk not in is_named
        },
    )


def emptied_segments(ids: Sequence[str]) -> list[Segment]:
    """Segments that these customers are in and nobody else, under any version."""
    theirs = Assignment.objects.filter(customer__in=ids, segment__isnull=False)
    others = Assignment.objects.exclude(customer__in=ids)
    return [
        segment
        for segment in Segment.objects.filter(pk__in=theirs.values("segment")).order_by("pk")
        if not others.filter(
            version__in=segment.versions.values("version"), segment=segment
        ).exists()
    ]


def empty(segments: Sequence[Segment], words: Words) -> None:
    """Take the descriptions from segments that were erased customers, and the automatic names."""
    VersionSegment.objects.filter(segment__in=segments).update(**NO_DESCRIPTION)
    for key, name in words.names.items():
        Segment.objects.filter(pk=key).update(name=name)
