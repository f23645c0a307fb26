"""Replacing a version's artifact by one without certain customers: the only change of a version.

The new file is on disk, whole and verified, before a row names it; the old one goes after that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.clusterers import ClusterModel
from ml.encoder import FeatureEncoder
from ml.traces import Traces, profile_without, schema_without
from modelregistry import artifacts
from modelregistry.activation import artifact_of
from modelregistry.artifacts import Artifact, TrainedModel
from modelregistry.models import ModelVersion


@dataclass(frozen=True, slots=True)
class Replacement:
    """A new artifact of a version, in the place of `before`; no row names it yet."""

    version: ModelVersion
    before: Artifact
    after: Artifact
    schema: dict[str, Any]

    def take_effect(self) -> bool:
        """Let the version's row name it; False where the row names another than `before` by now."""
        rows = ModelVersion.objects.filter(
            pk=self.version.pk, artifact_sha256=self.before.sha256
        ).update(
            artifact=self.after.name,
            artifact_sha256=self.after.sha256,
            artifact_bytes=self.after.n_bytes,
            schema=self.schema,
        )
        return rows == 1


def rewrite(
    version: ModelVersion,
    model: TrainedModel,
    *,
    clusters: ClusterModel,
    traces: Traces,
    directory: Path,
) -> Replacement | None:
    """Write the version's model with other clusters and without traces; None if it is the same."""
    schema = schema_without(model.encoder.schema, traces)
    profile = profile_without(model.profile, traces)
    if (schema, profile) == (model.encoder.schema, model.profile) and clusters is model.clusters:
        return None
    after = artifacts.save(
        TrainedModel(model.model_type, FeatureEncoder(schema), clusters, profile),
        name=artifacts.new_name(model.model_type),
        parameters=version.parameters,
        written_with=version.library_versions,
        directory=directory,
    )
    artifacts.read(after, directory=directory)
    return Replacement(version, artifact_of(version), after, schema.to_dict())
