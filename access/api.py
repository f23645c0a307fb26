"""The base of every API view: key, limit, scope, strict query and exactly one audit entry."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from django.conf import settings
from django.db import DatabaseError
from django.http import QueryDict
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import APIException, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access import idempotency
from access.authentication import BOOTSTRAP_ID, Credential, verify
from access.client_address import client_address
from access.key_in_url import KeyInUrl, secret_in_path, secret_in_query, without_secrets
from access.last_use import note_use
from access.rate_limit import count_bad_key, count_request
from access.traced_request import TracedRequest
from audit import trail
from audit.models import ActorKind, Outcome

logger = logging.getLogger(__name__)

REPLAYED = "request.replayed"
WRITING = frozenset({"POST", "DELETE"})
"""Methods that take an Idempotency-Key."""
N_QUERIES_KEPT = 256
"""Query strings whose meaning is kept; clients mostly repeat themselves."""


class AuditUnavailable(APIException):
    """An answer that cannot be recorded is not given."""

    status_code = 503
    default_detail = "The audit trail cannot be written, so the request was not carried out."
    default_code = "audit-unavailable"


class RateLimited(Throttled):
    default_code = "rate-limited"

    def __init__(self, wait: int, detail: str = "Too many requests.") -> None:
        super().__init__(detail=detail)
        self.wait = wait


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
    names_customers = True
    """Whether its answers may hold what is erased with a customer."""
    claim: idempotency.Claim | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.traced = cast(TracedRequest, request._request)
        self.actor = caller_of(self.traced)
        self.format_kwarg = None
        try:
            self.perform_authentication(request)
        except DatabaseError:  # nobody can tell whose request it is
            self.count(request, credential=None)
            raise
        except APIException:
            self.count(request, credential=None)
            self.count_bad_key(request)
            raise
        credential: Credential | None = request.auth  # type: ignore[assignment]  # not a Token
        if credential is not None:
            self.actor.kind = ActorKind.API_KEY
            self.actor.id, self.actor.label = credential.id, credential.label
            if credential.id != BOOTSTRAP_ID:  # which has no row
                note_use(credential.id)
        self.count(request, credential=credential)
        self.refuse_key_in_url(request)
        self.check_permissions(request)
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(
            request
        )
        if self.traced.body_refusal is not None:
            raise self.traced.body_refusal
        self.query = self.checked_query(request)
        if request.method in WRITING and idempotency.HEADER in request.META:
            self.carry_out_once(request)

    def audit_path(self) -> str:
        """The path as the trail keeps it; a view whose paths name customers leaves them out."""
        return self.request.path

    def count(self, request: Request, *, credential: Credential | None) -> None:
        usage = count_request(request._request, credential, self.actor.address)
        self.traced.limit_headers = usage.headers()
        if usage.exceeded:
            raise RateLimited(usage.reset_seconds)

    def count_bad_key(self, request: Request) -> None:
        usage = count_bad_key(request._request, self.actor.address)
        self.traced.limit_headers = usage.headers()
        if usage.exceeded:
            detail = "Too many invalid keys from this address."
            raise RateLimited(usage.reset_seconds, detail)

    def refuse_key_in_url(self, request: Request) -> None:
        exposed = secret_in_query(request.META.get("QUERY_STRING", ""))
        if exposed is None:
            exposed = secret_in_path(request.path)
        if exposed is not None:
            known = verify(exposed)
            self.audit_details = {"exposed_key": known.id} if known else {}
            raise KeyInUrl

    def checked_query(self, request: Request) -> dict[str, Any]:
        """The query parameters, typed; an unknown or repeated one is refused."""
        sent = request.META.get("QUERY_STRING", "").encode("latin-1")  # WSGI's way with bytes
        return dict(typed_query(self.query_serializer_class, sent))

    def carry_out_once(self, request: Request) -> None:
        """Claim the request's Idempotency-Key, for the caller, the method and the path.

        A key and its successors are one caller: a retry may come after a rotation.

        Raises `Replayed` or one of the refusals of `access.idempotency`.
        """
        key = idempotency.key_in(request.META[idempotency.HEADER])
        query = request.META.get("QUERY_STRING", "")
        caller = cast(Credential, request.auth).lineage
        asked = (caller, str(request.method), request.path, key)
        self.claim = idempotency.claim(
            idempotency.digest_of(settings.SECRET_KEY, *asked),  # a path may name a customer
            fingerprint=idempotency.digest_of(query, request._request.body),
            request_id=self.actor.request_id,
            at=timezone.now(),
            names_customers=self.names_customers,
        )
        self.actor.with_success = self.claim.mark_done

    def handle_exception(self, exc: Exception) -> Response:
        self.actor.with_success = None
        if isinstance(exc, idempotency.Replayed):
            return self.replay(exc.kept)
        if self.claim is not None:
            self.settle(self.claim, None)
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
        self.actor.with_success = None
        if not self.actor.n_recorded:
            response = self.recorded(response)
        response = super().finalize_response(request, response, *args, **kwargs)
        if self.claim is not None:
            self.settle(self.claim, response)
        return response

    def replay(self, kept: idempotency.KeptAnswer) -> Response:
        """The first answer again; the trail says that nothing was carried out this time."""
        self.audit_details = {"action": self.audit_action, "first_request_id": kept.request_id}
        self.audit_action = REPLAYED
        headers = {"Idempotent-Replayed": "true"}
        if kept.location:
            headers["Location"] = kept.location
        return Response(msgspec.Raw(kept.content), status=kept.status_code, headers=headers)

    def settle(self, claim: idempotency.Claim, response: Response | None) -> None:
        """Keep the answer to what was carried out; give the key free of what was not.

        An answer that says `no-store`, such as one with a token, is not kept.
        """
        self.claim = None
        try:
            if (
                response is None
                or response.status_code >= 400
                or "no-store" in response.headers.get("Cache-Control", "")
            ):
                claim.release()
            else:
                content = response.render().content
                claim.keep(response.status_code, response.headers.get("Location", ""), content)
        except DatabaseError:  # the claim ends by itself, and the work was marked with it
            logger.exception("The answer to request %s was not kept", self.actor.request_id)

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
                    "path": without_secrets(self.audit_path())[:500],
                    **(self.audit_details or {}),
                    **refusal_of(response),
                },
            )
        except DatabaseError:
            logger.exception("The audit entry of request %s was not written", self.actor.request_id)
            return super().handle_exception(AuditUnavailable())
        return response


def caller_of(request: TracedRequest) -> trail.Actor:
    """Who calls, as far as anybody knows before a key is read."""
    return trail.Actor(
        ActorKind.ANONYMOUS,
        request_id=request.request_id,
        peer_address=request.META.get("REMOTE_ADDR", ""),
        address=client_address(request.META, trusted_proxy_count=settings.TRUSTED_PROXY_COUNT),
        started=request.started,
    )


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
