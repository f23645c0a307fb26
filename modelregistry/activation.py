"""Which version serves: reading the pointer, moving it, and the ledger of its moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import F, OuterRef
from django.db.models.functions import Coalesce

from audit import trail
from modelregistry import artifacts
from modelregistry.artifacts import Artifact, DamagedArtifact, TrainedModel
from modelregistry.models import Activation, ActiveModel, ModelType, ModelVersion, Stage

ACTIVATED = "model_version.activated"
MAX_REASON = 500


class NoActiveVersion(Exception):
    """No version of the model type serves yet."""

    def __init__(self, model_type: str) -> None:
        super().__init__(f"No version of {model_type} is active; train one and activate it.")


class ActivationConflict(Exception):
    """Somebody else moved the pointer since it was read."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition on a version that is to serve, with what was found.

    Attributes
    ----------
    name : what is looked at, such as `moved_share`
    value, limit : float or None
        What was measured and the most that passes; None where it is a matter of yes or no.
    passed : bool or None
        None when it cannot be measured as things stand.
    sentence : the same in words
    """

    name: str
    value: float | None
    limit: float | None
    passed: bool | None
    sentence: str

    @property
    def is_breached(self) -> bool:
        return self.passed is False

    def figures(self) -> dict[str, Any]:
        """What the trail keeps of it."""
        return {
            "name": self.name,
            "value": self.value,
            "limit": self.limit,
            "passed": self.passed,
        }


class ActivationRefused(Exception):
    """The version must not serve, or not without force; `breached` are the gates that say so."""

    def __init__(self, reason: str, breached: Sequence[Gate] = ()) -> None:
        super().__init__(reason)
        self.breached = tuple(breached)


@dataclass(frozen=True, slots=True)
class Move:
    """An intended change of the pointer, as it stood when `generation` was read."""

    to_version: ModelVersion
    generation: int
    reason: str
    forced: bool
    is_rollback: bool = False
    gates: Sequence[Gate] = ()


def active_version(model_type: str) -> ModelVersion:
    """The version that serves now; one query. Raises `NoActiveVersion`."""
    pointer = ActiveModel.objects.select_related("active").get(model_type=model_type)
    if pointer.active is None:
        raise NoActiveVersion(model_type)
    return pointer.active


def active_versions() -> list[ModelVersion]:
    """The versions that serve now, at most one of each type; one query."""
    pointed = ActiveModel.objects.filter(active__isnull=False).values("active")
    return list(ModelVersion.objects.filter(pk__in=pointed))


def newest_candidates() -> list[ModelVersion]:
    """Of each type the newest trained version that never served, if it is newer than the active."""
    newest = ModelVersion.objects.trained().filter(
        activations=None, model_type=OuterRef("model_type")
    )
    pointers = ActiveModel.objects.annotate(
        candidate=newest.filter(number__gt=Coalesce(OuterRef("active__number"), 0))
        .order_by("-number")
        .values("pk")[:1]
    )
    return list(ModelVersion.objects.filter(pk__in=pointers.values("candidate")))


def version_at(model_type: str, moment: datetime) -> ModelVersion | None:
    """The version that served at `moment`, from the ledger."""
    move = (
        Activation.objects.filter(model_type=model_type, activated_at__lte=moment)
        .select_related("to_version")
        .order_by("-generation")
        .first()
    )
    return move.to_version if move else None


def artifact_of(version: ModelVersion) -> Artifact:
    return Artifact(version.artifact, version.artifact_sha256, version.artifact_bytes)


def load(version: ModelVersion, *, directory: Path) -> TrainedModel:
    """The version's verified model, from memory when its file is unchanged.

    An erasure may have replaced the artifact since the row was read: then it is read again.
    """
    try:
        return artifacts.cache.get(artifact_of(version), directory=directory)
    except DamagedArtifact:
        now = artifact_of(ModelVersion.objects.get(pk=version.pk))
        if now == artifact_of(version):
            raise
        return artifacts.cache.get(now, directory=directory)


def check_servable(version: ModelVersion, *, directory: Path) -> None:
    """Refuse a version that is not trained or whose artifact is damaged; no force helps."""
    if version.stage != Stage.TRAINED:
        raise ActivationRefused(f"{version} is not trained: {version.get_stage_display()}.")
    artifacts.read(artifact_of(version), directory=directory)


def require_passed(version: ModelVersion, gates: Sequence[Gate]) -> None:
    """Raise `ActivationRefused` that names every breached gate with its figures."""
    breached = [gate for gate in gates if gate.is_breached]
    if breached:
        reasons = " ".join(gate.sentence for gate in breached)
        raise ActivationRefused(
            f"{version} was not activated. {reasons} Force it, with the reason, to activate it "
            "anyway.",
            breached,
        )


def checked_reason(reason: str) -> str:
    reason = reason.strip()
    if not 1 <= len(reason) <= MAX_REASON:
        raise ActivationRefused(f"A reason of 1 to {MAX_REASON} characters is needed.")
    return reason


@transaction.atomic
def move_pointer(move: Move, *, by: trail.Actor, at: datetime) -> Activation:
    """Let `move.to_version` serve, if nobody moved the pointer since; one conditional UPDATE."""
    version = move.to_version
    before = ActiveModel.objects.select_related("active").get(model_type=version.model_type)
    moved = ActiveModel.objects.filter(
        model_type=version.model_type, generation=move.generation
    ).update(active=version, previous=F("active"), generation=F("generation") + 1)
    if not moved:
        raise ActivationConflict(f"{before.active} was activated meanwhile; look and try again.")
    entry = Activation.objects.create(
        model_type=version.model_type,
        generation=move.generation + 1,
        from_version=before.active,
        to_version=version,
        is_rollback=move.is_rollback,
        forced=move.forced,
        gates=[asdict(gate) for gate in move.gates],
        reason=move.reason,
        activated_at=at,
        activated_by=by.label,
    )
    trail.record(
        "model_version.rolled_back_to" if move.is_rollback else ACTIVATED,
        by=by,
        target=("model_version", str(version)),
        details={
            "from": str(before.active) if before.active else None,
            "to": str(version),
            "reason": move.reason,
            "forced": move.forced,
            "gates": [gate.figures() for gate in move.gates],
            "generation": move.generation + 1,
        },
    )
    return entry


def pointer_of(model_type: str) -> ActiveModel:
    """The pointer with its versions; the row exists from the first migration on."""
    return ActiveModel.objects.select_related("active", "previous").get(
        model_type=ModelType(model_type)
    )
