"""One model at a glance: its active version, quality, serving figures, drift, alerts, segments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from modelregistry.activation import active_version
from modelregistry.models import Activation, ModelVersion
from monitoring import performance
from monitoring.models import Alert, DriftReport
from monitoring.serving import serving_figures
from segments.models import VersionSegment

MAX_ALERTS = 100
"""Open alerts that are shown, those seen last first."""


def status_of(model_type: str, *, since: datetime, at: datetime) -> dict[str, Any]:
    """The status now, serving figures from the hour of a moment on. Raises `NoActiveVersion`."""
    version = ModelVersion.objects.with_state().get(pk=active_version(model_type).pk)
    activated = Activation.objects.filter(to_version=version).order_by("-generation").first()
    training, *measured = performance.series(version)
    return {
        "model_type": model_type,
        "active": version,
        "activated_at": activated.activated_at if activated else None,
        "segments": VersionSegment.objects.filter(version=version).select_related("segment"),
        "quality": {
            "training": training,
            "latest": measured[-1] if measured else None,
            "series": measured,
        },
        "serving": serving_figures(version, since=since, at=at),
        "last_drift": DriftReport.objects.filter(version=version).first(),
        "open_alerts": Alert.objects.unresolved().filter(model_type=model_type)[:MAX_ALERTS],
    }
