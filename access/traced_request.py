"""What the project's middleware puts on every request before any view sees it."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpRequest
from rest_framework.exceptions import APIException


class TracedRequest(HttpRequest):
    """`started` is in monotonic seconds; `body_refusal` says why the body will not be read.

    A view of the API sets `limit_headers`: where the caller stands, on whatever answer there is.
    """

    request_id: str
    started: float
    body_refusal: APIException | None
    limit_headers: Mapping[str, str]
