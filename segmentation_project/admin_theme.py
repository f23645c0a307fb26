"""How the admin looks and what its sidebar offers; every asset is our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def may(*permissions: str) -> Callable[[HttpRequest], bool]:
    """Whether a link is shown: to who has one of the permissions."""

    def allowed(request: HttpRequest) -> bool:
        return any(request.user.has_perm(permission) for permission in permissions)

    return allowed


def link(title: str, icon: str, name: str, *permissions: str) -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{name}"),
        "permission": may(*permissions) if permissions else lambda request: True,
    }


def model_link(title: str, icon: str, app_label: str, model: str) -> dict[str, Any]:
    permissions = (f"{app_label}.view_{model}", f"{app_label}.change_{model}")
    return link(title, icon, f"{app_label}_{model}_changelist", *permissions)


NAVIGATION: list[dict[str, Any]] = [
    {
        "items": [
            link("Overview", "space_dashboard", "index"),
            model_link("Alerts", "notifications", "monitoring", "alert"),
        ]
    },
    {
        "title": "Customers",
        "separator": True,
        "items": [
            model_link("Customers", "group", "segments", "customer"),
            model_link("Segments", "donut_small", "segments", "segment"),
            link(
                "Imports",
                "upload_file",
                "segments_customerimport_changelist",
                "segments.view_customerimport",
                "segments.import_customer",
            ),
        ],
    },
    {
        "title": "Models",
        "separator": True,
        "items": [
            model_link("Model versions", "deployed_code", "modelregistry", "modelversion"),
            model_link("Training jobs", "model_training", "modelregistry", "trainingjob"),
            model_link("Activations", "swap_horiz", "modelregistry", "activation"),
        ],
    },
    {
        "title": "Monitoring",
        "separator": True,
        "items": [
            model_link("Drift reports", "monitoring", "monitoring", "driftreport"),
            model_link("Quality", "speed", "monitoring", "qualitypoint"),
            model_link("Policy", "tune", "monitoring", "monitoringpolicy"),
            model_link("Outbox", "outbox", "monitoring", "notification"),
        ],
    },
    {
        "title": "Access",
        "separator": True,
        "items": [
            model_link("API keys", "key", "access", "apikey"),
            model_link("Users", "person", "auth", "user"),
            model_link("Groups", "groups", "auth", "group"),
            model_link("Audit log", "history", "audit", "auditentry"),
            link("Settings", "settings", "settings", "access.view_settings"),
        ],
    },
]
"""The pages in the order of a day; `segmentation_project.sidebar` puts figures beside them."""

UNFOLD = {
    "SITE_TITLE": "Customer Segmentation",
    "SITE_HEADER": "Customer Segmentation",
    "SITE_SYMBOL": "donut_small",
    "SITE_URL": "/docs",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("segmentation/icon.svg"),
        }
    ],
    # Django's own admin log is not written: the audit trail is.
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": True,
    "BORDER_RADIUS": "6px",
    "STYLES": [lambda request: static("segmentation/admin.css")],
    "SCRIPTS": [lambda request: static("segmentation/accessible.js")],
    "COLORS": {
        "primary": {
            "50": "oklch(97.7% .013 236)",
            "100": "oklch(95.1% .026 236)",
            "200": "oklch(90.1% .058 230)",
            "300": "oklch(82.8% .111 230)",
            "400": "oklch(74.6% .16 232)",
            "500": "oklch(62.5% .15 240)",
            "600": "oklch(52.5% .14 244)",
            "700": "oklch(45.5% .125 246)",
            "800": "oklch(40% .105 246)",
            "900": "oklch(35.5% .085 246)",
            "950": "oklch(27% .065 246)",
        }
    },
    "ACCOUNT": {
        "navigation": [
            {"title": "Two-factor sign-in", "link": reverse_lazy("admin:two_factor")},
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
        ]
    },
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": "segmentation_project.sidebar.navigation",
    },
}
