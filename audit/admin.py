"""The audit log: read, searched and filtered; nobody writes here."""

from __future__ import annotations

import json
from datetime import datetime, time, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.timezone import make_aware
from unfold.contrib.filters.admin import RangeDateFilter
from unfold.decorators import display
from unfold.paginator import InfinitePaginator
from unfold.utils import parse_date_str

from access.figures import figure
from access.staff import ReadOnlyAdmin
from audit.models import AuditEntry, Outcome


class ActionFilter(admin.SimpleListFilter):
    """The actions that the trail holds; read off its index."""

    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        actions = AuditEntry.objects.order_by("action").values_list("action", flat=True)
        return [(action, action) for action in actions.distinct()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry]
    ) -> QuerySet[AuditEntry]:
        return queryset.filter(action=self.value()) if self.value() else queryset


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
            moment = make_aware(datetime.combine(day, time.min)) + timedelta(days=n_days)
            queryset = queryset.filter(**{f"{self.field_path}__{lookup}": moment})
        return queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    page_template = "audit_entry.html"
    list_display = ["at", "action", "actor", "target", "shown_outcome", "items", "address"]
    list_filter = [ActionFilter, "actor_kind", "outcome", ("at", DayRangeFilter)]
    list_filter_submit = True
    search_fields = ["=request_id", "actor_label", "actor_id", "target_id", "action"]
    search_help_text = "Who, what or a request id"
    # The trail only grows: its pages are not counted.
    paginator = InfinitePaginator
    show_full_result_count = False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        if lookup in ("target_type", "target_id"):
            return True
        return super().lookup_allowed(lookup, value, request)

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
        ordering="outcome",
        label={
            Outcome.SUCCEEDED.value: "success",
            Outcome.REFUSED.value: "warning",
            Outcome.FAILED.value: "danger",
        },
    )
    def shown_outcome(self, entry: AuditEntry) -> str:
        return entry.outcome

    def page_context(self, request: HttpRequest, obj: AuditEntry) -> dict[str, Any]:
        return {
            "title": f"Audit entry {obj.pk}",
            "facts": [
                (str(field.verbose_name).capitalize(), value)
                for field in AuditEntry._meta.fields
                if field.name != "details" and (value := getattr(obj, field.name)) not in (None, "")
            ],
            "details": json.dumps(json.loads(obj.details), indent=2, ensure_ascii=False),
        }
