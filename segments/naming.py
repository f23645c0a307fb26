"""Naming segments: the name and description that people give, kept by the audit trail."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from audit import trail
from audit.models import AuditEntry
from segments.models import Segment, VersionSegment

RENAMED = "segment.renamed"
SUGGESTED = "the suggested name"
"""In an entry, for a name that nobody gave: it may hold a category of an attribute."""


class NameTaken(ValueError):
    """Another segment of the same version has that name, and lists could not tell them apart."""


@transaction.atomic
def rename_segment(segment: Segment, *, name: str, description: str, by: trail.Actor) -> Segment:
    """Give a segment its name and description; one entry, none when nothing changes."""
    stored = Segment.objects.select_for_update().get(pk=segment.pk)
    if (stored.name, stored.description) == (name, description):
        return stored
    if name != stored.name:
        refuse_taken(stored, name)
    changes: dict[str, list[str | None]] = {}
    if name != stored.name:
        before = stored.name if named_by_staff([stored]) else SUGGESTED
        changes["name"] = [before, name]
    if description != stored.description:
        changes["description"] = [None, "changed"]
    stored.name, stored.description = name, description
    stored.save(update_fields=["name", "description"])
    trail.record(
        RENAMED if "name" in changes else "segment.described",
        by=by,
        target=("segment", stored.pk),
        details={"changes": changes},
    )
    return stored


def named_by_staff(segments: Sequence[Segment]) -> set[int]:
    """The ids of those that the trail says a person named."""
    renamed = AuditEntry.objects.filter(
        action=RENAMED,
        target_type="segment",
        target_id__in=[str(segment.pk) for segment in segments],
    )
    return set(map(int, renamed.values_list("target_id", flat=True)))


def refuse_taken(segment: Segment, name: str) -> None:
    """Raise `NameTaken` when a segment of a version this one is in has the name already."""
    versions = VersionSegment.objects.filter(segment=segment).values("version")
    others = VersionSegment.objects.filter(version__in=versions).exclude(segment=segment)
    if others.filter(segment__name__iexact=name).exists():
        raise NameTaken(f"Another segment of the same version is called {name}.")
