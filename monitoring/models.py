"""Drift reports: the outcome of one comparison of current customers with a version's reference."""

from __future__ import annotations

from django.db import models

from modelregistry.models import ModelType, ModelVersion


class Verdict(models.TextChoices):
    OK = "ok", "No drift"
    WARNING = "warning", "Warning"
    DRIFT = "drift", "Drift"
    INSUFFICIENT_DATA = "insufficient_data", "Insufficient data"


class Source(models.TextChoices):
    REQUEST = "request", "Customers sent over the API"
    STORED = "stored", "Stored customers"
    FILE = "file", "A file"


class DriftReport(models.Model):
    """One comparison with its verdict; `report` holds every statistic behind it."""

    model_type = models.CharField(max_length=16, choices=ModelType)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    verdict = models.CharField(max_length=20, choices=Verdict)
    summary = models.TextField()
    source = models.CharField(max_length=10, choices=Source)
    n_reference = models.PositiveBigIntegerField()
    n_current = models.PositiveBigIntegerField()
    threshold = models.FloatField()
    report = models.JSONField()
    created_at = models.DateTimeField(db_index=True)
    created_by = models.CharField(max_length=200)
    mailed_at = models.DateTimeField(null=True, blank=True)
    mail_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["version", "-created_at"], name="drift_version")]

    def __str__(self) -> str:
        return f"{self.get_verdict_display()} for {self.version}"
