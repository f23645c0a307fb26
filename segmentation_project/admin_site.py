"""The admin site: a home page of what serves; sessions and passwords that leave their entries."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from unfold.sites import UnfoldAdminSite

from access import second_factor, sign_in_lock
from access.staff import PAGES, actor_of, require
from audit import trail
from audit.models import Outcome
from segmentation_project import home_jobs, home_page, settings_page, two_factor
from segmentation_project.sign_in import SignInCodeView, SignInView, wait_in_words

TWO_FACTOR: list[tuple[str, Callable[[HttpRequest], HttpResponse], str]] = [
    ("", two_factor.overview, "two_factor"),
    ("set-up/", two_factor.set_up, "two_factor_set_up"),
    ("confirm/", two_factor.confirm, "two_factor_confirm"),
    ("codes/", two_factor.renew_codes, "two_factor_codes"),
    ("off/", two_factor.turn_off, "two_factor_off"),
]
BEFORE_ENROLMENT = {*(name for _, _, name in TWO_FACTOR), "logout", "password_change", "jsi18n"}
"""What staff without a second factor may open where REQUIRE_TOTP asks for one."""


class SegmentationAdminSite(UnfoldAdminSite):
    index_title = "Overview"
    index_template = "admin/segmentation/home.html"

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        return super().index(request, {**home_page.context(request), **(extra_context or {})})

    def get_urls(self) -> list[URLPattern | URLResolver]:
        mine: list[URLPattern | URLResolver] = [
            path("jobs-under-way/", self.admin_view(self.jobs_under_way), name="jobs_under_way"),
            path("settings/", self.admin_view(self.settings_in_force), name="settings"),
            path("login/code/", self.sign_in_code, name="sign_in_code"),
            *[
                path(f"two-factor/{place}", self.admin_view(view), name=name)
                for place, view, name in TWO_FACTOR
            ],
        ]
        return [*mine, *super().get_urls()]

    def admin_view(self, view: Any, *options: Any, **named: Any) -> Any:
        """With REQUIRE_TOTP, lead staff without a second factor to the page that sets it up."""
        inner = super().admin_view(view, *options, **named)

        @functools.wraps(inner)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if settings.REQUIRE_TOTP and self.has_permission(request):
                match = request.resolver_match
                is_free = match is not None and match.url_name in BEFORE_ENROLMENT
                if not is_free and second_factor.device_of(cast(User, request.user)) is None:
                    return HttpResponseRedirect(reverse("admin:two_factor"))
            return inner(request, *args, **kwargs)

        return guarded

    def jobs_under_way(self, request: HttpRequest) -> HttpResponse:
        """The part of the overview that looks again by itself."""
        if not home_jobs.may_see(request):
            raise PermissionDenied
        shown = home_jobs.context(request, at=timezone.now())
        return TemplateResponse(request, f"{PAGES}/home_jobs.html", shown)

    def settings_in_force(self, request: HttpRequest) -> HttpResponse:
        require(request, settings_page.VIEW)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        shown = {**self.each_context(request), **settings_page.context()}
        return TemplateResponse(request, f"{PAGES}/settings.html", shown)

    @method_decorator(never_cache)
    @login_not_required
    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Django's page, whose view cannot be exchanged, with a view that records."""
        index = reverse("admin:index", current_app=self.name)
        if request.method == "GET" and self.has_permission(request):
            return HttpResponseRedirect(index)
        context = {
            **self.each_context(request),
            "title": "Log in",
            "subtitle": None,
            "app_path": request.get_full_path(),
            "username": request.user.get_username(),
            **(extra_context or {}),
        }
        if not {REDIRECT_FIELD_NAME} & {*request.GET, *request.POST}:
            context[REDIRECT_FIELD_NAME] = index
        request.current_app = self.name
        return SignInView.as_view(
            extra_context=context,
            authentication_form=self.login_form,
            template_name="admin/login.html",
        )(request)

    @method_decorator(never_cache)
    @login_not_required
    def sign_in_code(self, request: HttpRequest) -> HttpResponseBase:
        """The second step of signing in, for who has a second factor."""
        context = {**self.each_context(request), "title": "Your code", "subtitle": None}
        request.current_app = self.name
        return SignInCodeView.as_view(
            extra_context=context, template_name=f"{PAGES}/sign_in_code.html"
        )(request)

    def logout(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        with transaction.atomic():
            if request.method == "POST":  # before the session goes, which says who it was
                name = request.user.get_username()
                trail.record("user.signed_out", by=actor_of(request), target=("user", name))
            return super().logout(request, extra_context)

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        attempts = sign_in_lock.own_password_attempts(cast(User, request.user).pk)
        wait = attempts.begin(request) if request.method == "POST" else 0
        if wait:
            record_password_change(request, Outcome.REFUSED)
            messages.error(request, wait_in_words(wait))
            return HttpResponseRedirect(reverse("admin:password_change"))
        with transaction.atomic():
            response = super().password_change(request, extra_context)
            if request.method == "POST":
                is_done = response.status_code == 302  # else the form is shown again
                if is_done:
                    attempts.forgive()
                record_password_change(request, Outcome.SUCCEEDED if is_done else Outcome.REFUSED)
        return response


def record_password_change(request: HttpRequest, outcome: Outcome) -> None:
    target = ("user", request.user.get_username())
    trail.record("user.password_changed", by=actor_of(request), target=target, outcome=outcome)
