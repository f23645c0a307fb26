"""The root, the page of problem types, and the answers outside any view."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.csrf import csrf_exempt
from markdown_it import MarkdownIt

from access.api import caller_of
from access.key_in_url import KeyInUrl, secret_in_path, secret_in_query, without_secrets
from access.traced_request import TracedRequest
from audit import trail
from audit.models import Outcome
from modelregistry.models import ActiveModel
from segmentation_project.problems import TITLES, problem_response
from segmentation_project.refused_staff import record_refused

View = Callable[[HttpRequest], HttpResponse]
STALE_FORM = (
    "The form was open since before you signed in, or the browser keeps no cookies. Nothing was "
    "changed: load the page again and send it once more."
)
WORDS = {
    "forbidden": "What you may do comes from your groups; who manages users can change them.",
    "not-found": "It may have been removed, or the address was cut short.",
    "internal-error": "It is in the log. See whether what you asked for was done before you ask "
    "again. If it fails again, tell who runs the server the number of the request.",
}
"""For a person in the admin: why, and what can be done about it, by code."""


def read_only(view: View) -> View:
    """The view for GET and HEAD; any other method is a 405 problem, not a page on CSRF.

    Nobody needs a key here, and one in the URL is refused as everywhere.
    """

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if shows_secret(request):
            return refused_key_in_url(request)
        if request.method in ("GET", "HEAD"):
            return view(request)
        response = problem_response(request, 405, "method-not-allowed", "Only GET is allowed here.")
        response.headers["Allow"] = "GET, HEAD"
        return response

    return csrf_exempt(guarded)


def shows_secret(request: HttpRequest) -> bool:
    query = request.META.get("QUERY_STRING", "")
    return secret_in_query(query) is not None or secret_in_path(request.path) is not None


def refused_key_in_url(request: HttpRequest) -> HttpResponse:
    request.path = without_secrets(request.path)  # Django's log shows it, too
    trail.record(
        "api_key.exposed",
        by=caller_of(cast(TracedRequest, request)),
        outcome=Outcome.REFUSED,
        status_code=KeyInUrl.status_code,
        details={"method": request.method, "path": request.path, "code": KeyInUrl.default_code},
    )
    return refusal(request, KeyInUrl.status_code, KeyInUrl.default_code, KeyInUrl.default_detail)


@read_only
def root(request: HttpRequest) -> HttpResponse:
    """`GET /`: name, version, what serves, and where to read more."""
    serving = {
        pointer.model_type: pointer.active.number if pointer.active else None
        for pointer in ActiveModel.objects.select_related("active").order_by("model_type")
    }
    return JsonResponse(
        {
            "name": settings.SPECTACULAR_SETTINGS["TITLE"],
            "version": settings.VERSION,
            "status": "ok" if any(serving.values()) else "no active version",
            "active_versions": serving,
            "links": {
                "docs": "/docs",
                "redoc": "/redoc",
                "schema": "/schema",
                "models": "/models",
                "health": "/healthz",
                "readiness": "/readyz",
                "admin": "/admin/",
            },
        }
    )


@cache
def guide() -> SafeString:
    """docs/client-guide.md as HTML; it is the project's own text."""
    text = (settings.BASE_DIR / "docs" / "client-guide.md").read_text()
    return mark_safe(MarkdownIt("commonmark").enable("table").render(text))


@read_only
def client_guide(request: HttpRequest) -> HttpResponse:
    """`GET /docs/guide`: how to write a client."""
    return render(request, "client_guide.html", {"guide": guide()})


@read_only
def problem_types(request: HttpRequest) -> HttpResponse:
    """`GET /docs/problems`: what each `code` of a problem answer means."""
    return render(request, "problem_types.html", {"titles": sorted(TITLES.items())})


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return refusal(request, 400, "bad-request", "The request is not valid.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith("/admin/"):
        record_refused(request)
    return refusal(request, 403, "forbidden", "This is not allowed.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if shows_secret(request):
        return refused_key_in_url(request)
    return refusal(request, 404, "not-found", "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    return refusal(request, 500, "internal-error", "The server failed; it is in the log.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without the token of the session: it is stale, or comes from another site."""
    if request.path.startswith("/admin/"):
        record_refused(request)
    return refusal(request, 403, "forbidden", STALE_FORM, again=True)


def refusal(
    request: HttpRequest, status: int, code: str, detail: str, *, again: bool = False
) -> HttpResponse:
    """A page for a person in the admin, a problem for everybody else.

    again: whether to offer the page anew, and give the detail instead of words on the code.
    """
    if not request.path.startswith("/admin/"):
        return problem_response(request, status, code, detail)
    context = {
        "status": status,
        "title": TITLES[code],
        "words": detail if again else WORDS.get(code, detail),
        "again": request.path if again else "",
        "request_id": getattr(request, "request_id", ""),
    }
    # No context processor: what failed may be the session or the database.
    page = render_to_string("admin/segmentation/refusal.html", context)
    return HttpResponse(page, status=status)
