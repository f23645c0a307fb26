"""The links at the side of every admin page, with the number of alerts that nobody looks after."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from monitoring.home_page import n_unnoted
from segmentation_project.admin_theme import NAVIGATION

ALERTS = "admin:monitoring_alert_changelist"


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """What Unfold draws; one query for who may see alerts."""
    n_alerts = 0
    if request.user.has_perm("monitoring.view_alert"):
        n_alerts = n_unnoted(at=timezone.now())
    if not n_alerts:
        return NAVIGATION
    alerts = reverse(ALERTS)
    return [
        {
            **group,
            "items": [
                {**item, "badge": n_alerts} if str(item["link"]) == alerts else item
                for item in group["items"]
            ],
        }
        for group in NAVIGATION
    ]
