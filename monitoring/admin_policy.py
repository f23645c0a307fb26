"""The one monitoring policy in the admin: how often, how sure, how small, how long."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from access.staff import PAGES, RecordedChanges, actor_of, require, submitted
from monitoring.check_request import CheckConflict, request_check
from monitoring.conditions import QUIET_INTERVALS
from monitoring.models import FLOORS, MonitoringPolicy
from monitoring.policy_page import RUN, interval_words, may_check, state_words
from monitoring.schedule import problem_of

VIEW = "monitoring.view_monitoringpolicy"
EMPTY = "-"
"""How Django shows a field without a value."""
HOUR = timedelta(hours=1)
LABELS = {
    "interval_hours": "Hours between checks",
    "expected_within_hours": "New customers expected within hours",
    "confirmations": "Checks that confirm",
    "resolutions": "Good checks that resolve",
    "cool_down_hours": "Cool-down in hours",
    "retrain_after_days": "Training overdue after days",
    "keep_inputs_days": "Days customers of a report are kept",
    "keep_all_days": "Days every report is kept",
}
FLOOR_WORDS = {
    "distribution": ("Distribution of a number", "largest gap between cumulative shares"),
    "tail": ("Lowest and highest values", "the same gap among the outer 5 %"),
    "missing": ("Missing values", "change of the share of customers without a value"),
    "levels": ("Levels of a category", "share of customers moved between levels"),
    "unseen": ("New levels", "share of customers with a level never seen before"),
    "correlation": ("Pairs of features", "change of the correlation of ranks, 0 to 1"),
    "segments": ("Shares of segments", "share of customers moved between segments"),
    "distance": ("Distance to segments", "largest gap between cumulative shares"),
    "far": ("Far from every segment", "change of the share of customers"),
}


class PolicyForm(forms.ModelForm):
    """Its labels and help are those of `get_form`, for readers too."""


def labels() -> dict[str, str]:
    return LABELS | {f"floor_{name}": label for name, (label, _) in FLOOR_WORDS.items()}


def help_texts() -> dict[str, str]:
    """What the model does not say of its fields by itself."""
    floors = {
        f"floor_{name}": f"{words}; {getattr(FLOORS, name)} by default".capitalize()
        for name, (_, words) in FLOOR_WORDS.items()
    }
    return floors | {
        "interval_hours": "Hours from one check to the next; empty: MONITORING_INTERVAL, "
        f"{settings.MONITORING_INTERVAL} h.",
        "keep_inputs_days": "Days for which a report can be computed again from the customers it "
        "compared; not more than every report is kept. 0: not at all.",
    }


def interval_in_force(shown: str) -> str:
    """For who may only read: an empty field says what holds instead."""
    if shown != EMPTY:
        return shown
    return f"{settings.MONITORING_INTERVAL} in force, from MONITORING_INTERVAL"


def expected_in_force(shown: str) -> str:
    if shown != EMPTY:
        return shown
    interval = MonitoringPolicy.shown().interval(default_hours=settings.MONITORING_INTERVAL)
    return f"{QUIET_INTERVALS * interval // HOUR} in force, three intervals"


@admin.register(MonitoringPolicy)
class MonitoringPolicyAdmin(RecordedChanges):
    form = PolicyForm
    actions: Any = None
    empty_value_display = EMPTY
    readonly_preprocess_fields = {
        "interval_hours": interval_in_force,
        "expected_within_hours": expected_in_force,
    }
    change_form_outer_before_template = f"{PAGES}/policy_state.html"
    fieldsets = [
        (
            "When customers are checked",
            {
                "fields": ["is_paused", "interval_hours", "expected_within_hours"],
                "description": "While checks are paused no customers are compared, and alerts "
                "about them stay as they are; all else is still watched and told of.",
            },
        ),
        (
            "How sure before somebody is told",
            {
                "fields": ["confirmations", "resolutions", "cool_down_hours", "retrain_after_days"],
                "description": "More confirmations mean fewer false alarms and later true ones. "
                "A check without enough customers neither confirms nor resolves.",
            },
        ),
        (
            "Smallest changes that count",
            {
                "fields": [f"floor_{name}" for name in FLOOR_WORDS],
                "description": "A change below its floor is never drift, however certain it is. "
                "Shares from 0 to 1: 0.02 is two customers in a hundred.",
            },
        ),
        (
            "How long things are kept",
            {
                "fields": ["keep_inputs_days", "keep_all_days"],
                "description": "The customers of a report are kept so that it can be computed "
                "again; deleting a customer removes them there too.",
            },
        ),
    ]

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """The same words for who may change it and for who may only read."""
        words: dict[str, Any] = {"labels": labels(), "help_texts": help_texts()}
        return super().get_form(request, *args, **words | kwargs)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """There is one: its page takes the place of a list."""
        if not self.has_view_or_change_permission(request):
            require(request, VIEW)
        return HttpResponseRedirect(policy_url())

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Without a row the defaults; only a change by who may make one makes the row."""
        found = super().get_object(request, object_id, from_field)
        if found is not None or object_id != "1":
            return found
        is_changed = request.method == "POST" and self.has_change_permission(request)
        return MonitoringPolicy.current() if is_changed else MonitoringPolicy.shown()

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> Any:
        policy = MonitoringPolicy.shown()  # as stored, whatever was typed in
        context.update(
            {
                "title": "Monitoring policy",
                "subtitle": None,
                "policy": policy,
                "problem": problem_of(policy),
                "state_words": state_words(policy, at=timezone.now()),
                "may_check": may_check(request, policy),
                # One page, one button: there is no list to go back to, and nothing to add.
                "show_save_and_continue": False,
                "show_save_and_add_another": False,
            }
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        # The monitor writes to the same row: only what was changed here is written.
        obj.save(update_fields=form.changed_data)

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return HttpResponseRedirect(policy_url())

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.check_view)
        mine = [path("check-now/", view, name="monitoring_monitoringpolicy_check_now")]
        return [*mine, *super().get_urls()]

    def check_view(self, request: HttpRequest) -> HttpResponse:
        """Make the next check due: the monitor begins it within seconds."""
        require(request, *RUN)
        form = forms.Form(submitted(request))
        if form.is_valid():
            try:
                request_check(by=actor_of(request))
            except CheckConflict as error:
                messages.error(request, str(error))
            else:
                messages.success(request, "A check begins within seconds.")
            return HttpResponseRedirect(policy_url())
        return self.page(
            request,
            "form.html",
            title="Check now",
            form=form,
            intro=[
                "The customers that were stored or changed in the last "
                f"{interval_words(MonitoringPolicy.shown())} are compared with the training of "
                "each active version, as on schedule; where its last check with enough customers "
                "is longer ago, all since then.",
                "A check soon after another sees much the same customers. The next scheduled check "
                "is one interval later.",
            ],
            button="Check now",
            list_url=policy_url(),
        )


def policy_url() -> str:
    return reverse("admin:monitoring_monitoringpolicy_change", args=[1])
