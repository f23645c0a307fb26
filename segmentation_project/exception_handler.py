"""From exceptions to problem answers: the one place that knows status codes of domain errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from ml.fitting import TooFewCustomers
from ml.records import InvalidRecords
from modelregistry.activation import ActivationConflict, ActivationRefused, NoActiveVersion
from modelregistry.artifacts import DamagedArtifact
from monitoring.alert_acts import AlertConflict, AlertGone
from segmentation_project.problems import MAX_ERRORS, RETRY_AFTER_SECONDS, problem
from segmentation_project.renderers import PROBLEM_JSON
from segments.comparison import NotComparable
from segments.erasure import ErasureConflict, UnknownCustomer
from segments.jobs import JobConflict
from segments.training_requests import InvalidRequest

DOMAIN_ERRORS: Mapping[type[Exception], tuple[int, str]] = {
    NoActiveVersion: (503, "no-active-version"),
    DamagedArtifact: (503, "damaged-artifact"),
    ActivationConflict: (409, "conflict"),
    NotComparable: (409, "not-comparable"),
    JobConflict: (409, "conflict"),
    ErasureConflict: (409, "conflict"),
    UnknownCustomer: (404, "not-found"),
    AlertGone: (404, "not-found"),  # before AlertConflict, which it is one of
    AlertConflict: (409, "alert-conflict"),
    TooFewCustomers: (409, "too-few-customers"),
}
DRF_CODES: Mapping[type[exceptions.APIException], str] = {
    exceptions.NotFound: "not-found",
    exceptions.MethodNotAllowed: "method-not-allowed",
    exceptions.NotAcceptable: "not-acceptable",
    exceptions.UnsupportedMediaType: "unsupported-media-type",
}


def handle(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER: a problem+json response, or None for what nobody expects."""
    request = context["request"]._request
    if isinstance(exc, Http404):
        exc = exceptions.NotFound("There is nothing at this address.")
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied(code="scope-missing")
    elif type(exc) is exceptions.UnsupportedMediaType:  # whose own words quote the header
        exc = exceptions.UnsupportedMediaType("", "Send the body as application/json.")
    answer = _answer(exc, request)
    if answer is None:
        return None
    set_rollback()
    body, headers = answer
    return Response(body, status=body["status"], headers=headers, content_type=PROBLEM_JSON)


def _answer(exc: Exception, request: Any) -> tuple[dict[str, Any], dict[str, str]] | None:
    if isinstance(exc, InvalidRecords):
        detail = f"{_counted(exc.n_problems)}; nothing was stored."
        errors = [
            {"pointer": _pointer(item.index, item.field), "code": item.code, "detail": item.detail}
            for item in exc.problems[:MAX_ERRORS]
        ]
        return problem(
            request, 400, "invalid-records", detail, errors=errors, n_errors=exc.n_problems
        ), {}
    if isinstance(exc, InvalidRequest):
        detail = f"{_counted(len(exc.problems))}; nothing was queued."
        errors = [
            {"pointer": _pointer_to(*item.path), "code": "invalid", "detail": item.detail}
            for item in exc.problems
        ]
        return problem(request, 400, "invalid-training", detail, errors=errors), {}
    if isinstance(exc, ActivationRefused):
        errors = [
            {"pointer": "#", "code": gate.name.replace("_", "-"), "detail": gate.sentence}
            for gate in exc.breached
        ]
        return problem(request, 409, "activation-refused", str(exc), errors=errors), {}
    if isinstance(exc, exceptions.ValidationError):
        errors = list(_flattened(exc.get_full_details()))
        return problem(
            request, 400, "invalid-parameter", f"{_counted(len(errors))}.", errors=errors
        ), {}
    if isinstance(exc, RequestDataTooBig):
        return problem(request, 413, "too-large", "The body is too large."), {}
    if isinstance(exc, OperationalError):
        detail = "The database cannot take the request now; try again."
        return problem(request, 503, "busy", detail), {"Retry-After": str(RETRY_AFTER_SECONDS)}
    if isinstance(exc, exceptions.APIException):
        return _drf_answer(exc, request)
    for kind, (status, code) in DOMAIN_ERRORS.items():
        if isinstance(exc, kind):
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else {}
            return problem(request, status, code, str(exc)), headers
    return None


def _drf_answer(
    exc: exceptions.APIException, request: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    code = DRF_CODES.get(type(exc), getattr(exc.detail, "code", "bad-request"))
    headers = dict(getattr(exc, "headers", {}))
    if auth_header := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return problem(request, exc.status_code, code, str(exc.detail)), headers


def _counted(n_problems: int) -> str:
    return "1 problem" if n_problems == 1 else f"{n_problems} problems"


def _pointer(index: int, field: str | None) -> str:
    """The place of a record's problem; index -1 is the body itself."""
    record = () if index < 0 else (index,)
    return _pointer_to(*record, *(() if field is None else (field,)))


def _pointer_to(*path: str | int) -> str:
    """RFC 6901 as a URI fragment."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return "#" + "".join(f"/{part}" for part in parts)


def _flattened(details: Any, *path: str | int) -> Iterator[dict[str, str]]:
    """DRF's nested messages as a flat list of pointer, code and detail."""
    if isinstance(details, dict) and "message" in details:
        yield {
            "pointer": _pointer_to(*path),
            "code": str(details["code"]).replace("_", "-"),
            "detail": str(details["message"]),
        }
    elif isinstance(details, dict):
        for key, value in details.items():
            yield from _flattened(value, *path, key)
    else:
        for value in details:
            yield from _flattened(value, *path)
