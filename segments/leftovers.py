"""What failed trainings left in the tables: assignments, described segments, segments of nobody.

A failed version keeps its row and number; nothing else of it is kept. Its artifact is swept.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from django.db import transaction
from django.db.models import Exists, OuterRef

from ml.features import FeatureSchema
from modelregistry.models import ModelVersion, Stage
from segments.models import Assignment, Segment, VersionSegment

CHUNK = 10_000
"""Assignments deleted in one transaction."""


def discard_leftovers() -> None:
    """Delete them, in transactions of bounded size; a query when there is nothing to delete."""
    of_version = {"version": OuterRef("pk")}
    left = Exists(Assignment.objects.filter(**of_version)) | Exists(
        VersionSegment.objects.filter(**of_version)
    )
    for version in ModelVersion.objects.filter(left, stage=Stage.FAILED):
        _delete_assignments(version)
        _delete_segments(version)


def forget_values(version: ModelVersion, *, directory: Path) -> None:
    """Remove the artifact of a version that fails, and single values from what its row keeps."""
    (directory / version.artifact).unlink(missing_ok=True)
    schema = FeatureSchema.from_dict(version.schema)
    features = tuple(
        replace(feature, low=0.0, high=0.0, fill=0.0, rare_levels=()) for feature in schema.features
    )
    without = replace(schema, features=features).to_dict()
    ModelVersion.objects.filter(pk=version.pk).update(schema=without)


def _delete_assignments(version: ModelVersion) -> None:
    assigned = Assignment.objects.filter(version=version).order_by("customer_id")
    ids = assigned.values_list("customer_id", flat=True)
    while last_of_chunk := list(ids[CHUNK - 1 : CHUNK]):
        assigned.filter(customer_id__lte=last_of_chunk[0]).delete()
    assigned.delete()


@transaction.atomic
def _delete_segments(version: ModelVersion) -> None:
    """The version's segments, and those that it alone had; their ids never come back."""
    described = VersionSegment.objects.filter(version=version)
    concerned = list(described.values_list("segment_id", flat=True))
    described.delete()
    elsewhere = VersionSegment.objects.filter(segment=OuterRef("pk"))
    Segment.objects.filter(~Exists(elsewhere), pk__in=concerned).delete()
