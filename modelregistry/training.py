"""Training one version: from a table of customers to an artifact and its row.

Fitting happens outside any transaction. The artifact is on disk, whole, before the row exists.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Max, QuerySet
from django.utils import timezone

from audit import trail
from ml.clusterers import FloatArray
from ml.encoder import FeatureEncoder
from ml.fitting import Fit
from ml.forgetting import with_owners
from ml.identity import IdentityResult
from ml.owners import Digests
from ml.quality import QualityBaseline
from ml.reference_profile import ReferenceProfile
from ml.schema_learning import learn_schema
from ml.stability import stability
from modelregistry import artifacts
from modelregistry.artifacts import TrainedModel
from modelregistry.described_clusters import DescribedCluster, describe_fit
from modelregistry.models import (
    ActiveModel,
    JobState,
    ModelType,
    ModelVersion,
    Stage,
    TrainingJob,
)
from modelregistry.succession import Predecessor

if TYPE_CHECKING:
    import pandas as pd

TRAINED = "model_version.trained"
Progress = Callable[[float, str], None]
STRAY_AFTER = timedelta(days=1)
"""A file of no version is older than this: the one of a training gets its row at once."""


class TrainingStopped(Exception):
    """The job was cancelled, or given up as lost: its process must not carry on."""


def going_on(job: TrainingJob) -> QuerySet[TrainingJob]:
    """The job's row while it runs and nobody asked it to stop; a process writes to no other."""
    return TrainingJob.objects.filter(
        pk=job.pk, state=JobState.RUNNING, cancel_requested_at__isnull=True
    )


@dataclass(frozen=True, slots=True)
class FittedVersion:
    """A version with its row and artifact, and its clusters described; not yet a candidate.

    `identity` says which segments of the predecessor its clusters continue; None without one.
    """

    version: ModelVersion
    model: TrainedModel
    clusters: list[DescribedCluster]
    identity: IdentityResult | None


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What to train: parameters left out are chosen, features left out are all that inform."""

    model_type: str
    parameters: Mapping[str, Any]
    features: Sequence[str] | None = None
    note: str = ""


def train_version(
    frame: pd.DataFrame,
    request: TrainingRequest,
    *,
    owners: Digests,
    predecessor: Predecessor | None,
    job: TrainingJob,
    directory: Path,
    by: trail.Actor,
    at: datetime,
    on_progress: Progress,
) -> FittedVersion:
    """Fit, describe, save the artifact, insert the row.

    `owners` are the digests of the customers in the frame, by which an erasure finds them.
    Raises ValueError for data that cannot be used.
    """
    from ml.fitting import fit_clusters  # scikit-learn: never in a web process
    from ml.held_out import score_held_out

    started = time.monotonic()
    on_progress(0.05, "learning the features")
    schema = learn_schema(frame, as_of=at.date(), features=request.features)
    encoder = FeatureEncoder(schema)
    raw = encoder.raw_from_frame(frame)
    X = encoder.encode(raw)
    fit = fit_clusters(
        request.model_type,
        X,
        parameters=request.parameters,
        initial_centers=_initial_centers(request, predecessor, X),
        widths=[feature.n_columns for feature in schema.features],
        on_progress=lambda share, step: on_progress(0.1 + 0.5 * share, step),
    )
    on_progress(0.6, "describing the segments")
    clusters = describe_fit(schema, raw, X, fit)
    identity = (
        predecessor.matched(fit.labels, [each.description for each in clusters], encoder)
        if predecessor
        else None
    )
    on_progress(0.72, "describing the reference customers")
    profile = ReferenceProfile.fit(
        schema,
        raw,
        score_held_out(X, fit),
        fitted=fit.labels,
        random_state=int(fit.parameters["random_state"]),
    )
    baseline = QualityBaseline.fit(X, fit)
    model = TrainedModel(request.model_type, encoder, with_owners(fit.model, X, owners), profile)
    artifact = artifacts.save(
        model,
        name=artifacts.new_name(request.model_type),
        parameters=fit.parameters,
        directory=directory,
    )
    version = _insert(
        request,
        job=job,
        by=by,
        values={
            "parameters": fit.parameters,
            "selection": fit.selection.to_dict() if fit.selection else None,
            "metrics": {
                **fit.quality.to_dict(),
                "baseline": baseline.to_dict() if baseline else None,
                "stability": stability(X, fit.labels, fit.model, fit.parameters, n_rows=len(X)),
            },
            "schema": schema.to_dict(),
            "identity": _identity(predecessor, identity, fit),
            "degenerate_reason": fit.degenerate_reason or "",
            "n_customers": len(frame),
            "n_fitted": fit.n_fitted,
            "artifact": artifact.name,
            "artifact_sha256": artifact.sha256,
            "artifact_bytes": artifact.n_bytes,
            "library_versions": dict(artifacts.library_versions()),
            "trained_at": at,
            "training_seconds": round(time.monotonic() - started, 3),
        },
    )
    return FittedVersion(version, model, clusters, identity)


def _initial_centers(
    request: TrainingRequest, predecessor: Predecessor | None, X: FloatArray
) -> FloatArray | None:
    """Where k-means may continue; DBSCAN has no start."""
    if predecessor is None or request.model_type != ModelType.KMEANS:
        return None
    return predecessor.centres(X)


def _identity(
    predecessor: Predecessor | None, identity: IdentityResult | None, fit: Fit
) -> dict[str, Any] | None:
    """What the version's row keeps of the comparison; what became of each cluster is beside it."""
    if predecessor is None or identity is None:
        return None
    return {
        "compared_with": predecessor.number,
        "basis": identity.basis,
        "n_shared": identity.n_shared,
        "kept_share": identity.kept_share,
        "retired": list(identity.retired),
        "warm_started": fit.warm_started,
    }


@transaction.atomic
def _insert(
    request: TrainingRequest, *, job: TrainingJob, by: trail.Actor, values: Mapping[str, Any]
) -> ModelVersion:
    """The row, numbered next in its type. Trainings of one type take their numbers in turn."""
    ActiveModel.objects.select_for_update().get(model_type=request.model_type)
    last = ModelVersion.objects.filter(model_type=request.model_type).aggregate(n=Max("number"))
    version = ModelVersion.objects.create(
        model_type=request.model_type,
        number=(last["n"] or 0) + 1,
        note=request.note,
        trained_by=by.label,
        **values,
    )
    if not going_on(job).update(version=version):
        raise TrainingStopped
    return version


@transaction.atomic
def finish(version: ModelVersion, *, job: TrainingJob, n_assigned: int, by: trail.Actor) -> None:
    """The version becomes a candidate, its customers assigned, and its job succeeds: both or none.

    Raises `TrainingStopped` when the job was cancelled or given up meanwhile.
    """
    succeeded = going_on(job).update(
        state=JobState.SUCCEEDED, progress=1.0, step="done", finished_at=timezone.now()
    )
    if not succeeded:
        raise TrainingStopped
    version.stage = Stage.TRAINED
    version.n_assigned = n_assigned
    version.save(update_fields=["stage", "n_assigned"])
    trail.record(
        TRAINED,
        by=by,
        target=("model_version", str(version)),
        n_items=version.n_customers,
        details={
            "parameters": version.parameters,
            "features": [feature["name"] for feature in version.schema["features"]],
            "artifact_sha256": version.artifact_sha256,
            "note": version.note,
        },
    )


def sweep_artifacts(*, directory: Path, stray_after: timedelta = STRAY_AFTER) -> list[str]:
    """Remove files of no version, or of a failed one, older than `stray_after`; returns names."""
    kept = ModelVersion.objects.exclude(stage=Stage.FAILED)
    return artifacts.sweep(
        directory=directory,
        named=set(kept.values_list("artifact", flat=True)),
        older_than=time.time() - stray_after.total_seconds(),
    )
