"""The audit log: read, searched, filtered and exported; nobody writes here."""

from __future__ import annotations

import base64
from datetime import datetime, time, timedelta
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.db import transaction
from django.db.models import QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import URLPattern, path, reverse
from django.utils.timezone import make_aware
from unfold.contrib.filters.admin import DropdownFilter, RangeDateFilter, TextFilter
from unfold.decorators import display
from unfold.utils import parse_date_str
from unfold.views import ChangeList

from access.figures import figure
from access.staff import PAGES, ReadOnlyAdmin, actor_of, require
from audit.csv_export import export_entries
from audit.entry_page import MAX_DIGITS, UNREADABLE, entry_context
from audit.filters import LOOKUPS, fingerprint, names_in, narrowed
from audit.models import ActorKind, AuditEntry, Outcome
from audit.pages import BadCursor, Page, page_of, place_of
from audit.reading import record_reading
from audit.search import MAX_PHRASE, TooManyNames
from audit.stored_moments import fetched
from segments.spreadsheet_cells import safe_text
from segments.views_export import Download, slots

CURSOR = "cursor"
PARAMETERS = {*LOOKUPS, "q", "at_from", "at_to"} - {"since", "until"}
VIEW = "audit.view_auditentry"


class Filter:
    """One of `audit.filters`, by the name that it has there."""

    parameter_name: str

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry]
    ) -> QuerySet[AuditEntry]:
        value = self.value()  # type: ignore[attr-defined]
        if value and "\0" in value:
            raise IncorrectLookupParameters(self.parameter_name)
        return queryset  # `TrailList` narrows it by all of them at once


class ActorFilter(Filter, TextFilter):
    title, parameter_name = "id of the actor", "actor"


class TargetFilter(Filter, TextFilter):
    title, parameter_name = "id of the target", "target"


class RequestFilter(Filter, TextFilter):
    title, parameter_name = "request id", "request_id"


class ActorKindFilter(Filter, DropdownFilter):
    title, parameter_name = "kind of actor", "actor_kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(ActorKind.choices)


class OutcomeFilter(Filter, DropdownFilter):
    title, parameter_name = "outcome", "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Outcome.choices)


class ActionFilter(Filter, DropdownFilter):
    title, parameter_name = "action", "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in names_in("action")]


class TargetTypeFilter(Filter, DropdownFilter):
    title, parameter_name = "kind of target", "target_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name.replace("_", " ")) for name in names_in("target_type")]


class DayRangeFilter(RangeDateFilter):
    """From the beginning of one day to the end of another; Unfold's own drops the last day."""

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry]
    ) -> QuerySet[AuditEntry]:
        for suffix, lookup, n_days in (("from", "gte", 0), ("to", "lt", 1)):
            text = self.used_parameters.get(f"{self.parameter_name}_{suffix}")
            if not text:
                continue
            day = parse_date_str(text)
            if day is None:
                raise IncorrectLookupParameters(text)
            try:
                moment = make_aware(datetime.combine(day, time.min)) + timedelta(days=n_days)
            except OverflowError as error:
                raise IncorrectLookupParameters(text) from error
            queryset = queryset.filter(**{f"{self.field_path}__{lookup}": moment})
        return queryset


class TrailList(ChangeList):
    """Pages by key, newest first; `given` are the filters in use, by parameter."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        # No filter, and no part of the links that begin another list.
        for params in (self.params, self.filter_params):
            params.pop(CURSOR, None)
        return narrowed(super().get_queryset(request, exclude_parameters), self.params)

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[str]:
        return ["-at", "-id"]

    def get_results(self, request: HttpRequest) -> None:
        self.given = {
            name: value for name, value in self.params.items() if value and name in PARAMETERS
        }
        own = fingerprint(self.given)
        try:
            place = place_of(request.GET[CURSOR], own) if CURSOR in request.GET else None
        except BadCursor:  # the form of filters sends that of the page before along
            place = None
        try:
            page = page_of(
                self.queryset, size=self.list_per_page, place=place, phrase=self.query[:MAX_PHRASE]
            )
        except TooManyNames as error:
            messages.warning(request, f"What you look for {error}.")
            page = Page([], None, None)
        self.result_list = page.entries
        self.result_count = len(page.entries)
        self.older, self.newer = (
            self.get_query_string({CURSOR: place.cursor(own)}) if place else ""
            for place in (page.older, page.newer)
        )
        self.paginator = SimpleNamespace(template_name=f"{PAGES}/older_newer.html")
        # The trail only grows: nothing is counted, and no page shows the count of its own rows.
        self.full_result_count = self.result_count
        self.show_full_result_count = False
        self.show_admin_actions = self.can_show_all = self.multi_page = False


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    page_template = "audit_entry.html"
    list_display = ["moment", "action", "actor", "target", "shown_outcome", "items", "address"]
    sortable_by = ()
    list_filter = [
        ActorFilter,
        ActorKindFilter,
        ActionFilter,
        TargetTypeFilter,
        TargetFilter,
        OutcomeFilter,
        RequestFilter,
        ("at", DayRangeFilter),
    ]
    list_filter_submit = True
    list_before_template = f"{PAGES}/audit_list_buttons.html"
    search_fields = ["actor_id"]  # shows the box; `audit.search` does the looking
    search_help_text = "Who or what, or a whole target or request id"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would count the whole trail

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Others would read the whole trail."""
        return lookup in PARAMETERS

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[TrailList]:
        return TrailList

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        return queryset, False  # the pages are searched

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> AuditEntry | None:
        is_id = object_id.isascii() and object_id.isdigit() and len(object_id) <= MAX_DIGITS
        found = fetched(self.get_queryset(request).filter(pk=int(object_id))) if is_id else []
        return found[0] if found else None

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(self.export_view)
        return [path("export/", export, name="audit_auditentry_export"), *super().get_urls()]

    def timeline_link(self, request: HttpRequest, obj: Any) -> str:
        return ""  # nothing is done to an entry

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        with transaction.atomic():
            response = super().changelist_view(request, extra_context)
            shown = (getattr(response, "context_data", None) or {}).get("cl")
            if shown is not None:
                record_reading(
                    by=actor_of(request), n_items=shown.result_count, filters=shown.given
                )
        return response

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        with transaction.atomic():
            response = super().change_view(request, object_id, form_url, extra_context)
            if response.status_code == 200:
                record_reading(by=actor_of(request), n_items=1, filters={"entry": object_id})
        return response

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """The filtered list, all pages of it, as CSV."""
        require(request, VIEW)
        all_entries = reverse("admin:audit_auditentry_changelist")
        try:
            found = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{all_entries}?e=1")
        if not slots.acquire(blocking=False):
            messages.warning(request, "As many exports as possible are under way; try again soon.")
            return HttpResponseRedirect(f"{all_entries}{found.get_query_string()}")
        try:
            exported = export_entries(
                found.queryset,
                phrase=found.query[:MAX_PHRASE],
                filters=found.given,
                safe_text=safe_text,
                directory=settings.DATA_DIR,
                by=actor_of(request),
            )
        except TooManyNames:  # the list says so
            slots.release()
            return HttpResponseRedirect(f"{all_entries}{found.get_query_string()}")
        except BaseException:
            slots.release()
            raise
        digest = base64.b64encode(exported.sha256).decode()
        return StreamingHttpResponse(
            Download(exported.content),
            headers={
                "Content-Type": "text/csv; charset=utf-8; header=present",
                "Content-Disposition": 'attachment; filename="audit-log.csv"',
                "Content-Length": str(exported.n_bytes),
                "Repr-Digest": f"sha-256=:{digest}:",
            },
        )

    @display(description="at")
    def moment(self, entry: AuditEntry) -> str:
        return f"{entry.at:%Y-%m-%d %H:%M:%S}" if entry.at else UNREADABLE

    @display(description="who")
    def actor(self, entry: AuditEntry) -> str:
        return entry.actor_label or entry.get_actor_kind_display()

    @display(description="items")
    def items(self, entry: AuditEntry) -> str:
        return figure(entry.n_items)

    @display(description="on what")
    def target(self, entry: AuditEntry) -> str:
        return f"{entry.target_type.replace('_', ' ')} {entry.target_id}".strip()

    @display(
        description="outcome",
        label={
            Outcome.SUCCEEDED.value: "success",
            Outcome.REFUSED.value: "warning",
            Outcome.FAILED.value: "danger",
        },
    )
    def shown_outcome(self, entry: AuditEntry) -> str:
        return entry.outcome

    def page_context(self, request: HttpRequest, obj: AuditEntry) -> dict[str, Any]:
        return entry_context(request, obj)
