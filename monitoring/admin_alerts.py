"""Alerts in the admin: look, acknowledge, silence, resolve."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from access.staff import ReadOnlyAdmin, actor_of, add_problem, require, submitted
from monitoring import alert_page, alerts
from monitoring.alerts import AlertConflict
from monitoring.models import Alert, AlertState

VIEW, CHANGE = "monitoring.view_alert", "monitoring.change_alert"
MAX_NOTE = 500
STATE_LABELS = {
    "firing": "danger",
    "pending": "warning",
    "acknowledged": "info",
    "silenced": "info",
    "resolved": "success",
}
LENGTHS = {"day": timedelta(days=1), "week": timedelta(weeks=1)}


class NoteForm(forms.Form):
    note = forms.CharField(
        required=False,
        max_length=MAX_NOTE,
        help_text="What you found, or why: kept in the alert's history. May be empty.",
        widget=UnfoldAdminTextareaWidget({"rows": 2}),
    )


class SilenceForm(NoteForm):
    length = forms.ChoiceField(
        label="For",
        choices=[("day", "one day"), ("week", "one week"), ("until", "until the moment below")],
        widget=UnfoldAdminSelectWidget,
    )
    until = forms.DateTimeField(
        required=False,
        label="Until (UTC)",
        help_text="Only for the last choice.",
        widget=UnfoldAdminTextInputWidget({"type": "datetime-local"}),
    )
    field_order = ["length", "until", "note"]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if data.get("length") == "until" and data.get("until") is None and not self.errors:
            self.add_error("until", "Say until when.")
        return data

    def ends_at(self, *, at: datetime) -> datetime:
        length = LENGTHS.get(self.cleaned_data["length"])
        ends_at: datetime = at + length if length else self.cleaned_data["until"]
        return ends_at


class StateFilter(admin.SimpleListFilter):
    """Unresolved alerts unless asked for others."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("all", "All"),
            (AlertState.FIRING.value, "Firing"),
            (AlertState.PENDING.value, "Not yet confirmed"),
            (AlertState.RESOLVED.value, "Resolved"),
        ]

    def choices(self, changelist: Any) -> Any:
        first, *others = super().choices(changelist)
        yield {**first, "display": "Unresolved"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        if self.value() is None:
            return queryset.exclude(state=AlertState.RESOLVED)
        return queryset if self.value() == "all" else queryset.filter(state=self.value())


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    page_template = "alert.html"
    list_display = [
        "shown_state",
        "shown_title",
        "kind",
        "version",
        "raised",
        "last_seen",
        "handled",
    ]
    list_display_links = ["shown_title"]
    list_filter = [StateFilter, "kind", "model_type"]
    list_select_related = ["version"]
    search_fields = ["title", "summary"]
    search_help_text = "Words of the title or of what is wrong"
    # "firing" comes before "pending" before "resolved".
    ordering = ["state", "-last_seen_at", "-id"]
    actions = ["acknowledge_selected", "resolve_selected"]

    def has_handle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perms([VIEW, CHANGE])

    @display(description="state", ordering="state", label=STATE_LABELS)
    def shown_state(self, alert: Alert) -> str:
        return alert_page.shown_state(alert, at=timezone.now())

    @display(description="title", ordering="title")
    def shown_title(self, alert: Alert) -> SafeString:
        return alert_page.cell(alert.title)

    @display(description="raised", ordering="raised_at")
    def raised(self, alert: Alert) -> str:
        return f"{alert.raised_at:{alert_page.MOMENT}}"

    @display(description="last seen", ordering="last_seen_at")
    def last_seen(self, alert: Alert) -> str:
        return f"{alert.last_seen_at:{alert_page.MOMENT}}"

    @display(description="taken note of")
    def handled(self, alert: Alert) -> str:
        return alert_page.handled(alert, at=timezone.now())

    def page_context(self, request: HttpRequest, obj: Alert) -> dict[str, Any]:
        at = timezone.now()
        see = request.user.has_perm
        return {
            **alert_page.context(
                obj, at=at, may_see_deliveries=see("monitoring.view_notification")
            ),
            "may_handle": self.has_handle_permission(request) and obj.state != AlertState.RESOLVED,
            "may_acknowledge": obj.acknowledged_at is None,
            "is_silenced": alert_page.is_silenced(obj, at=at),
            "may_see_report": see("monitoring.view_driftreport") and obj.report_id is not None,
            "may_see_version": see("modelregistry.view_modelversion")
            and obj.version_id is not None,
        }

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        pages = {
            "acknowledge": self.acknowledge_view,
            "silence": self.silence_view,
            "unsilence": self.unsilence_view,
            "resolve": self.resolve_view,
        }
        mine = [
            path(f"<path:object_id>/{verb}/", view(page), name=f"monitoring_alert_{verb}")
            for verb, page in pages.items()
        ]
        return [*mine, *super().get_urls()]

    def acknowledge_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed(
            request,
            object_id,
            NoteForm(submitted(request)),
            lambda alert, form, by, at: alerts.acknowledge(
                alert.pk, by=by, at=at, note=form.cleaned_data["note"]
            ),
            title="Acknowledge",
            line="It stays open, and no mail is sent about it again until it is resolved.",
            done="It is acknowledged.",
        )

    def silence_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        form = SilenceForm(submitted(request))
        return self.confirmed(
            request,
            object_id,
            form,
            lambda alert, _, by, at: alerts.silence(
                alert.pk, until=form.ends_at(at=at), by=by, at=at, note=form.cleaned_data["note"]
            ),
            title="Silence",
            line="Nobody is told of it for a time. The silence ends by itself.",
            done="It is silenced.",
        )

    def unsilence_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed(
            request,
            object_id,
            NoteForm(submitted(request)),
            lambda alert, form, by, at: alerts.unsilence(
                alert.pk, by=by, at=at, note=form.cleaned_data["note"]
            ),
            title="End the silence",
            line="If it still fires and nobody was told, it is in the next mail.",
            done="It is no longer silenced.",
        )

    def resolve_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed(
            request,
            object_id,
            NoteForm(submitted(request)),
            lambda alert, form, by, at: alerts.resolve(
                alert.pk, by=by, at=at, note=form.cleaned_data["note"]
            ),
            title="Resolve",
            line="It is closed by hand. Good checks close it by themselves; if the trouble is "
            "still there, the next check raises it again.",
            done="It is resolved.",
        )

    def confirmed(
        self,
        request: HttpRequest,
        object_id: str,
        form: forms.Form,
        carry_out: Callable[..., Any],
        *,
        title: str,
        line: str,
        done: str,
    ) -> HttpResponse:
        """Ask; when confirmed, do it and show the alert, or say why it was refused."""
        require(request, VIEW, CHANGE)
        alert = self.found(request, object_id)
        if alert is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        page = reverse("admin:monitoring_alert_change", args=[alert.pk])
        if request.method == "POST" and form.is_valid():
            try:
                carry_out(alert, form, actor_of(request), timezone.now())
            except AlertConflict as error:
                add_problem(form, error)
            else:
                messages.success(request, done)
                return HttpResponseRedirect(page)
        return self.page(
            request,
            "form.html",
            title=f"{title}: {alert.title}",
            form=form,
            intro=[line],
            button=title,
            back=page,
            back_label="Back to the alert",
        )

    @action(description="Acknowledge the selected alerts", permissions=["handle"])
    def acknowledge_selected(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        self.handle_selected(request, queryset, alerts.acknowledge_all, done="acknowledged")

    @action(description="Resolve the selected alerts", permissions=["handle"])
    def resolve_selected(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        self.handle_selected(request, queryset, alerts.resolve_all, done="resolved")

    def handle_selected(
        self,
        request: HttpRequest,
        queryset: QuerySet[Alert],
        carry_out: Callable[..., Any],
        *,
        done: str,
    ) -> None:
        chosen = list(queryset.values_list("pk", flat=True))
        try:
            carry_out(chosen, by=actor_of(request), at=timezone.now())
        except AlertConflict as error:
            messages.error(request, f"Nothing was changed. {error}")
            return
        words = "1 alert is" if len(chosen) == 1 else f"{len(chosen):,} alerts are"
        messages.success(request, f"{words} {done}.")
