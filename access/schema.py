"""The error answers that every documented operation shares."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers


class ProblemErrorSerializer(serializers.Serializer):
    """One problem: where it is (RFC 6901 fragment), what kind, and what is allowed."""

    pointer = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer):
    """RFC 9457 problem details."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    instance = serializers.CharField()
    code = serializers.CharField()
    request_id = serializers.CharField()
    errors = ProblemErrorSerializer(many=True, required=False)  # type: ignore[assignment]  # the declared field, not DRF's property
    errors_total = serializers.IntegerField(required=False)


MEANINGS = {
    400: "The request is not valid; `errors` says what and where.",
    401: "No key, or a key that is not valid.",
    403: "The key lacks the scope.",
    404: "There is no such thing.",
    406: "Only JSON is served.",
    409: "What is stored does not allow it, or somebody else was first.",
    411: "The body has no Content-Length.",
    413: "The body is too large.",
    414: "The address is too long.",
    415: "The body is not JSON in UTF-8.",
    422: "The Idempotency-Key came with another query or body before.",
    429: "Too many requests; see Retry-After.",
    431: "The header fields are too large.",
    500: "The server failed; why is in its log.",
    503: "Not now: no active version, a damaged artifact, or a busy database.",
}
ALWAYS = (400, 401, 403, 406, 411, 413, 414, 429, 431, 500, 503)
"""What any operation may answer; 405 is the answer to a method that is no operation."""


def documented(success: Any, *more: int, status: int = 200) -> dict[Any, Any]:
    """Responses of an operation: its success, under its status, and each error it can give."""
    problems: dict[Any, Any] = {
        (number, "application/problem+json"): OpenApiResponse(
            ProblemSerializer, description=MEANINGS[number]
        )
        for number in sorted({*ALWAYS, *more})
    }
    return {status: success, **problems}
