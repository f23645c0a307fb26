"""A key or token in an address of the admin: refused before any page, the login's among them."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from segmentation_project.views import refused_key_in_url, shows_secret


def refuse_keys(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def guarded(request: HttpRequest) -> HttpResponse:
        if request.path.startswith("/admin/") and shows_secret(request):
            return refused_key_in_url(request)
        return get_response(request)

    return guarded
