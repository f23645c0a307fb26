"""Customers, segments and who is in which: an assignment is customer x version -> segment."""

from __future__ import annotations

from typing import Any

import msgspec
from django.db import models
from django.db.models import Q

from modelregistry.models import ModelType, ModelVersion

NOISE_KEY = -1
"""Stands for noise where no segment means something else."""


class Status(models.TextChoices):
    """How DBSCAN sees a customer; empty for K-means."""

    CORE = "core"
    BORDER = "border"
    NOISE = "noise"


class Customer(models.Model):
    """A stored record: the client's own id and a flat set of attributes.

    Attributes are JSON text, not a JSON column: PostgreSQL's jsonb rewrites numbers, and what a
    version was trained on must stay what was sent.
    """

    customer_id = models.CharField(max_length=200, primary_key=True)
    attributes_json = models.TextField("attributes", default="{}")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(db_index=True)
    revision = models.PositiveBigIntegerField(default=1, help_text="Counts the changes.")

    class Meta:
        ordering = ["customer_id"]
        default_permissions = ("view", "delete")
        permissions = [
            ("import_customer", "Can import customers"),
            ("export_customer", "Can export customers with their segments"),
        ]

    def __str__(self) -> str:
        return self.customer_id

    @property
    def attributes(self) -> dict[str, Any]:
        decoded: dict[str, Any] = msgspec.json.decode(self.attributes_json)
        return decoded


class Fate(models.TextChoices):
    """What a cluster is to the segments of the version that served when it was trained."""

    KEPT = "kept", "kept: continues the segment"
    MERGED = "merged", "merged: several segments have most of their customers here"
    SPLIT = "split", "split: a part of a segment"
    NEW = "new", "new"


class Segment(models.Model):
    """A lasting business identity: its id is never reused, its name stays with it."""

    id = models.BigAutoField(primary_key=True)
    model_type = models.CharField(max_length=16, choices=ModelType)
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        default_permissions = ("view", "change")

    def __str__(self) -> str:
        return self.name


class VersionSegment(models.Model):
    """Which segment a cluster of one version is, and how many of its customers are in it."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="segments")
    cluster = models.IntegerField()
    segment = models.ForeignKey(Segment, on_delete=models.PROTECT, related_name="versions")
    n_customers = models.PositiveBigIntegerField()
    share = models.FloatField()
    medians = models.JSONField(default=dict, help_text="Median or commonest value by feature.")
    features = models.JSONField(default=list, help_text="Each feature beside everyone's.")
    distinguishing = models.JSONField(default=list, help_text="What sets it apart, most first.")
    rule = models.JSONField(null=True, help_text="A short rule with its precision and recall.")
    stability = models.FloatField(
        null=True, help_text="Mean Jaccard similarity to itself over bootstrapped trainings."
    )
    low_confidence_share = models.FloatField(
        null=True, help_text="Share of its customers that are nearly as close to another."
    )
    fate = models.CharField(max_length=8, choices=Fate, default=Fate.NEW)
    match_score = models.FloatField(
        null=True, help_text="Overlap with the segment it keeps, or with the nearest to it, 0-1."
    )
    related_segments = models.JSONField(
        default=list, help_text="Other segments it took in or came from."
    )

    class Meta:
        ordering = ["version_id", "cluster"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["version", "cluster"], name="version_cluster"),
            models.UniqueConstraint(fields=["version", "segment"], name="version_segment"),
            models.CheckConstraint(condition=Q(cluster__gte=0), name="cluster_is_not_noise"),
        ]

    def __str__(self) -> str:
        return f"{self.segment} in {self.version}"


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    def in_segment(self, segment: int) -> AssignmentQuerySet:
        """Those of one segment by its id, or of noise by NOISE_KEY."""
        return self.filter(segment_id=None if segment == NOISE_KEY else segment)


class Assignment(models.Model):
    """One customer's segment under one version; no segment means DBSCAN's noise."""

    pk = models.CompositePrimaryKey("version_id", "customer_id")
    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="+")
    customer = models.ForeignKey(
        Customer, on_delete=models.CASCADE, related_name="assignments", db_index=False
    )
    segment = models.ForeignKey(
        Segment, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    distance = models.FloatField(help_text="In encoded units, to the centre or core sample.")
    status = models.CharField(max_length=8, choices=Status, blank=True)
    assigned_at = models.DateTimeField()
    customer_revision = models.PositiveBigIntegerField(
        help_text="The customer's revision that it was made from; another one means it is stale."
    )

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["version", "segment", "customer"], name="assignment_segment"),
            models.Index(fields=["customer"], name="assignment_customer"),
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} in {self.segment_id}"


class AssignmentChange(models.Model):
    """A customer came into another segment of a version that had served, or into their first.

    `segment` is the one left: none is noise, or nothing where the customer `was_assigned` not yet.
    Rows are only added, and go with their customer or by age: see `ChangeHistory`.
    """

    id = models.BigAutoField(primary_key=True)
    version = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    customer = models.ForeignKey(
        Customer, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    segment = models.ForeignKey(
        Segment, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    was_assigned = models.BooleanField()
    changed_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["customer", "version", "id"], name="change_customer")]
        constraints = [
            models.CheckConstraint(
                condition=Q(was_assigned=True) | Q(segment=None), name="change_left_a_segment"
            )
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} left {self.segment_id}"


class ChangeHistory(models.Model):
    """One row: from when on every change of an assignment is known."""

    kept_since = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"changes since {self.kept_since:%Y-%m-%d %H:%M}"


class Erasure(models.Model):
    """Customers erased everywhere: what the receipt says, and which files are yet to be removed.

    It knows them by keyed digests of their ids alone. It is finished, and the receipt handed out,
    once the files that its transaction replaced are gone too.
    """

    id = models.BigAutoField(primary_key=True)
    customer_digests = models.JSONField(help_text="Keyed digests of the ids.")
    receipt = models.JSONField()
    artifacts = models.JSONField(default=list, help_text="Replaced files yet to be removed.")
    erased_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"erasure {self.pk}"


class ImportState(models.TextChoices):
    UPLOADED = "uploaded", "waits for a look"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ImportKind(models.TextChoices):
    CUSTOMERS = "customers"
    TRANSACTIONS = "transactions"


class CustomerImport(models.Model):
    """One file of customers or transactions, from its upload or its command to what became of it.

    It keeps names of columns, lines and rules that were broken, and never a value. The file of an
    upload lies in its own directory, `upload`, until the import has ended.
    """

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=16, choices=ImportKind, default=ImportKind.CUSTOMERS)
    state = models.CharField(max_length=16, choices=ImportState, default=ImportState.UPLOADED)
    file_name = models.CharField("file", max_length=200)
    n_bytes = models.PositiveBigIntegerField(default=0)
    upload = models.CharField(max_length=32, blank=True)
    id_column = models.CharField(max_length=200, blank=True)
    columns = models.JSONField(
        null=True, help_text="A name for each column of the file, null to leave it out."
    )
    skip_bad_rows = models.BooleanField(default=False)
    progress = models.FloatField(default=0.0, help_text="Share of the work done, 0 to 1.")
    step = models.CharField(max_length=200, blank=True)
    n_created = models.PositiveBigIntegerField(default=0)
    n_updated = models.PositiveBigIntegerField(default=0)
    n_rejected = models.PositiveBigIntegerField(default=0)
    n_problems = models.PositiveBigIntegerField(default=0)
    problems = models.JSONField(
        default=list, help_text="The first: line, column and what is wrong."
    )
    notes = models.JSONField(default=list)
    error = models.TextField(blank=True)
    uploaded_at = models.DateTimeField()
    queued_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    stored_at = models.DateTimeField(null=True, help_text="When the customers were stored.")
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    process = models.CharField(max_length=200, blank=True)
    imported_by = models.CharField(max_length=200)
    imported_by_id = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["state"],
                condition=Q(state=ImportState.RUNNING),
                name="one_import_runs",
            )
        ]

    def __str__(self) -> str:
        return f"import {self.pk}, {self.file_name}"
