"""One model at a glance: its active version, quality, serving figures, drift and segments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from modelregistry.activation import active_version
from modelregistry.models import Activation, ModelVersion
from monitoring.models import DriftReport
from monitoring.serving import serving_figures
from segments.models import VersionSegment


def status_of(model_type: str, *, since: datetime) -> dict[str, Any]:
    """The status now, serving figures since a moment. Raises `NoActiveVersion`."""
    version = ModelVersion.objects.with_state().get(pk=active_version(model_type).pk)
    activated = Activation.objects.filter(to_version=version).order_by("-generation").first()
    return {
        "model_type": model_type,
        "active": version,
        "activated_at": activated.activated_at if activated else None,
        "segments": VersionSegment.objects.filter(version=version).select_related("segment"),
        "serving": serving_figures(version, since=since),
        "last_drift": DriftReport.objects.filter(version=version).first(),
    }
