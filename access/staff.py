"""Staff in the admin: who acts, the one audit entry of each change, and pages that only show.

The audit trail takes the place of Django's own admin log, which nobody else could read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.conf import settings
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin

from access.client_address import client_address
from access.form_changes import changes_of
from audit import trail
from audit.digests import ids_sha256
from audit.models import ActorKind
from audit.timeline import read_timeline

PAGES = "admin/segmentation"
VIEW_TRAIL = "audit.view_auditentry"
MAX_IDS = 200
"""Ids named in the entry of one deletion; all of them are counted."""


class StaffRequest(HttpRequest):
    """For annotations: a request after the middleware, from somebody who is signed in."""

    user: User
    request_id: str
    started: float
    issued_secret: str


def actor_of(request: HttpRequest) -> trail.Actor:
    """The signed-in person behind a request, as the trail knows them."""
    known = cast(StaffRequest, request)
    name = known.user.get_username()
    return trail.Actor(
        ActorKind.USER,
        id=name,
        label=known.user.get_full_name() or name,
        request_id=known.request_id,
        peer_address=known.META.get("REMOTE_ADDR", ""),
        address=client_address(known.META, trusted_proxy_count=settings.TRUSTED_PROXY_COUNT),
        started=known.started,
    )


def require(request: HttpRequest, *permissions: str) -> None:
    """Refuse who lacks one of the permissions."""
    if not request.user.has_perms(permissions):
        raise PermissionDenied


def submitted(request: HttpRequest) -> QueryDict | None:
    """The data of a form that was sent, however empty; None when it is only shown."""
    return request.POST if request.method == "POST" else None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for `table.html`; columns from `numbers_from` on are set flush right."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    numbers_from: int = 99
    empty: str = "Nothing here yet."


class StaffAdmin(ModelAdmin):
    """What all our admin pages share: rendering, and history in the audit trail."""

    list_per_page = 50
    timeline_note = ""
    """What the timelines of these objects leave out."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """The object's timeline: what the trail says was done to it or, `?by=it`, by it."""
        require(request, VIEW_TRAIL)
        obj = self.found(request, object_id)
        if obj is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        acts = self.audit_actor(obj)
        is_by = acts is not None and request.GET.get("by") == "it"
        names = ("actor_kind", "actor") if is_by else ("target_type", "target")
        filters = dict(zip(names, acts if is_by and acts else self.audit_target(obj), strict=True))
        with transaction.atomic():
            timeline = read_timeline(
                filters, cursor=request.GET.get("cursor", ""), by=actor_of(request)
            )
        return self.page(
            request,
            "timeline.html",
            title=f"Timeline of {obj}",
            object=obj,
            original=obj,
            timeline=timeline,
            note=self.timeline_note,
            acts=acts is not None,
            is_by=is_by,
        )

    def audit_target(self, obj: Any) -> tuple[str, str]:
        return str(self.opts.verbose_name).replace(" ", "_"), str(obj.pk)

    def audit_actor(self, obj: Any) -> tuple[str, str] | None:
        """As whom it acts itself, by kind and id; None for what does not act."""
        return None

    def timeline_link(self, request: HttpRequest, obj: Any) -> str:
        """The address of its timeline; empty for who may not read the trail."""
        if not request.user.has_perm(VIEW_TRAIL):
            return ""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_history"
        return reverse(name, args=[quote(obj.pk)])

    def object_urls(self, **views: Callable[..., HttpResponse]) -> list[URLPattern]:
        """`ID/verb/` for each view of one object, named `app_model_verb`; for staff."""
        return [
            path(
                f"<path:object_id>/{verb.replace('_', '-')}/",
                self.admin_site.admin_view(view),
                name=f"{self.opts.app_label}_{self.opts.model_name}_{verb}",
            )
            for verb, view in views.items()
        ]

    def page(
        self, request: HttpRequest, template: str, *, title: str, **context: Any
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            f"{PAGES}/{template}",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "opts": self.opts,
                "model_admin": self,
                "list_url": reverse(
                    f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
                ),
                **context,
            },
        )

    def found(self, request: HttpRequest, object_id: str) -> Any:
        """The object, for who may see it; None when there is none."""
        obj = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        return obj


class ReadOnlyAdmin(StaffAdmin):
    """A list and a page that shows; nothing is added, changed or deleted here."""

    page_template = ""
    actions: Any = None

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        obj = self.found(request, object_id)
        if obj is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        shown = {
            "title": str(obj),
            "object": obj,
            "original": obj,
            "timeline_link": self.timeline_link(request, obj),
        }
        return self.page(request, self.page_template, **shown | self.page_context(request, obj))

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {}


class RecordedChanges(StaffAdmin):
    """Adds, changes and deletions leave one audit entry each, in their own transaction."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self.record(request, "created", obj, self.audit_details(obj))

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self.record(request, "changed", obj, {"changes": message, **self.audit_details(obj)})

    def construct_change_message(
        self, request: HttpRequest, form: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """What Django hands on to `log_addition` and `log_change`."""
        return changes_of(form)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """One entry for one act, however many objects it deletes."""
        objects = list(queryset)
        if len(objects) == 1:
            self.record(request, "deleted", objects[0], {})
            return
        names = [self.audit_target(obj)[1] for obj in objects]
        kind = self.audit_target(objects[0])[0]
        trail.record(
            f"{kind}.deleted",
            by=actor_of(request),
            target=(kind, ""),
            n_items=len(objects),
            details={"ids": names[:MAX_IDS], "sha256": ids_sha256(names)},
        )

    def record(self, request: HttpRequest, verb: str, obj: Any, details: Mapping[str, Any]) -> None:
        target = self.audit_target(obj)
        trail.record(f"{target[0]}.{verb}", by=actor_of(request), target=target, details=details)

    def audit_details(self, obj: Any) -> dict[str, Any]:
        """What an auditor wants to know of the object as it is now; never a secret."""
        return {}

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        # Django leaves actions on a list outside any transaction.
        with transaction.atomic():
            return super().response_action(request, queryset)


def add_problem(form: Form, problem: Exception) -> None:
    """Show a refusal of the domain where the person pressed the button."""
    form.add_error(None, str(problem))
