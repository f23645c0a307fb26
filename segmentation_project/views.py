"""The root, the page of problem types, and the answers outside any view."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from modelregistry.models import ActiveModel
from segmentation_project.problems import TITLES, problem_response


def root(request: HttpRequest) -> HttpResponse:
    """`GET /`: name, version, what serves, and where to read more."""
    if request.method not in ("GET", "HEAD"):
        response = problem_response(request, 405, "method-not-allowed", "Only GET is allowed here.")
        response.headers["Allow"] = "GET, HEAD"
        return response
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


@require_safe
def problem_types(request: HttpRequest) -> HttpResponse:
    """`GET /docs/problems`: what each `code` of a problem answer means."""
    return render(request, "problem_types.html", {"titles": sorted(TITLES.items())})


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_response(request, 400, "bad-request", "The request is not valid.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_response(request, 403, "forbidden", "This is not allowed.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_response(request, 404, "not-found", "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    return problem_response(request, 500, "internal-error", "The server failed; it is in the log.")
