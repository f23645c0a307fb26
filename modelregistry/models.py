"""Model versions, the one-row pointer that says which of them serves, and the ledger of moves.

active: the version that serves. previous: the one that served before it. candidate: a trained
version that never served.
"""

from __future__ import annotations

from typing import Any, Never

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone


class ModelType(models.TextChoices):
    KMEANS = "kmeans", "K-means"
    DBSCAN = "dbscan", "DBSCAN"


class State(models.TextChoices):
    """Where a version is in its life; only TRAINING, TRAINED and FAILED are stored."""

    TRAINING = "training"
    CANDIDATE = "candidate"
    ACTIVE = "active"
    PREVIOUS = "previous"
    RETIRED = "retired"
    FAILED = "failed"


class Stage(models.TextChoices):
    TRAINING = "training", "assigning customers"
    TRAINED = "trained"
    FAILED = "failed"


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    def with_state(self) -> ModelVersionQuerySet:
        """Annotate each version with its `state`, from the pointer and the ledger."""
        pointed = ActiveModel.objects.filter(model_type=OuterRef("model_type"))
        return self.annotate(
            is_active=Exists(pointed.filter(active=OuterRef("pk"))),
            is_previous=Exists(pointed.filter(previous=OuterRef("pk"))),
            has_served=Exists(Activation.objects.filter(to_version=OuterRef("pk"))),
        )

    def trained(self) -> ModelVersionQuerySet:
        return self.filter(stage=Stage.TRAINED)


class ModelVersion(models.Model):
    """One trained model of a type: immutable once trained, and never without its artifact."""

    model_type = models.CharField(max_length=16, choices=ModelType)
    number = models.PositiveIntegerField()
    stage = models.CharField(max_length=16, choices=Stage, default=Stage.TRAINING)
    failure = models.TextField(blank=True)
    parameters = models.JSONField(default=dict)
    selection = models.JSONField(null=True, help_text="How k or eps was chosen.")
    metrics = models.JSONField(default=dict)
    schema = models.JSONField(default=dict, help_text="The features and how they are encoded.")
    identity = models.JSONField(
        null=True, help_text="What became of the segments of the version that served at training."
    )
    degenerate_reason = models.TextField(blank=True)
    n_customers = models.PositiveBigIntegerField(help_text="Customers it was trained on.")
    n_fitted = models.PositiveBigIntegerField(
        null=True, help_text="Customers in the sample that DBSCAN saw of a large table."
    )
    n_assigned = models.PositiveBigIntegerField(default=0)
    artifact = models.CharField(max_length=120, unique=True)
    artifact_sha256 = models.CharField(max_length=64)
    artifact_bytes = models.PositiveBigIntegerField()
    library_versions = models.JSONField(default=dict)
    note = models.CharField(max_length=500, blank=True)
    trained_at = models.DateTimeField(default=timezone.now)
    trained_by = models.CharField(max_length=200)
    training_seconds = models.FloatField(null=True)

    objects = ModelVersionQuerySet.as_manager()

    class Meta:
        ordering = ["model_type", "-number"]
        default_permissions = ("view",)
        permissions = [
            ("train_modelversion", "Can train a model"),
            ("activate_modelversion", "Can activate and roll back a model"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["model_type", "number"], name="version_number"),
            models.CheckConstraint(condition=Q(number__gte=1), name="version_number_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.model_type} {self.number}"

    # Set by `with_state` on the rows it annotates.
    is_active: bool
    is_previous: bool
    has_served: bool

    @property
    def state(self) -> State:
        """The state, from `with_state` when the row came that way, else by its own queries."""
        if self.stage != Stage.TRAINED:
            return State(self.stage)
        if not hasattr(self, "is_active"):
            return ModelVersion.objects.with_state().get(pk=self.pk).state
        if self.is_active:
            return State.ACTIVE
        if self.is_previous:
            return State.PREVIOUS
        return State.RETIRED if self.has_served else State.CANDIDATE


class ArtifactCheck(models.Model):
    """The latest time that somebody had a version's file verified whole, and what came of it.

    `sha256` is what the version's row named then: an erasure may have replaced the file since.
    """

    version = models.OneToOneField(
        ModelVersion, on_delete=models.CASCADE, primary_key=True, related_name="artifact_check"
    )
    sha256 = models.CharField(max_length=64)
    problem = models.TextField(blank=True, help_text="What is wrong with it; empty if it is whole.")
    checked_at = models.DateTimeField()
    checked_by = models.CharField(max_length=200)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"check of the artifact of {self.version}"


class ActiveModel(models.Model):
    """The pointer of one model type, moved by a single conditional UPDATE of its generation."""

    model_type = models.CharField(max_length=16, choices=ModelType, primary_key=True)
    active = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, null=True, related_name="+")
    previous = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, related_name="+"
    )
    generation = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.model_type}: {self.active or 'no active version'}"


class Activation(models.Model):
    """The ledger: which version began to serve when, in place of which, by whom and why."""

    model_type = models.CharField(max_length=16, choices=ModelType)
    generation = models.PositiveBigIntegerField()
    from_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, related_name="+"
    )
    to_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="activations"
    )
    is_rollback = models.BooleanField(default=False)
    forced = models.BooleanField(default=False, help_text="A gate was breached and overruled.")
    gates = models.JSONField(default=list, help_text="What was measured before, with its limits.")
    reason = models.CharField(max_length=500)
    activated_at = models.DateTimeField()
    activated_by = models.CharField(max_length=200)

    class Meta:
        ordering = ["-activated_at", "-id"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["model_type", "generation"], name="activation_generation"
            )
        ]

    def __str__(self) -> str:
        return f"{self.to_version} from {self.activated_at:%Y-%m-%d %H:%M}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("The activation ledger is not edited.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        raise TypeError("The activation ledger is not edited.")


class JobState(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TrainingJob(models.Model):
    """One training, run by the background worker or by the command that asked for it."""

    model_type = models.CharField(max_length=16, choices=ModelType)
    parameters = models.JSONField(default=dict, blank=True)
    features = models.JSONField(null=True, blank=True)
    note = models.CharField(max_length=500, blank=True)
    state = models.CharField(max_length=16, choices=JobState, default=JobState.QUEUED)
    progress = models.FloatField(default=0.0, help_text="Share of the work done, 0 to 1.")
    step = models.CharField(max_length=200, blank=True)
    error = models.TextField(blank=True)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, null=True, blank=True)
    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    process = models.CharField(
        max_length=200,
        blank=True,
        default="",
        help_text="Which process runs it, where that can be known.",
    )
    retry_of = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="retries"
    )
    queued_by = models.CharField(max_length=200)
    queued_by_id = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["-queued_at", "-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"job {self.pk}, training of {self.model_type}"
