"""Signing in to the admin, with the entry in the transaction of the session."""

from __future__ import annotations

from typing import cast

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.db import transaction
from django.http import HttpResponse

from access.api import caller_of
from access.staff import actor_of
from access.traced_request import TracedRequest
from audit import trail
from audit.models import Outcome

SIGNED_IN, FAILED = "user.signed_in", "user.sign_in_failed"


class SignInView(LoginView):
    """Django's own; the password is checked before the transaction, which would hold up writers."""

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            self.request.session.save()  # the middleware would, after the transaction
            name = self.request.user.get_username()
            trail.record(SIGNED_IN, by=actor_of(self.request), target=("user", name))
        return response

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        typed = form.cleaned_data.get("username", "")
        # People type passwords into the field of the name: only a name there is gets written down.
        name = typed if User.objects.filter(username=typed).exists() else ""
        trail.record(
            FAILED,
            by=caller_of(cast(TracedRequest, self.request)),
            target=("user", name),
            outcome=Outcome.REFUSED,
        )
        return super().form_invalid(form)
