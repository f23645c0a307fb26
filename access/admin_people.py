"""Users and groups in the admin; Django's own forms, our trail."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from access import second_factor, sign_in_lock
from access.form_changes import CHANGED
from access.roles import ROLES
from access.staff import RecordedChanges, actor_of
from audit.models import ActorKind

# Two lists side by side, Django's own way of choosing, do not fit on a phone.
TICKS = UnfoldAdminCheckboxSelectMultipleWidget

admin.site.unregister(User)
admin.site.unregister(Group)


class ChangedBySuperusers:
    """Seen by permission and changed by superusers: who hands out rights could take them all."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser


class GroupsField(forms.ModelMultipleChoiceField):
    """Groups to tick, each with what it is for."""

    def label_from_instance(self, obj: Any) -> str:
        role = ROLES.get(obj.name)
        return f"{obj.name}: {role.sentence}" if role else obj.name


@admin.register(User)
class UserAdmin(ChangedBySuperusers, DjangoUserAdmin, RecordedChanges):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "full_name", "roles", "standing", "second_factor", "last_login"]
    list_filter = ["is_active", "is_superuser", "groups"]
    filter_horizontal = []
    readonly_fields = ["second_factor_state", "lock_state", "last_login", "date_joined"]
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("May do", {"fields": ["is_active", "is_staff", "is_superuser", "groups"]}),
        (
            "Sign-in",
            {"fields": ["second_factor_state", "lock_state", "last_login", "date_joined"]},
        ),
        ("Permissions beside those of the groups", {"fields": ["user_permissions"]}),
    ]
    add_fieldsets = [
        (
            None,
            {"fields": ["username", "usable_password", "password1", "password2"]},
        ),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("May do", {"fields": ["is_staff", "groups"]}),
    ]

    def audit_target(self, obj: Any) -> tuple[str, str]:
        return "user", obj.get_username()

    def audit_actor(self, obj: Any) -> tuple[str, str]:
        return ActorKind.USER.value, obj.get_username()

    def audit_details(self, obj: Any) -> dict[str, Any]:
        return {
            "is_active": obj.is_active,
            "is_staff": obj.is_staff,
            "is_superuser": obj.is_superuser,
            "groups": sorted(obj.groups.values_list("name", flat=True)),
            "permissions": names_of(obj.user_permissions),
        }

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        devices = TOTPDevice.objects.filter(user=OuterRef("pk"), confirmed=True)
        users: QuerySet[User] = super().get_queryset(request)
        return users.prefetch_related("groups").annotate(has_second_factor=Exists(devices))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"is_staff": True, **super().get_changeform_initial_data(request)}

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name != "groups":
            return super().formfield_for_manytomany(
                db_field, request, **{"widget": TICKS, **kwargs}
            )
        return GroupsField(
            queryset=Group.objects.order_by("name"),
            required=False,
            widget=TICKS,
            help_text="What a person may do is what all their groups may do together.",
        )

    @display(description="name", ordering="last_name")
    def full_name(self, user: User) -> str:
        return user.get_full_name() or "–"

    @display(description="groups")
    def roles(self, user: User) -> str:
        names = ", ".join(sorted(group.name for group in user.groups.all()))
        return format_html('<span class="seg-cell">{}</span>', names or "none")

    @display(
        description="standing",
        label={"superuser": "info", "staff": "success", "inactive": "danger"},
    )
    def standing(self, user: User) -> str:
        if not user.is_active:
            return "inactive"
        if user.is_superuser:
            return "superuser"
        return "staff" if user.is_staff else "no staff"

    @display(description="two-factor sign-in", boolean=True, ordering="has_second_factor")
    def second_factor(self, user: Any) -> bool:
        return bool(user.has_second_factor)

    @display(description="two-factor sign-in")
    def second_factor_state(self, user: User) -> str:
        device = second_factor.device_of(user)
        if device is None:
            return "off"
        page = reverse("admin:auth_user_remove_second_factor", args=[user.pk])
        since = f"{second_factor.enabled_at(device):%Y-%m-%d}"
        return format_html('on since {}, <a class="seg-link" href="{}">remove</a>', since, page)

    @display(description="lock")
    def lock_state(self, user: User) -> str:
        page = reverse("admin:auth_user_unlock", args=[user.pk])
        return format_html(
            'after too many failures, sign-in waits; <a class="seg-link" href="{}">unlock</a>', page
        )

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        mine = [
            path(
                "<id>/remove-second-factor/",
                wrap(self.remove_second_factor_view),
                name="auth_user_remove_second_factor",
            ),
            path("<id>/unlock/", wrap(self.unlock_view), name="auth_user_unlock"),
        ]
        return [*mine, *super().get_urls()]

    def remove_second_factor_view(self, request: HttpRequest, id: str) -> HttpResponse:
        user = self.changed_user(request, id)
        if user is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, id)
        if request.method != "POST":
            return self.confirmation(
                request,
                user,
                title=f"Remove the two-factor sign-in of {user}",
                intro="From then on the password alone signs them in, until they set it up again. "
                "Do this for somebody who lost the phone and the recovery codes, and only when "
                "you are sure who asks.",
                button="Remove it",
            )
        if second_factor.disable(user, by=actor_of(request), action=second_factor.REMOVED):
            messages.success(request, f"The two-factor sign-in of {user} is removed.")
        else:
            messages.error(request, f"{user} has no two-factor sign-in.")
        return HttpResponseRedirect(reverse("admin:auth_user_change", args=[user.pk]))

    def unlock_view(self, request: HttpRequest, id: str) -> HttpResponse:
        user = self.changed_user(request, id)
        if user is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, id)
        if request.method != "POST":
            return self.confirmation(
                request,
                user,
                title=f"Unlock the sign-in of {user}",
                intro="What failed under this name is forgotten, and they can try again at once. "
                "An address that tried many names stays locked.",
                button="Unlock",
            )
        sign_in_lock.unlock_name(user.get_username(), by=actor_of(request))
        messages.success(request, f"{user} can try to sign in again.")
        return HttpResponseRedirect(reverse("admin:auth_user_change", args=[user.pk]))

    def changed_user(self, request: HttpRequest, id: str) -> User | None:
        """The user, for who may change users."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        user: User | None = self.found(request, id)
        return user

    def confirmation(
        self, request: HttpRequest, user: User, *, title: str, intro: str, button: str
    ) -> HttpResponse:
        return self.page(
            request,
            "form.html",
            title=title,
            intro=[intro],
            form=forms.Form(),
            button=button,
            back=reverse("admin:auth_user_change", args=[user.pk]),
        )

    def construct_change_message(
        self, request: HttpRequest, form: Any, *args: Any, **kwargs: Any
    ) -> Any:
        if isinstance(form, AdminPasswordChangeForm):
            is_set = form.cleaned_data["set_usable_password"]
            return {"password": [None, CHANGED if is_set else "disabled"]}
        return super().construct_change_message(request, form, *args, **kwargs)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        if message.keys() == {"password"}:  # the same action as on the page for one's own
            self.record(request, "password_changed", obj, {"changes": message})
        else:
            super().log_change(request, obj, message)

    def get_actions(self, request: HttpRequest) -> Any:
        """Users are deleted one by one: the bulk action asks about no single one of them."""
        return {}

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        # Django saves the password outside any transaction.
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)


@admin.register(Group)
class GroupAdmin(ChangedBySuperusers, DjangoGroupAdmin, RecordedChanges):
    list_display = ["name", "purpose", "n_members"]
    filter_horizontal = []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        groups: QuerySet[Group] = super().get_queryset(request)
        return groups.annotate(n_users=Count("user"))

    def formfield_for_manytomany(
        self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any
    ) -> Any:
        return super().formfield_for_manytomany(db_field, request, **{"widget": TICKS, **kwargs})

    @display(description="for")
    def purpose(self, group: Group) -> str:
        role = ROLES.get(group.name)
        words = role.sentence if role else "a group of your own"
        return format_html('<span class="seg-cell">{}</span>', words)

    @display(description="members", ordering="n_users")
    def n_members(self, group: Any) -> int:
        return int(group.n_users)

    def audit_target(self, obj: Any) -> tuple[str, str]:
        return "group", obj.name

    def audit_details(self, obj: Any) -> dict[str, Any]:
        return {"permissions": names_of(obj.permissions)}


def names_of(permissions: Any) -> list[str]:
    rows = permissions.values_list("content_type__app_label", "codename")
    return sorted(f"{label}.{codename}" for label, codename in rows)
