"""Training jobs in the admin: watch one, cancel it, try it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from unfold.decorators import display

from access.staff import ReadOnlyAdmin, actor_of, add_problem, require, submitted
from audit import trail
from ml.fitting import TooFewCustomers
from modelregistry import job_page
from modelregistry.models import JobState, TrainingJob
from segments.jobs import RETRIABLE, JobConflict, cancel, is_stopping, notice_of, retry
from segments.training_requests import InvalidRequest

TRAIN = "modelregistry.train_modelversion"
VIEW_VERSION = "modelregistry.view_modelversion"
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
        mine = self.object_urls(cancel=self.cancel_view, retry=self.retry_view)
        return [*mine, *super().get_urls()]

    def page_context(self, request: HttpRequest, obj: TrainingJob) -> dict[str, Any]:
        may_train = request.user.has_perm(TRAIN)
        is_pending = obj.state in PENDING
        now = timezone.now()
        again = obj.retries.order_by("-pk").first()
        return {
            "title": f"Training job {obj.pk}",
            "job": obj,
            "again": again,
            "is_pending": is_pending,
            "notice": notice_of(obj, at=now),
            "percent": round(obj.progress * 100),
            "stages": job_page.stages(obj),
            "time_words": job_page.time_words(obj, at=now),
            "advice": job_page.advice(obj),
            "may_train": request.user.has_perms([TRAIN, VIEW_VERSION]),
            "error": "" if is_pending else obj.error.partition("\n")[0],
            "may_cancel": may_train and may_stop(obj),
            "may_retry": may_train and may_retry(obj),
            "facts": job_page.facts(obj),
        }

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.confirmed(
            request,
            object_id,
            cancel,
            is_possible=may_stop,
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
            is_possible=may_retry,
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
        is_possible: Callable[[TrainingJob], bool],
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
        if request.method == "GET" and not is_possible(job):
            messages.info(request, f"Job {job.pk} went on meanwhile: it is {job.state}.")
            return HttpResponseRedirect(page_of(job))
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
            button="" if form.errors else button,
            danger=danger,
            back=page_of(job),
            back_label="Back to the job",
        )


def may_stop(job: TrainingJob) -> bool:
    """Whether it has an end to reach that nobody asked it to miss."""
    return job.state in PENDING and not is_stopping(job)


def may_retry(job: TrainingJob) -> bool:
    """Whether it ended without a version, and no other job took its place."""
    return job.state in RETRIABLE and not job.retries.exists()


def page_of(job: TrainingJob) -> str:
    return reverse("admin:modelregistry_trainingjob_change", args=[job.pk])
