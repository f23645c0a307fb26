"""Alerts as the tests of delivery need them, and where they go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.models import Count

from monitoring.channels import Channels
from monitoring.models import Alert, AlertEvent, AlertKind, AlertState

NOW = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
CHART = {
    "title": "monetary",
    "unit": "share of customers",
    "labels": ["up to 10", "10 to 50", "above 50"],
    "before": [0.5, 0.3, 0.2],
    "now": [0.2, 0.3, 0.5],
}


def make_alert(**fields: Any) -> Alert:
    """A drift alert that fires, unless the fields say otherwise."""
    number = Alert.objects.aggregate(n=Count("pk"))["n"] + 1
    alert = Alert.objects.create(
        **{
            "kind": AlertKind.DRIFT,
            "key": f"drift:{number}",
            "state": AlertState.FIRING,
            "model_type": "kmeans",
            "title": "Drift: kmeans 3: monetary and 2 more",
            "summary": "monetary: median 20 before, 60 now.",
            "advice": "Look whether prices changed; train again if it stays.",
            "subjects": ["monetary", "orders"],
            "facts": [["Customers compared", "1,240"]],
            "chart": CHART,
            "raised_at": NOW,
            "fired_at": NOW,
            "last_seen_at": NOW,
            **fields,
        }
    )
    AlertEvent.objects.create(alert=alert, kind=AlertEvent.Kind.FIRED, at=NOW, by="tests")
    return alert


def make_channels(*, port: int = 0, webhook_url: str = "") -> Channels:
    """A mail server when there is a port, a webhook when there is a URL."""
    return Channels(
        mail_to=("team@example.com", "boss@example.com") if port else (),
        mail_from="Segments <alerts@example.com>",
        smtp=bool(port),
        webhook_url=webhook_url,
        webhook_secret="w" * 40,
        base_url="https://segments.example.com/",
    )
