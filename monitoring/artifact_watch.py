"""Whether the files of the active versions are whole, without reading them again and again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelregistry import artifacts
from modelregistry.activation import artifact_of
from modelregistry.artifacts import DamagedArtifact, FileState, file_state
from modelregistry.models import ModelVersion
from monitoring.alerts import Condition, Level
from monitoring.models import AlertKind


class ArtifactWatch:
    """Verifies a file whole once, and again only when it changed; keeps no model in memory."""

    def __init__(self) -> None:
        self._verified: dict[str, FileState] = {}

    def conditions(self, versions: Sequence[ModelVersion], *, directory: Path) -> list[Condition]:
        return [
            artifact_condition(version, problem=self.problem(version, directory=directory))
            for version in versions
        ]

    def problem(self, version: ModelVersion, *, directory: Path) -> str:
        """What is wrong with the version's file; empty when it is whole."""
        artifact = artifact_of(version)
        try:
            state = file_state(directory / artifact.name)
            if self._verified.get(artifact.sha256) != state:
                artifacts.read(artifact, directory=directory)
                self._verified[artifact.sha256] = state
        except DamagedArtifact as error:
            return str(error)
        return ""


def artifact_condition(version: ModelVersion, *, problem: str) -> Condition:
    return Condition(
        kind=AlertKind.DAMAGED_ARTIFACT,
        key=f"{AlertKind.DAMAGED_ARTIFACT}:{version.model_type}",
        level=Level.ALARM if problem else Level.OK,
        title=f"Damaged artifact: {version}",
        summary=f"{version} serves, and its file is damaged: predictions are refused. {problem}",
        advice=(
            "Restore the file from a backup, or activate another version: roll back in the admin, "
            "or train a new one."
        ),
        model_type=version.model_type,
        version=version,
        needs=1,
    )
