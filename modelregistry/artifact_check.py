"""Verifying the file of a version on demand: size, digest, shapes and the golden batch, anew."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from django.db import transaction

from audit import trail
from audit.models import Outcome
from modelregistry import artifacts
from modelregistry.activation import artifact_of
from modelregistry.artifacts import Artifact, DamagedArtifact
from modelregistry.models import ArtifactCheck, ModelVersion

CHECKED = "model_version.artifact_checked"
MAX_PROBLEM = 1_000


def check_artifact(
    version: ModelVersion, *, directory: Path, by: trail.Actor, at: datetime
) -> ArtifactCheck:
    """Read the version's file whole, from disk and never from memory; one entry.

    A damaged file is an outcome, not an error: `problem` says what is wrong.
    """
    artifact, problem = _verified(version, directory=directory)
    with transaction.atomic():
        check, _ = ArtifactCheck.objects.update_or_create(
            version=version,
            defaults={
                "sha256": artifact.sha256,
                "problem": problem,
                "checked_at": at,
                "checked_by": by.label[:200],
            },
        )
        trail.record(
            CHECKED,
            by=by,
            target=("model_version", str(version)),
            outcome=Outcome.FAILED if problem else Outcome.SUCCEEDED,
            details={"sha256": artifact.sha256, "problem": problem},
        )
    return check


def _verified(version: ModelVersion, *, directory: Path) -> tuple[Artifact, str]:
    """The artifact that was read, and what is wrong with it.

    An erasure may replace the file while it is read: then the new one is read.
    """
    artifact = artifact_of(version)
    try:
        artifacts.read(artifact, directory=directory)
    except DamagedArtifact as error:
        now = artifact_of(ModelVersion.objects.get(pk=version.pk))
        if now == artifact:
            return artifact, str(error)[:MAX_PROBLEM]
        return now, _problem(now, directory=directory)
    return artifact, ""


def _problem(artifact: Artifact, *, directory: Path) -> str:
    try:
        artifacts.read(artifact, directory=directory)
    except DamagedArtifact as error:
        return str(error)[:MAX_PROBLEM]
    return ""


def known_problem(version: ModelVersion, *, directory: Path) -> str:
    """What can be said of the file without reading it: absent, of another size, or found damaged.

    Empty when none of these is known. No query where `artifact_check` was selected with it.
    """
    artifact = artifact_of(version)
    try:
        n_bytes = artifacts.file_state(directory / artifact.name)[1]
    except DamagedArtifact as error:
        return str(error)
    if n_bytes != artifact.n_bytes:
        return f"{artifact.name} has {n_bytes:,} bytes, not the recorded size."
    check = check_of(version)
    return check.problem if check else ""


def check_of(version: ModelVersion) -> ArtifactCheck | None:
    """The latest check of the file that the version names now."""
    check: ArtifactCheck | None = getattr(version, "artifact_check", None)
    return check if check is not None and check.sha256 == version.artifact_sha256 else None
