"""Alerts in the admin: look, acknowledge, silence, resolve."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from access.staff import PAGES, ReadOnlyAdmin, actor_of, add_problem, require, submitted
from monitoring import alert_acts, alert_page
from monitoring.alert_acts import AlertConflict
from monitoring.alert_forms import LENGTHS, NoteForm, SilenceForm
from monitoring.models import Alert, AlertState, MonitoringPolicy
from monitoring.policy_page import state_words

VIEW, CHANGE = "monitoring.view_alert", "monitoring.change_alert"
STATE_LABELS = {
    "firing": "danger",
    "pending": "warning",
    "acknowledged": "info",
    "silenced": "info",
    "resolved": "success",
}


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
    list_before_template = f"{PAGES}/alert_list.html"
    actions = [
        "acknowledge_selected",
        "silence_for_an_hour",
        "silence_for_a_day",
        "silence_for_a_week",
        "resolve_selected",
    ]

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

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        require(request, VIEW)
        policy = MonitoringPolicy.shown()
        shown = {
            "is_well": not Alert.objects.unresolved().exists(),
            "check_words": state_words(policy, at=timezone.now()),
            "states": [
                (state, alert_page.STYLES[state], meaning)
                for state, meaning in alert_page.MEANINGS.items()
            ],
        }
        return super().changelist_view(request, shown | (extra_context or {}))

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
        mine = self.object_urls(
            acknowledge=self.acknowledge_view,
            silence=self.silence_view,
            unsilence=self.unsilence_view,
            resolve=self.resolve_view,
        )
        return [*mine, *super().get_urls()]

    def acknowledge_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed(
            request,
            object_id,
            NoteForm(submitted(request)),
            lambda alert, form, by, at: alert_acts.acknowledge(
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
            lambda alert, _, by, at: alert_acts.silence(
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
            lambda alert, form, by, at: alert_acts.unsilence(
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
            lambda alert, form, by, at: alert_acts.resolve(
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
        self.handle_selected(request, queryset, alert_acts.acknowledge_all, done="acknowledged")

    @action(description="Silence the selected alerts for one hour", permissions=["handle"])
    def silence_for_an_hour(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        self.silence_selected(request, queryset, "hour")

    @action(description="Silence the selected alerts for one day", permissions=["handle"])
    def silence_for_a_day(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        self.silence_selected(request, queryset, "day")

    @action(description="Silence the selected alerts for one week", permissions=["handle"])
    def silence_for_a_week(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        self.silence_selected(request, queryset, "week")

    def silence_selected(
        self, request: HttpRequest, queryset: QuerySet[Alert], length: str
    ) -> None:
        words, span = LENGTHS[length]
        until = timezone.now() + span
        carry_out = partial(alert_acts.silence_all, until=until)
        self.handle_selected(request, queryset, carry_out, done=f"silenced for {words}")

    @action(description="Resolve the selected alerts", permissions=["handle"])
    def resolve_selected(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        self.handle_selected(request, queryset, alert_acts.resolve_all, done="resolved")

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
