"""The root, the page of problem types, and the answers outside any view."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.csrf import csrf_exempt

from modelregistry.models import ActiveModel
from segmentation_project.problems import TITLES, problem_response

View = Callable[[HttpRequest], HttpResponse]


def read_only(view: View) -> View:
    """The view for GET and HEAD; any other method is a 405 problem, not a page on CSRF."""

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request)
        response = problem_response(request, 405, "method-not-allowed", "Only GET is allowed here.")
        response.headers["Allow"] = "GET, HEAD"
        return response

    return csrf_exempt(guarded)


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


@read_only
def problem_types(request: HttpRequest) -> HttpResponse:
    """`GET /docs/problems`: what each `code` of a problem answer means."""
    return render(request, "problem_types.html", {"titles": sorted(TITLES.items())})


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return refusal(request, 400, "bad-request", "The request is not valid.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return refusal(request, 403, "forbidden", "This is not allowed.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return refusal(request, 404, "not-found", "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    return refusal(request, 500, "internal-error", "The server failed; it is in the log.")


def refusal(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    """A page for a person in the admin, a problem for everybody else."""
    if not request.path.startswith("/admin/"):
        return problem_response(request, status, code, detail)
    request_id = getattr(request, "request_id", "")
    context = {"title": TITLES[code], "detail": detail, "request_id": request_id}
    # No context processor: what failed may be the session or the database.
    page = render_to_string("admin/segmentation/refusal.html", context)
    return HttpResponse(page, status=status)
