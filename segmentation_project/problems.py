"""RFC 9457 problem details: the one shape of every error outside the admin and the docs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse

from access.key_in_url import without_secrets
from segmentation_project.renderers import PROBLEM_JSON, encode

MAX_ERRORS = 100
RETRY_AFTER_SECONDS = 10

TITLES: Mapping[str, str] = {
    "bad-request": "The request is not valid",
    "malformed-json": "The body is not JSON",
    "duplicate-key": "An object names a key twice",
    "invalid-records": "The customers are not valid",
    "invalid-parameter": "A parameter is not valid",
    "invalid-training": "The training cannot be asked for",
    "too-few-customers": "There are too few customers to train on",
    "no-key": "No API key was sent",
    "invalid-key": "The API key or token is not valid",
    "key-in-url": "A key stands in the URL",
    "key-needed": "The API key itself is needed",
    "scope-missing": "The API key lacks a scope",
    "not-found": "There is nothing here",
    "method-not-allowed": "The method is not allowed here",
    "not-acceptable": "Only JSON is served here",
    "forbidden": "This is not allowed",
    "conflict": "Somebody else was first",
    "alert-conflict": "The alert is in another state",
    "activation-refused": "The version must not serve",
    "not-comparable": "The two versions cannot be compared",
    "invalid-idempotency-key": "The Idempotency-Key is not valid",
    "idempotency-key-reused": "The Idempotency-Key came with another request",
    "idempotency-in-progress": "The first request with this key is still carried out",
    "version-changed": "Another version serves by now",
    "idempotency-answer-gone": "The request was carried out and its answer is gone",
    "length-required": "The body needs a Content-Length",
    "too-large": "The body is too large",
    "uri-too-long": "The address is too long",
    "headers-too-large": "The headers are too many or too long",
    "expectation-failed": "What the client expects is not done",
    "transfer-coding": "The transfer coding is not known",
    "request-timeout": "The request did not come in time",
    "unsupported-media-type": "The body must be JSON",
    "rate-limited": "Too many requests",
    "no-active-version": "No version of this model serves yet",
    "damaged-artifact": "The artifact of the version is damaged",
    "busy": "The service is busy",
    "exports-busy": "Too many exports are under way",
    "audit-unavailable": "The audit trail cannot be written",
    "internal-error": "The server failed",
}
"""Every `code` an answer may carry, with its title; /docs/problems shows them."""


def problem(
    request: HttpRequest,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Iterable[Mapping[str, Any]] = (),
    n_errors: int | None = None,
) -> dict[str, Any]:
    """The body of one error answer; `errors` are cut at 100, `errors_total` counts them all."""
    listed = list(errors)
    body: dict[str, Any] = {
        "type": f"/docs/problems#{code}",
        "title": TITLES[code],
        "status": status,
        "detail": detail,
        "instance": without_secrets(request.path),
        "code": code,
        "request_id": getattr(request, "request_id", ""),
    }
    if listed:
        body["errors"] = listed[:MAX_ERRORS]
        body["errors_total"] = n_errors if n_errors is not None else len(listed)
    return body


def problem_response(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    """A problem outside DRF: an unknown path, a refused host, a crash."""
    return HttpResponse(
        encode(problem(request, status, code, detail)), status=status, content_type=PROBLEM_JSON
    )
