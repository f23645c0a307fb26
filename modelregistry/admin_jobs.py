"""Training jobs in the admin: watch one, cancel it, try it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.decorators import display

from access.figures import figure
from access.staff import ReadOnlyAdmin, actor_of, add_problem, require, submitted
from audit import trail
from ml.fitting import TooFewCustomers
from modelregistry.models import JobState, TrainingJob
from segments.jobs import RETRIABLE, JobConflict, cancel, is_stopping, notice_of, retry
from segments.training_requests import InvalidRequest

TRAIN = "modelregistry.train_modelversion"
PENDING = (JobState.QUEUED, JobState.RUNNING)
STATE_LABELS = {
    JobState.SUCCEEDED.value: "success",
    JobState.FAILED.value: "danger",
    JobState.RUNNING.value: "info",
}


@admin.register(TrainingJob)
class TrainingJobAdmin(ReadOnlyAdmin):
    page_template = "job.html"
    list_display = ["id", "model_type", "shown_state", "done", "queued_at", "queued_by", "version"]
    list_filter = ["state", "model_type"]
    list_select_related = ["version"]

    @display(description="state", ordering="state", label=STATE_LABELS)
    def shown_state(self, job: TrainingJob) -> str:
        return job.state

    @display(description="done", ordering="progress")
    def done(self, job: TrainingJob) -> str:
        return f"{job.progress:.0%}"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        mine = [
            path(
                f"<path:object_id>/{verb}/",
                view(page),
                name=f"modelregistry_trainingjob_{verb}",
            )
            for verb, page in (("cancel", self.cancel_view), ("retry", self.retry_view))
        ]
        return [*mine, *super().get_urls()]

    def page_context(self, request: HttpRequest, obj: TrainingJob) -> dict[str, Any]:
        may_train = request.user.has_perm(TRAIN)
        is_pending = obj.state in PENDING
        again = obj.retries.order_by("-pk").first()
        return {
            "title": f"Training job {obj.pk}",
            "job": obj,
            "again": again,
            "is_pending": is_pending,
            "notice": notice_of(obj, at=timezone.now()),
            "percent": round(obj.progress * 100),
            "error": "" if is_pending else obj.error.partition("\n")[0],
            "may_cancel": may_train and is_pending and not is_stopping(obj),
            "may_retry": may_train and obj.state in RETRIABLE and again is None,
            "facts": facts(obj),
        }

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed(
            request,
            object_id,
            cancel,
            title="Cancel training job {pk}",
            line="What it has done so far is discarded. A running job stops at its next step.",
            button="Cancel the job",
            done="Job {pk} was asked to stop.",
            danger=True,
        )

    def retry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed(
            request,
            object_id,
            retry,
            title="Try training job {pk} again",
            line="A new job with the same parameters and features trains on today's customers.",
            button="Train again",
            done="Job {pk} is queued.",
            danger=False,
        )

    def confirmed(
        self,
        request: HttpRequest,
        object_id: str,
        carry_out: Callable[..., TrainingJob],
        *,
        title: str,
        line: str,
        button: str,
        done: str,
        danger: bool,
    ) -> HttpResponse:
        """Ask; when confirmed, do it and show the job it concerns, or say why it was refused."""
        require(request, TRAIN)
        job = self.found(request, object_id)
        if job is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        form = forms.Form(submitted(request))
        if form.is_valid():
            by: trail.Actor = actor_of(request)
            try:
                concerned = carry_out(job.pk, by=by)
            except (JobConflict, InvalidRequest, TooFewCustomers) as error:
                add_problem(form, error)
            else:
                messages.success(request, done.format(pk=concerned.pk))
                return HttpResponseRedirect(page_of(concerned))
        return self.page(
            request,
            "form.html",
            title=title.format(pk=job.pk),
            form=form,
            intro=[line],
            button=button,
            danger=danger,
            back=page_of(job),
            back_label="Back to the job",
        )


def page_of(job: TrainingJob) -> str:
    return reverse("admin:modelregistry_trainingjob_change", args=[job.pk])


def facts(job: TrainingJob) -> list[tuple[str, object]]:
    given = [f"{name} = {figure(value)}" for name, value in sorted(job.parameters.items())]
    return [
        ("Model", job.get_model_type_display()),
        ("Parameters", ", ".join(given) or "automatic"),
        ("Features", ", ".join(job.features or []) or "all that inform"),
        ("Note", job.note or "–"),
        ("Asked for", f"{job.queued_at:%d %b %Y %H:%M:%S} by {job.queued_by}"),
        ("Started", job.started_at or "–"),
        ("Finished", job.finished_at or "–"),
    ]
