"""Monitoring in the admin; importing its pages registers them."""

from monitoring import (  # noqa: F401
    admin_alerts,
    admin_outbox,
    admin_policy,
    admin_quality,
    admin_reports,
)
