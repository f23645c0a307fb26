"""What staff do from a drift report: act on its alerts, and train again on today's customers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from access.figures import figure
from access.staff import ReadOnlyAdmin, actor_of, add_problem, require, submitted
from ml.fitting import TooFewCustomers
from modelregistry.models import ModelVersion
from modelregistry.training import TrainingRequest
from monitoring import alert_acts
from monitoring.alert_acts import AlertConflict
from monitoring.alert_forms import NoteForm, SilenceForm
from monitoring.models import Alert, DriftReport
from monitoring.report_alerts import alerts_of
from segments.jobs import queue_training
from segments.training_requests import MAX_NOTE, InvalidRequest

VIEW = "monitoring.view_driftreport"
HANDLE = ("monitoring.view_alert", "monitoring.change_alert")
TRAIN = ("modelregistry.view_modelversion", "modelregistry.train_modelversion")
CHOSEN, SAME = "chosen", "same"
MAX_NAMED = 5
"""Alerts that a page of confirmation names; the others are counted."""


class RetrainForm(forms.Form):
    """How the parameters of the next version come about."""

    parameters = forms.ChoiceField(widget=UnfoldAdminSelectWidget)
    note = forms.CharField(
        required=False,
        max_length=MAX_NOTE,
        help_text="Why it is trained; shown with the version.",
        widget=UnfoldAdminTextInputWidget,
    )

    def __init__(self, *args: Any, version: ModelVersion, report: DriftReport, **kw: Any) -> None:
        super().__init__(*args, **kw)
        given = ", ".join(f"{name} = {figure(it)}" for name, it in version.parameters.items())
        field = self.fields["parameters"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            (CHOSEN, "chosen anew from today's customers"),
            (SAME, f"those of {version}: {given}"),
        ]
        self.fields["note"].initial = f"After drift report {report.pk}."

    def request_like(self, version: ModelVersion) -> TrainingRequest:
        """The same features, and the parameters as asked."""
        is_same = self.cleaned_data["parameters"] == SAME
        return TrainingRequest(
            version.model_type,
            dict(version.parameters) if is_same else {},
            [feature["name"] for feature in version.schema["features"]],
            self.cleaned_data["note"],
        )


class ReportActs(ReadOnlyAdmin):
    """Pages of a drift report on which something is done; each asks first."""

    def acknowledge_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.on_alerts(
            request,
            object_id,
            NoteForm(submitted(request)),
            lambda keys, form, by, at: alert_acts.acknowledge_all(
                keys, by=by, at=at, note=form.cleaned_data["note"]
            ),
            title="Acknowledge the alerts of",
            line="They stay open, and no mail is sent about them again until they are resolved.",
            done="acknowledged",
            concerns=lambda alert: alert.acknowledged_at is None,
        )

    def silence_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.on_alerts(
            request,
            object_id,
            SilenceForm(submitted(request)),
            lambda keys, form, by, at: alert_acts.silence_all(
                keys, until=form.ends_at(at=at), by=by, at=at, note=form.cleaned_data["note"]
            ),
            title="Silence the alerts of",
            line="Nobody is told of them for a time. The silence ends by itself.",
            done="silenced",
            concerns=lambda alert: True,
        )

    def on_alerts(
        self,
        request: HttpRequest,
        object_id: str,
        form: forms.Form,
        carry_out: Callable[..., None],
        *,
        title: str,
        line: str,
        done: str,
        concerns: Callable[[Alert], bool],
    ) -> HttpResponse:
        """Ask; when confirmed, do it to all open alerts of the report that it concerns."""
        require(request, VIEW, *HANDLE)
        report = self.found(request, object_id)
        if report is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        page = page_of(report)
        chosen = [each for each in alerts_of(report) if each.resolved_at is None and concerns(each)]
        if not chosen:
            messages.error(request, f"No open alert of this report is left to be {done}.")
            return HttpResponseRedirect(page)
        if request.method == "POST" and form.is_valid():
            try:
                carry_out([each.pk for each in chosen], form, actor_of(request), timezone.now())
            except AlertConflict as error:
                add_problem(form, error)
            else:
                are = "1 alert is" if len(chosen) == 1 else f"{len(chosen):,} alerts are"
                messages.success(request, f"{are} {done}.")
                return HttpResponseRedirect(page)
        return self.page(
            request,
            "form.html",
            title=f"{title} drift report {report.pk}",
            form=form,
            intro=[_named(chosen), line],
            button=title.partition(" ")[0],
            back=page,
            back_label="Back to the report",
        )

    def retrain_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Queue a training like that of the version the report is about."""
        require(request, VIEW, *TRAIN)
        report = self.found(request, object_id)
        if report is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        version = report.version
        form = RetrainForm(submitted(request), version=version, report=report)
        if request.method == "POST" and form.is_valid():
            try:
                job = queue_training(form.request_like(version), by=actor_of(request))
            except (InvalidRequest, TooFewCustomers) as error:
                add_problem(form, error)
            else:
                messages.success(request, f"Training job {job.pk} is queued.")
                may_see = request.user.has_perm("modelregistry.view_trainingjob")
                return HttpResponseRedirect(
                    reverse("admin:modelregistry_trainingjob_change", args=[job.pk])
                    if may_see
                    else page_of(report)
                )
        n_features = len(version.schema["features"])
        return self.page(
            request,
            "form.html",
            title=f"Retrain {version} on current customers",
            form=form,
            intro=[
                f"A new {version.get_model_type_display()} version is trained on all customers as "
                f"they are stored now, with the {n_features:,} features of {version}. It becomes "
                "a candidate: what serves stays as it is until somebody activates it."
            ],
            button="Retrain",
            back=page_of(report),
            back_label="Back to the report",
        )


def page_of(report: DriftReport) -> str:
    return reverse("admin:monitoring_driftreport_change", args=[report.pk])


def _named(alerts: list[Alert]) -> str:
    more = f", and {len(alerts) - MAX_NAMED} more" if len(alerts) > MAX_NAMED else ""
    return "; ".join(alert.title for alert in alerts[:MAX_NAMED]) + more
