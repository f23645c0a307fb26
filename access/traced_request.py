"""What the project's middleware puts on every request before any view sees it."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.exceptions import APIException


class TracedRequest(HttpRequest):
    """`started` is in monotonic seconds; `body_refusal` says why the body will not be read."""

    request_id: str
    started: float
    body_refusal: APIException | None
