"""What every answer carries: a request id and safe headers; and no HTML outside the pages."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import cast

from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import APIException

from access.traced_request import TracedRequest
from segmentation_project.parsers import BodyTooLarge, check_length

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
PAGES = ("/admin/", "/docs", "/redoc", "/static/")
"""Paths that serve pages for people: HTML, with a content policy of their own."""
CHUNK_BYTES = 65_536
MAX_DRAINED_BYTES = 32_000_000
MAX_DRAIN_SECONDS = 2.0
DRAIN_WAIT_SECONDS = 0.2
"""How long the next bytes of a refused body are waited for."""
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Unfold's Alpine.js needs 'unsafe-eval' and inline scripts; nothing is loaded from elsewhere.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "worker-src 'self' blob:; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)


class RequestContextMiddleware:
    """Gives the request its id and start time, and the answer its headers."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, plain_request: HttpRequest) -> HttpResponse:
        request = cast(TracedRequest, plain_request)
        request.started = time.monotonic()
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        request.request_id = sent if REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)
        request.body_refusal = body_refusal(request)
        is_page = request.path.startswith(PAGES)
        response = self.get_response(request)
        if isinstance(request.body_refusal, BodyTooLarge):
            drain(request)
        response.headers["X-Request-ID"] = request.request_id
        response.headers.setdefault(
            "Content-Security-Policy", PAGE_POLICY if is_page else API_POLICY
        )
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        if not is_page:
            response.headers.setdefault("Cache-Control", "no-store")
        return response


def body_refusal(request: HttpRequest) -> APIException | None:
    """Why the body will not be read: the API's views raise it once they know the caller."""
    try:
        check_length(request.META)
    except APIException as refusal:
        return refusal
    return None


def drain(request: HttpRequest) -> None:
    """Take in what a refused client is still sending, so that it gets to read the answer.

    Only where the socket can be told not to wait: a silent client must not hold the thread.
    """
    connection = request.META.get("gunicorn.socket")
    if connection is None:
        return
    deadline = time.monotonic() + MAX_DRAIN_SECONDS
    stream, left, waits = request.META["wsgi.input"], MAX_DRAINED_BYTES, connection.gettimeout()
    connection.settimeout(DRAIN_WAIT_SECONDS)
    try:
        while left > 0 and time.monotonic() < deadline:
            chunk = stream.read(min(left, CHUNK_BYTES))
            if not chunk:
                break
            left -= len(chunk)
    except OSError:  # it fell silent or left
        pass
    finally:
        connection.settimeout(waits)
