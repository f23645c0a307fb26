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
from segmentation_project.content_policy import PERMISSIONS, content_policy
from segmentation_project.parsers import check_length

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
PAGES = ("/admin/", "/docs", "/redoc", "/static/")
"""Paths that serve pages for people: HTML, and what that loads."""


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
        request.limit_headers = {}
        is_page = request.path.startswith(PAGES)
        response = self.get_response(request)
        response.headers["X-Request-ID"] = request.request_id
        for name, value in request.limit_headers.items():
            response.headers[name] = value
        response.headers.setdefault("Content-Security-Policy", content_policy(request.path))
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        if not is_page:
            response.headers.setdefault("Cache-Control", "no-store")
        if request.method == "HEAD" and not response.streaming:  # gunicorn warns of each body
            response.headers.setdefault("Content-Length", str(len(response.content)))
            response.content = b""
        return response


def body_refusal(request: HttpRequest) -> APIException | None:
    """Why the body will not be read: the API's views raise it once they know the caller."""
    try:
        check_length(request.META)
    except APIException as refusal:
        return refusal
    return None
