"""The version that serves now, with the segments of its clusters: one statement, one snapshot.

Read anew by every request, so that an activation or a renamed segment takes effect at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from modelregistry.activation import NoActiveVersion
from modelregistry.artifacts import Artifact
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
