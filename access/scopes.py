"""What a key may do. A key without scopes may do nothing, and no scope can mint keys."""

from __future__ import annotations

from django.db import models


class Scope(models.TextChoices):
    MODELS_READ = "models:read", "models:read: see models, versions and their quality"
    MODELS_TRAIN = "models:train", "models:train: train versions, cancel and retry trainings"
    MODELS_ACTIVATE = "models:activate", "models:activate: activate versions and roll back"
    PREDICT = "predict", "predict: ask for segments, and store customers with them"
    SEGMENTS_READ = "segments:read", "segments:read: list customers with their segment"
    CUSTOMERS_READ = "customers:read", "customers:read: see one customer with all assignments"
    CUSTOMERS_WRITE = "customers:write", "customers:write: store customers"
    CUSTOMERS_ERASE = "customers:erase", "customers:erase: erase a customer everywhere"
    DRIFT_RUN = "drift:run", "drift:run: compare customers with the reference"
    DRIFT_READ = "drift:read", "drift:read: see drift reports and alerts"
    ALERTS_WRITE = "alerts:write", "alerts:write: acknowledge, silence and resolve alerts"
    METRICS = "metrics", "metrics: read the figures for Prometheus"
    AUDIT_READ = "audit:read", "audit:read: read the audit trail"


ALL_SCOPES = frozenset(Scope.values)
