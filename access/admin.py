"""API keys in the admin; what libraries register of their own is taken away."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_q.models import Failure, OrmQ, Schedule, Success
from rest_framework_api_key.models import APIKey as StockApiKey
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from access import admin_people  # noqa: F401  registers users and groups
from access.keys import (
    MAX_OVERLAP_HOURS,
    OVERLAP_HOURS,
    issue,
    refuse_past_expiry,
    refuse_rotation,
    revoke,
    rotate,
)
from access.models import ApiKey
from access.scopes import Scope
from access.staff import (
    ReadOnlyAdmin,
    StaffRequest,
    actor_of,
    require,
    submitted,
)
from audit.models import ActorKind

# Our keys are `access.ApiKey`; the library's own table is not used.
admin.site.unregister(StockApiKey)
# Their payloads are pickles: who edits them runs code on the server.
for model in (Failure, OrmQ, Schedule, Success):
    admin.site.unregister(model)
# Its pages show the secrets of second factors.
admin.site.unregister(TOTPDevice)


SCOPE_PERMISSIONS = {Scope.AUDIT_READ: "audit.view_auditentry"}
"""What staff must be allowed themselves to put the scope into the hands of a key."""


def scopes_withheld_from(request: HttpRequest) -> frozenset[str]:
    """What this member of staff may not hand out."""
    return frozenset(
        scope
        for scope, permission in SCOPE_PERMISSIONS.items()
        if not request.user.has_perm(permission)
    )


class ApiKeyForm(forms.ModelForm):
    withheld_scopes: frozenset[str] = frozenset()

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="A key without a scope may do nothing.",
    )

    class Meta:
        model = ApiKey
        fields = ["name", "scopes", "rate", "expiry_date"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        scopes = cast(forms.MultipleChoiceField, self.fields["scopes"])
        scopes.choices = [
            choice for choice in Scope.choices if choice[0] not in self.withheld_scopes
        ]

    def clean_scopes(self) -> list[str]:
        return sorted(self.cleaned_data["scopes"])

    def clean_expiry_date(self) -> Any:
        expires_at = self.cleaned_data["expiry_date"]
        refuse_past_expiry(expires_at)
        return expires_at


class RotateForm(forms.Form):
    overlap_hours = forms.IntegerField(
        label="Hours until the old key ends",
        initial=OVERLAP_HOURS,
        min_value=0,
        max_value=MAX_OVERLAP_HOURS,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
        help_text="Both keys work until then; 0 ends the old one now.",
    )


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Keys are issued, rotated and revoked, never edited: their users would not notice a change."""

    form = ApiKeyForm
    page_template = "api_key.html"
    list_display = ["name", "prefix", "status", "scope_names", "rate", "expires", "last_used"]
    list_select_related = ["rotated_to"]
    list_filter = ["revoked"]
    search_fields = ["name", "prefix"]
    ordering = ["-created", "prefix"]
    fields = ["name", "scopes", "rate", "expiry_date"]

    def audit_target(self, obj: ApiKey) -> tuple[str, str]:
        return "api_key", obj.prefix

    def audit_actor(self, obj: ApiKey) -> tuple[str, str]:
        return ActorKind.API_KEY.value, obj.prefix

    @display(description="scopes")
    def scope_names(self, key: ApiKey) -> str:
        return format_html('<span class="seg-cell">{}</span>', ", ".join(key.scopes) or "none")

    @display(description="expires", ordering="expiry_date")
    def expires(self, key: ApiKey) -> Any:
        return key.expiry_date or "never"

    @display(description="last used", ordering="last_used_at")
    def last_used(self, key: ApiKey) -> Any:
        return key.last_used_at or "never"

    @display(
        description="status",
        label={"usable": "success", "rotated": "warning", "revoked": "danger"},
    )
    def status(self, key: ApiKey) -> str:
        if key.revoked:
            return "revoked"
        if key.has_expired:
            return "expired"
        return "rotated" if successor_of(key) else "usable"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("access.add_apikey")

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> type[ApiKeyForm]:
        form: type[ApiKeyForm] = super().get_form(request, *args, **kwargs)  # this request's own
        form.withheld_scopes = scopes_withheld_from(request)
        return form

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        # Whichever button is pressed, the next page shows the secret.
        hidden = {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().add_view(request, form_url, {**(extra_context or {}), **hidden})

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        cast(StaffRequest, request).issued_secret = issue(obj, by=actor_of(request))

    def log_addition(self, request: HttpRequest, obj: ApiKey, message: Any) -> Any:
        """`issue` recorded it."""

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The secret goes into this answer alone: not into a message, a cookie or a session."""
        return self.page(
            request,
            "api_key_issued.html",
            title=f"{obj.name} is issued",
            object=obj,
            secret=cast(StaffRequest, request).issued_secret,
        )

    def page_context(self, request: HttpRequest, obj: ApiKey) -> dict[str, Any]:
        return {
            "title": obj.name,
            "facts": [
                ("Prefix", obj.prefix),
                ("Status", self.status(obj)),
                ("Scopes", ", ".join(obj.scopes) or "none"),
                ("Rate", obj.rate or "the default"),
                ("Created", obj.created),
                ("Expires", self.expires(obj)),
                ("Last used", self.last_used(obj)),
                ("Takes the place of", link_to(obj.rotated_from)),
                ("Gives way to", link_to(successor_of(obj))),
            ],
            "may_rotate": self.status(obj) == "usable" and may_rotate(request, obj),
            "may_revoke": not obj.revoked and request.user.has_perm("access.change_apikey"),
        }

    def get_urls(self) -> list[URLPattern]:
        mine = self.object_urls(revoke=self.revoke_view, rotate=self.rotate_view)
        return [*mine, *super().get_urls()]

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = self.found(request, object_id)
        if key is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not may_rotate(request, key):
            raise PermissionDenied
        page = reverse("admin:access_apikey_change", args=[key.pk])
        try:
            refuse_rotation(key, overlap_hours=OVERLAP_HOURS)
        except ValidationError as refusal:
            messages.error(request, refusal.message)
            return HttpResponseRedirect(page)
        form = RotateForm(submitted(request))
        if form.is_valid():
            try:
                new, secret = rotate(key, by=actor_of(request), **form.cleaned_data)
            except ValidationError as refusal:
                form.add_error(None, refusal)
            else:
                key.refresh_from_db()
                return self.page(
                    request,
                    "api_key_issued.html",
                    title=f"{new.name} is rotated",
                    object=new,
                    secret=secret,
                    old=key,
                )
        return self.page(
            request,
            "form.html",
            title=f"Rotate {key.name}",
            intro=[
                f"A new key with the same name, scopes and rate takes the place of {key.prefix}. "
                "Give it to whoever uses the old one before that ends."
            ],
            form=form,
            button="Issue the new key",
            back=page,
        )

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        require(request, "access.change_apikey")
        key = self.found(request, object_id)
        if key is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        page = reverse("admin:access_apikey_change", args=[key.pk])
        if request.method == "POST":
            revoke(key, by=actor_of(request))
            messages.success(request, f"{key.name} is revoked.")
            return HttpResponseRedirect(page)
        return self.page(
            request,
            "form.html",
            title=f"Revoke {key.name}",
            intro=[f"Whoever uses the key {key.prefix} is refused at once. This is not undone."],
            form=forms.Form(),
            button="Revoke the key",
            danger=True,
            back=page,
        )


def successor_of(key: ApiKey) -> ApiKey | None:
    return getattr(key, "rotated_to", None)  # without one, the reverse side is an AttributeError


def link_to(key: ApiKey | None) -> str:
    if key is None:
        return "no other key"
    page = reverse("admin:access_apikey_change", args=[key.pk])
    return format_html('<a href="{}">{}</a>', page, key.pk)


def may_rotate(request: HttpRequest, key: ApiKey) -> bool:
    """It ends one key and shows the secret of another, with all the scopes of the first."""
    is_staff_for_it = request.user.has_perms(["access.add_apikey", "access.change_apikey"])
    return is_staff_for_it and not scopes_withheld_from(request) & set(key.scopes)
