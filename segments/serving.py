"""The version that serves now, with the segments of its clusters: one statement, one snapshot.

Read anew by every request, so that an activation or a renamed segment takes effect at once.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

from ml.features import FeatureSchema
from modelregistry import artifacts
from modelregistry.activation import NoActiveVersion
from modelregistry.artifacts import Artifact, DamagedArtifact, TrainedModel
from modelregistry.models import ModelType
from segments.assignment import SegmentLabels

# Written out because composing it through the ORM costs several times as much as running it.
SERVING = """SELECT version.id, version.number,
        version.artifact, version.artifact_sha256, version.artifact_bytes,
        part.cluster, segment.id, segment.name
    FROM modelregistry_activemodel pointer
    JOIN modelregistry_modelversion version ON version.id = pointer.active_id
    LEFT JOIN segments_versionsegment part ON part.version_id = version.id
    LEFT JOIN segments_segment segment ON segment.id = part.segment_id
    WHERE pointer.model_type = %s"""


@dataclass(frozen=True, slots=True)
class ServingVersion:
    """What a prediction needs of the active version's row, and the names of its segments."""

    id: int
    model_type: str
    number: int
    artifact: Artifact
    labels: SegmentLabels

    def __str__(self) -> str:
        return f"{self.model_type} {self.number}"


def serving_model(model_type: str, *, directory: Path) -> tuple[ServingVersion, TrainedModel]:
    """The version that serves and its model.

    An erasure may replace the artifact between the two: then both are read again. Raises
    `NoActiveVersion` or `DamagedArtifact`.
    """
    version = serving_version(model_type)
    try:
        return version, artifacts.cache.get(version.artifact, directory=directory)
    except DamagedArtifact:
        again = serving_version(model_type)
        if again.artifact == version.artifact:
            raise
        return again, artifacts.cache.get(again.artifact, directory=directory)


def serving_schemas(directory: Path) -> list[FeatureSchema]:
    """What the versions that serve read of a customer; two queries."""
    schemas = []
    for model_type in ModelType.values:
        with suppress(NoActiveVersion, DamagedArtifact):  # told where they are asked to predict
            schemas.append(serving_model(model_type, directory=directory)[1].encoder.schema)
    return schemas


def serving_version(model_type: str) -> ServingVersion:
    """One query. Raises `NoActiveVersion`."""
    with connection.cursor() as cursor:
        cursor.execute(SERVING, [model_type])
        rows = cursor.fetchall()
    if not rows:
        raise NoActiveVersion(model_type)
    version_id, number, name, sha256, n_bytes = rows[0][:5]
    # A version whose every customer is noise has no segment: one row without a cluster.
    labels = SegmentLabels.named(row[5:] for row in rows if row[5] is not None)
    return ServingVersion(version_id, model_type, number, Artifact(name, sha256, n_bytes), labels)
