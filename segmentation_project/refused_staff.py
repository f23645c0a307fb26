"""The entry of what staff asked for in the admin and may not: one for each page that says no."""

from __future__ import annotations

import logging

from django.db import DatabaseError, transaction
from django.http import HttpRequest
from django.urls import reverse

from access.key_in_url import without_secrets
from access.staff import actor_of
from audit import trail
from audit.models import Outcome

logger = logging.getLogger(__name__)

REFUSED = "admin.refused"
MAX_PATH = 500


def record_refused(request: HttpRequest) -> None:
    """Leave one entry when a signed-in person is refused in the admin.

    The answer is no, whether or not that can be written.
    """
    try:
        with transaction.atomic():
            if not request.user.is_authenticated:
                return
            trail.record(
                REFUSED,
                by=actor_of(request),
                outcome=Outcome.REFUSED,
                status_code=403,
                details={"method": request.method, "path": path_of(request)},
            )
    except DatabaseError:
        request_id = getattr(request, "request_id", "")
        logger.exception("The audit entry of the refused request %s was not written", request_id)


def path_of(request: HttpRequest) -> str:
    """The path as the trail may hold it: without secrets, and without a customer's id."""
    customers = reverse("admin:segments_customer_changelist")
    match = request.resolver_match
    if match is not None and match.kwargs and request.path.startswith(customers):
        return "/" + match.route.replace("<path:object_id>", "{customer_id}")
    return without_secrets(request.path)[:MAX_PATH]
