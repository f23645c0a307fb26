"""How a model serves, read from the audit trail: requests, customers, errors, latency."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from django.db.models import Count, Q, Sum

from audit.models import AuditEntry, Outcome
from modelregistry.models import ModelVersion
from segments.prediction import AUDIT_ACTION, MODEL_TYPE_TARGET

PERCENTILES = {"p50": 50, "p95": 95, "p99": 99}
MAX_LATENCIES = 10_000
"""The latest answers whose latency enters the percentiles."""


def serving_figures(version: ModelVersion, *, since: datetime) -> dict[str, Any]:
    """Figures of `POST /predict` for one version since a moment; three queries."""
    calls = AuditEntry.objects.filter(action=AUDIT_ACTION, at__gte=since)
    answered = calls.filter(target_type="model_version", target_id=str(version))
    totals = answered.aggregate(n_requests=Count("id"), n_customers=Sum("n_items"))
    not_answered = calls.filter(target_type=MODEL_TYPE_TARGET, target_id=version.model_type)
    errors = not_answered.aggregate(
        n_refused=Count("id", filter=Q(outcome=Outcome.REFUSED)),
        n_failed=Count("id", filter=Q(outcome=Outcome.FAILED)),
    )
    newest = answered.filter(duration_ms__isnull=False).order_by("-id")
    latencies = np.array(newest.values_list("duration_ms", flat=True)[:MAX_LATENCIES], np.float64)
    percentiles = (
        np.percentile(latencies, list(PERCENTILES.values())).round(3).tolist()
        if latencies.size
        else None
    )
    return {
        "since": since,
        "n_requests": totals["n_requests"],
        "n_customers": totals["n_customers"] or 0,
        **errors,
        "latency_ms": dict(zip(PERCENTILES, percentiles or [None] * 3, strict=True)),
    }
