"""Signing in to the admin, with the entry in the transaction of the session.

Who has a second factor is not signed in by the password alone: the session then only knows who
may send the code, for a few minutes.
"""

from __future__ import annotations

import time
import unicodedata
from datetime import timedelta
from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib.auth import load_backend, login
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.views.decorators.debug import sensitive_post_parameters
from unfold.widgets import UnfoldAdminTextInputWidget

from access import second_factor, sign_in_lock
from access.api import caller_of
from access.staff import actor_of
from access.traced_request import TracedRequest
from audit import trail
from audit.models import Outcome

SIGNED_IN, FAILED = "user.signed_in", "user.sign_in_failed"
LOCKED, CODE_ASKED = "user.sign_in_locked", "user.sign_in_code_asked"
PENDING = "sign_in_pending"
PENDING_SECONDS = 300
MAX_NAME = 150


class CodeForm(forms.Form):
    code = forms.CharField(
        label="Code from your authenticator app",
        max_length=20,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}
        ),
    )


class RecoveryCodeForm(forms.Form):
    code = forms.CharField(
        label="Recovery code",
        max_length=40,
        help_text="Each is good for one sign-in.",
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "off", "autocapitalize": "none", "autofocus": True}
        ),
    )


class SignInView(LoginView):
    """Django's own; the password is checked before the transaction, which would hold up writers."""

    attempts: sign_in_lock.Attempts

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        name = unicodedata.normalize("NFKC", request.POST.get("username", "")[:MAX_NAME]).strip()
        self.attempts = sign_in_lock.sign_in_attempts(request, name)
        wait = self.attempts.begin(request)
        if wait:
            record_refused(request, LOCKED, name, retry_after_seconds=wait)
            # Neither the name nor the password is looked at.
            form = self.get_form_class()(request, initial={"username": name})
            return too_many(self.render_to_response(self.get_context_data(form=form)), wait)
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        if second_factor.device_of(user) is not None:
            return self.ask_code(user)
        with transaction.atomic():
            response = super().form_valid(form)
            record_signed_in(self.request)
        self.attempts.forgive()
        sign_in_lock.remember_browser(self.request, response, user.get_username())
        return response

    def ask_code(self, user: User) -> HttpResponse:
        with transaction.atomic():
            self.request.session[PENDING] = {
                "user": user.pk,
                "backend": user.backend,
                "hash": user.get_session_auth_hash(),
                "until": time.time() + PENDING_SECONDS,
            }
            self.request.session.cycle_key()
            self.request.session.save()
            trail.record(
                CODE_ASKED,
                by=caller_of(cast(TracedRequest, self.request)),
                target=("user", user.get_username()),
            )
        query = urlencode({self.redirect_field_name: self.get_success_url()})
        return HttpResponseRedirect(f"{reverse('admin:sign_in_code')}?{query}")

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        self.attempts.failed(self.request)
        record_refused(self.request, FAILED, form.cleaned_data.get("username", ""))
        return super().form_invalid(form)


@method_decorator(sensitive_post_parameters(), name="dispatch")
class SignInCodeView(LoginView):
    """The second step: a code of the app, or with `?recovery=1` one of the recovery codes."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if pending_user(request) is None:
            return HttpResponseRedirect(reverse("admin:login"))
        return super().dispatch(request, *args, **kwargs)

    def get_form_class(self) -> Any:
        return RecoveryCodeForm if self.request.GET.get("recovery") else CodeForm

    def get_form_kwargs(self) -> dict[str, Any]:
        kwargs = super().get_form_kwargs()
        del kwargs["request"]
        return kwargs

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        given = {self.redirect_field_name: self.get_success_url()}
        is_recovery = bool(self.request.GET.get("recovery"))
        other = given if is_recovery else {**given, "recovery": "1"}
        return super().get_context_data(
            is_recovery=is_recovery, other_url=f"{self.request.path}?{urlencode(other)}", **kwargs
        )

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        user = cast(User, pending_user(request))
        name = user.get_username()
        attempts = sign_in_lock.sign_in_attempts(request, name)
        wait = attempts.begin(request)
        form = self.get_form()
        if wait:
            record_refused(request, LOCKED, name, step="code", retry_after_seconds=wait)
            form = self.get_form_class()()
            return too_many(self.render_to_response(self.get_context_data(form=form)), wait)
        if not form.is_valid():
            return self.refuse(form, attempts, name)
        with transaction.atomic():  # a code is used up only by a sign-in that was recorded
            used = second_factor.verify(user, form.cleaned_data["code"])
            if used:
                backend = request.session.pop(PENDING)["backend"]
                login(request, user, backend)
                left = {"codes_left": second_factor.n_codes_left(user)}
                record_signed_in(
                    request,
                    second_factor=used,
                    **(left if used == second_factor.RECOVERY else {}),
                )
        if not used:
            form.add_error("code", "This code is wrong, was used already or is too old.")
            return self.refuse(form, attempts, name)
        attempts.forgive()
        response = HttpResponseRedirect(self.get_success_url())
        sign_in_lock.remember_browser(request, response, name)
        return response

    def refuse(self, form: forms.Form, attempts: sign_in_lock.Attempts, name: str) -> HttpResponse:
        attempts.failed(self.request)
        record_refused(self.request, FAILED, name, step="code")
        return self.render_to_response(self.get_context_data(form=form))


def pending_user(request: HttpRequest) -> User | None:
    """Who gave the right password here and owes the code; None when that was too long ago."""
    pending = request.session.get(PENDING)
    if pending is None or pending["until"] < time.time():
        return None
    user = load_backend(pending["backend"]).get_user(pending["user"])
    if user is None or not constant_time_compare(user.get_session_auth_hash(), pending["hash"]):
        return None
    return user


def record_signed_in(request: HttpRequest, **details: Any) -> None:
    request.session.save()  # the middleware would, after the transaction
    name = request.user.get_username()
    trail.record(SIGNED_IN, by=actor_of(request), target=("user", name), details=details)


def record_refused(request: HttpRequest, action: str, typed: str, **details: Any) -> None:
    # People type passwords into the field of the name: only a name there is gets written down.
    name = typed if typed and User.objects.filter(username=typed).exists() else ""
    trail.record(
        action,
        by=caller_of(cast(TracedRequest, request)),
        target=("user", name),
        outcome=Outcome.REFUSED,
        details=details,
    )


def too_many(response: Any, wait: int) -> HttpResponse:
    """The page again, with when to come back."""
    response.status_code = 429
    response.headers["Retry-After"] = str(wait)
    response.context_data["locked"] = wait_in_words(wait)
    answer: HttpResponse = response
    return answer


def wait_in_words(seconds: int) -> str:
    minutes = -(-seconds // 60)
    ends_at = timezone.now() + timedelta(seconds=seconds)
    return (
        f"Too many attempts that failed. Try again in {minutes} "
        f"{'minute' if minutes == 1 else 'minutes'}, at {ends_at:%H:%M} {settings.TIME_ZONE}."
    )
