"""The page of one's own second factor at sign-in: set up, confirm, renew the codes, turn off.

Each change asks for the password: who finds a browser signed in cannot enrol a phone of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import segno
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.views.decorators.debug import sensitive_post_parameters
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.widgets import UnfoldAdminPasswordWidget

from access import second_factor, sign_in_lock
from access.staff import PAGES, actor_of, submitted
from audit import trail
from audit.models import Outcome
from segmentation_project.sign_in import CodeForm, wait_in_words

DEVICE = "second_factor_device"
QR_WORDS = "QR code that an authenticator app scans; the key in words stands below it"


class PasswordForm(forms.Form):
    password = forms.CharField(
        label="Your password",
        max_length=4096,
        strip=False,
        widget=UnfoldAdminPasswordWidget(
            attrs={"autocomplete": "current-password", "autofocus": True}
        ),
    )


def overview(request: HttpRequest) -> HttpResponse:
    device = second_factor.device_of(cast(User, request.user))
    return shown(
        request,
        "two_factor.html",
        title="Two-factor sign-in",
        enabled_at=device and second_factor.enabled_at(device),
        codes_left=second_factor.n_codes_left(cast(User, request.user)),
        required=settings.REQUIRE_TOTP,
    )


@sensitive_post_parameters()
def set_up(request: HttpRequest) -> HttpResponse:
    """Ask for the password, then show a fresh secret."""
    form, is_right = password_asked(request, second_factor.BEGUN)
    if is_right:
        try:
            device = second_factor.begin(cast(User, request.user), by=actor_of(request))
        except second_factor.AlreadyEnabled:
            return already_on(request)
        request.session[DEVICE] = device.pk
        return secret_page(request, device, CodeForm())
    return password_page(
        request,
        form,
        title="Set up two-factor sign-in",
        intro="You need an authenticator app on your phone or in your password manager.",
        button="Continue",
    )


def confirm(request: HttpRequest) -> HttpResponse:
    """Turn it on with the first code, and show the recovery codes."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    user = cast(User, request.user)
    device = TOTPDevice.objects.filter(
        pk=request.session.get(DEVICE), user=user, confirmed=False
    ).first()
    if device is None:
        messages.error(request, "That was begun elsewhere or too long ago. Please begin again.")
        return HttpResponseRedirect(reverse("admin:two_factor"))
    form = CodeForm(request.POST)
    codes = None
    if form.is_valid():
        try:
            codes = second_factor.confirm(device, form.cleaned_data["code"], by=actor_of(request))
        except second_factor.AlreadyEnabled:
            return already_on(request)
    if codes is None:
        form.add_error("code", "This code is wrong. Is the clock of the phone right?")
        record_refused(request, second_factor.ENABLED)
        return secret_page(request, device, form)
    del request.session[DEVICE]
    return codes_page(request, codes, title="Two-factor sign-in is on")


@sensitive_post_parameters()
def renew_codes(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    if second_factor.device_of(user) is None:
        return HttpResponseRedirect(reverse("admin:two_factor"))
    form, is_right = password_asked(request, second_factor.RENEWED)
    if is_right:
        codes = second_factor.renew_codes(user, by=actor_of(request))
        return codes_page(request, codes, title="New recovery codes")
    return password_page(
        request,
        form,
        title="New recovery codes",
        intro="The codes that you have end, and you get ten new ones.",
        button="Make new codes",
    )


@sensitive_post_parameters()
def turn_off(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    if second_factor.device_of(user) is None:
        return HttpResponseRedirect(reverse("admin:two_factor"))
    form, is_right = password_asked(request, second_factor.DISABLED)
    if is_right:
        second_factor.disable(user, by=actor_of(request))
        messages.success(request, "Two-factor sign-in is off.")
        return HttpResponseRedirect(reverse("admin:two_factor"))
    return password_page(
        request,
        form,
        title="Turn two-factor sign-in off",
        intro="Your password alone signs you in from then on, and the recovery codes end.",
        button="Turn it off",
        danger=True,
    )


def password_asked(request: HttpRequest, action: str) -> tuple[PasswordForm, bool]:
    """The form, and whether the right password was sent; each wrong one is counted and recorded."""
    form = PasswordForm(submitted(request))
    if request.method != "POST":
        return form, False
    user = cast(User, request.user)
    attempts = sign_in_lock.own_password_attempts(user.pk)
    wait = attempts.begin(request)
    if wait:
        form.add_error(None, wait_in_words(wait))
    elif form.is_valid():
        if user.check_password(form.cleaned_data["password"]):
            attempts.forgive()
            return form, True
        form.add_error("password", "This is not your password.")
    record_refused(request, action)
    return form, False


def record_refused(request: HttpRequest, action: str) -> None:
    name = request.user.get_username()
    trail.record(action, by=actor_of(request), target=("user", name), outcome=Outcome.REFUSED)


def already_on(request: HttpRequest) -> HttpResponse:
    messages.error(request, "Two-factor sign-in is on already; turn it off to set up another.")
    return HttpResponseRedirect(reverse("admin:two_factor"))


def secret_page(request: HttpRequest, device: TOTPDevice, form: CodeForm) -> HttpResponse:
    code = segno.make(device.config_url, error="m")
    svg = code.svg_inline(border=4, omitsize=True, dark="#000", light="#fff", title=QR_WORDS)
    return shown(
        request,
        "two_factor_secret.html",
        title="Set up two-factor sign-in",
        qr_code=mark_safe(svg),  # of a text that was percent-encoded, as numbers of modules
        key=second_factor.key_text(device),
        form=form,
    )


def codes_page(request: HttpRequest, codes: list[str], *, title: str) -> HttpResponse:
    return shown(request, "two_factor_codes.html", title=title, codes=codes)


def password_page(request: HttpRequest, form: PasswordForm, **words: Any) -> HttpResponse:
    intro = [words.pop("intro")]
    back = reverse("admin:two_factor")
    return shown(request, "form.html", form=form, intro=intro, back=back, list_url=back, **words)


def shown(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    site: Mapping[str, Any] = admin.site.each_context(request)
    return TemplateResponse(request, f"{PAGES}/{template}", {**site, **context})
