"""The base of every API view: key, limit, scope, strict query and exactly one audit entry."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any, cast

from django.conf import settings
from django.db import DatabaseError
from django.http import QueryDict
from rest_framework import serializers
from rest_framework.exceptions import APIException, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.authentication import Credential
from access.client_address import client_address
from access.rate_limit import Usage, count_request
from access.traced_request import TracedRequest
from audit import trail
from audit.models import ActorKind, Outcome

logger = logging.getLogger(__name__)

N_QUERIES_KEPT = 256
"""Query strings whose meaning is kept; clients mostly repeat themselves."""


class AuditUnavailable(APIException):
    """An answer that cannot be recorded is not given."""

    status_code = 503
    default_detail = "The audit trail cannot be written, so the request was not carried out."
    default_code = "audit-unavailable"


class RateLimited(Throttled):
    default_code = "rate-limited"
    default_detail = "Too many requests."
    extra_detail_singular = extra_detail_plural = ""


class ApiView(APIView):
    """A view states its `scope`, its `audit_action` and, if any, its query parameters.

    A domain function that writes records the entry in its own transaction, with `self.actor`;
    for everything else (reads, refusals, failures) the view records it.
    """

    scope: str
    audit_action: str
    metadata_class = None
    http_method_names = ["get", "post", "head"]
    query_serializer_class: type[serializers.Serializer] | None = None
    audit_target: tuple[str, object] = ("", "")
    audit_details: Mapping[str, Any] | None = None
    n_items: int | None = None
    usage: Usage | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.traced = cast(TracedRequest, request._request)
        self.actor = self.caller(request)
        self.format_kwarg = None
        try:
            self.perform_authentication(request)
        except APIException:
            self.count(request, credential=None)
            raise
        credential: Credential | None = request.auth  # type: ignore[assignment]  # not a Token
        if credential is not None:
            self.actor.kind = ActorKind.API_KEY
            self.actor.id, self.actor.label = credential.id, credential.label
        self.count(request, credential=credential)
        self.check_permissions(request)
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(
            request
        )
        if self.traced.body_refusal is not None:
            raise self.traced.body_refusal
        self.query = self.checked_query(request)

    def caller(self, request: Request) -> trail.Actor:
        return trail.Actor(
            ActorKind.ANONYMOUS,
            request_id=self.traced.request_id,
            peer_address=request.META.get("REMOTE_ADDR", ""),
            address=client_address(request.META, trusted_proxy_count=settings.TRUSTED_PROXY_COUNT),
            started=self.traced.started,
        )

    def count(self, request: Request, *, credential: Credential | None) -> None:
        self.usage = count_request(request._request, credential, self.actor.address)
        if self.usage.exceeded:
            raise RateLimited(wait=self.usage.reset_seconds)

    def checked_query(self, request: Request) -> dict[str, Any]:
        """The query parameters, typed; an unknown or repeated one is refused."""
        sent = request.META.get("QUERY_STRING", "").encode("latin-1")  # WSGI's way with bytes
        return dict(typed_query(self.query_serializer_class, sent))

    def handle_exception(self, exc: Exception) -> Response:
        # Whatever the domain recorded was rolled back with its transaction.
        self.actor.n_recorded = 0
        try:
            return super().handle_exception(exc)
        except Exception:  # unexpected: it leaves its entry and propagates
            response = self.recorded(Response(status=500))
            if response.status_code == AuditUnavailable.status_code:
                return response
            raise

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        if not self.actor.n_recorded:
            response = self.recorded(response)
        response = super().finalize_response(request, response, *args, **kwargs)
        for name, value in (self.usage.headers() if self.usage else {}).items():
            response.headers[name] = value
        return response

    def recorded(self, response: Response) -> Response:
        """The response, once its entry is written; else the 503 that says why there is none."""
        try:
            trail.record(
                self.audit_action,
                by=self.actor,
                target=self.audit_target,
                outcome=outcome_of(response.status_code),
                status_code=response.status_code,
                n_items=self.n_items,
                details={
                    "method": self.request.method,
                    "path": self.request.path[:500],
                    **(self.audit_details or {}),
                    **refusal_of(response),
                },
            )
        except DatabaseError:
            logger.exception("The audit entry of request %s was not written", self.actor.request_id)
            return super().handle_exception(AuditUnavailable())
        return response


@functools.lru_cache(maxsize=N_QUERIES_KEPT)
def typed_query(
    serializer_class: type[serializers.Serializer] | None, sent: bytes
) -> Mapping[str, Any]:
    """The parameters in a query string, the same for every request that sends it."""
    given = QueryDict(sent)
    query = serializer_class(data=given.dict()) if serializer_class else None
    fields = query.fields if query else {}
    problems = {
        name: [f"is not a parameter here; allowed: {', '.join(fields) or 'none'}"]
        for name in given
        if name not in fields
    } | {name: ["is given more than once"] for name, values in given.lists() if len(values) > 1}
    if problems:
        raise serializers.ValidationError(problems, code="invalid-parameter")
    if query is None:
        return {}
    query.is_valid(raise_exception=True)
    return dict(query.validated_data)


def outcome_of(status_code: int) -> Outcome:
    if status_code < 400:
        return Outcome.SUCCEEDED
    return Outcome.REFUSED if status_code < 500 else Outcome.FAILED


def refusal_of(response: Response) -> dict[str, str]:
    data = response.data
    return {"code": data["code"]} if isinstance(data, dict) and "code" in data else {}
