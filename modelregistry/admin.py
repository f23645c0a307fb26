"""Model versions in the admin: look, train, activate, roll back; and the ledger of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.decorators import action, display

from access.figures import figure, share
from access.staff import ReadOnlyAdmin, actor_of, add_problem, require, submitted
from modelregistry import version_page
from modelregistry.activation import ActivationConflict, ActivationRefused, pointer_of
from modelregistry.admin_forms import ActivateForm, ReasonForm, TrainForm
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import (
    Activation,
    ActiveModel,
    JobState,
    ModelType,
    ModelVersion,
    Stage,
    State,
    TrainingJob,
)
from segments.assignment import activate, roll_back
from segments.customers import known_attributes
from segments.jobs import LOST_AFTER, queue_training

STATE_LABELS = {
    State.ACTIVE.value: "success",
    State.PREVIOUS.value: "info",
    State.CANDIDATE.value: "warning",
    State.FAILED.value: "danger",
}
REFUSALS = (ActivationRefused, ActivationConflict, DamagedArtifact)
TRAIN = "modelregistry.train_modelversion"
VIEW = "modelregistry.view_modelversion"
ACTIVATE = "modelregistry.activate_modelversion"


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    page_template = "version.html"
    list_display = [
        "version",
        "shown_state",
        "n_segments",
        "silhouette",
        "noise",
        "customers",
        "trained_at",
        "trained_by",
        "note",
    ]
    list_filter = ["model_type", "stage"]
    search_fields = ["note", "trained_by"]
    ordering = ["-trained_at", "-id"]
    actions_list = ["train"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelVersion]:
        return super().get_queryset(request).with_state()

    def audit_target(self, obj: Any) -> tuple[str, str]:
        return "model_version", str(obj)

    @display(description="version", ordering="number")
    def version(self, version: ModelVersion) -> str:
        return f"{version.get_model_type_display()}\N{NO-BREAK SPACE}{version.number}"

    @display(description="state", label=STATE_LABELS)
    def shown_state(self, version: ModelVersion) -> str:
        return version.state.value

    @display(description="segments")
    def n_segments(self, version: ModelVersion) -> str:
        n_clusters = figure(version.metrics.get("n_clusters"))
        return f"{n_clusters}, degenerate" if version.degenerate_reason else n_clusters

    @display(description="customers", ordering="n_customers")
    def customers(self, version: ModelVersion) -> str:
        return figure(version.n_customers)

    @display(description="silhouette")
    def silhouette(self, version: ModelVersion) -> str:
        return figure(version.metrics.get("silhouette"))

    @display(description="noise")
    def noise(self, version: ModelVersion) -> str:
        return share(version.metrics.get("noise_share"))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        mine = [
            path(
                "<path:object_id>/activate/",
                view(self.activate_view),
                name="modelregistry_modelversion_activate",
            ),
            path(
                "roll-back/<model_type:model_type>/",
                view(self.roll_back_view),
                name="modelregistry_modelversion_roll_back",
            ),
        ]
        return [*mine, *super().get_urls()]

    def page_context(self, request: HttpRequest, obj: ModelVersion) -> dict[str, Any]:
        may_activate = request.user.has_perm(ACTIVATE)
        pointer = pointer_of(obj.model_type)
        is_active = pointer.active_id == obj.pk
        return {
            "title": f"{obj.get_model_type_display()} version {obj.number}",
            "state": obj.state,
            "tiles": version_page.tiles(obj),
            "parameters": version_page.parameters(obj),
            "chart": version_page.curve_chart(obj),
            "chart_options": '{"responsive": true, "maintainAspectRatio": false}',
            "curve": version_page.curve_table(obj),
            "segments": version_page.segments_table(obj),
            "medians": version_page.medians_table(obj),
            "features": version_page.features_table(obj),
            "omitted": version_page.omitted_table(obj),
            "ledger": version_page.ledger_table(obj),
            "may_activate": may_activate and not is_active and obj.stage == Stage.TRAINED,
            "may_roll_back": may_activate and is_active and pointer.previous_id is not None,
            "previous": pointer.previous,
        }

    def has_train_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perms([TRAIN, VIEW])

    @action(
        description="Train",
        icon="model_training",
        url_path="train",
        permissions=["train"],
    )
    def train(self, request: HttpRequest) -> HttpResponse:
        form = TrainForm(submitted(request), attributes=known_attributes())
        if request.method == "POST" and form.is_valid():
            job = queue_training(form.training_request(), by=actor_of(request))
            if request.user.has_perm("modelregistry.view_trainingjob"):
                return HttpResponseRedirect(
                    reverse("admin:modelregistry_trainingjob_change", args=[job.pk])
                )
            messages.success(request, f"Job {job.pk} is queued.")
            return HttpResponseRedirect(reverse("admin:modelregistry_modelversion_changelist"))
        model_type = form["model_type"].value() or ModelType.KMEANS.value
        if model_type not in ModelType.values:
            model_type = ModelType.KMEANS.value
        return self.page(
            request,
            "train.html",
            title="Train a model",
            form=form,
            model_type=model_type,
            button="Train",
        )

    def activate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        require(request, ACTIVATE)
        version = self.found(request, object_id)
        if version is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        pointer = pointer_of(version.model_type)
        form = ActivateForm(
            submitted(request),
            is_degenerate=bool(version.degenerate_reason),
            initial={"generation": pointer.generation},
        )

        def carry_out() -> Activation:
            return activate(
                version,
                reason=form.cleaned_data["reason"],
                force=form.cleaned_data.get("force", False),
                by=actor_of(request),
                at=timezone.now(),
                directory=settings.MODEL_DIR,
            )

        before = f"{pointer.active} serves now." if pointer.active else "No version serves now."
        return self.moved(
            request,
            form,
            pointer,
            carry_out,
            title=f"Activate {version}",
            intro=[before, f"Every stored customer gets the segment that {version} gives."],
            warning=version.degenerate_reason,
            button=f"Activate {version}",
            back=reverse("admin:modelregistry_modelversion_change", args=[version.pk]),
        )

    def roll_back_view(self, request: HttpRequest, model_type: str) -> HttpResponse:
        require(request, ACTIVATE, VIEW)
        pointer = pointer_of(model_type)
        form = ReasonForm(submitted(request), initial={"generation": pointer.generation})

        def carry_out() -> Activation:
            return roll_back(
                model_type,
                reason=form.cleaned_data["reason"],
                by=actor_of(request),
                at=timezone.now(),
                directory=settings.MODEL_DIR,
            )

        if pointer.previous is None:
            messages.error(request, f"No version of {model_type} served before the active one.")
            return HttpResponseRedirect(reverse("admin:modelregistry_modelversion_changelist"))
        return self.moved(
            request,
            form,
            pointer,
            carry_out,
            title=f"Roll back to {pointer.previous}",
            intro=[f"{pointer.active} serves now; {pointer.previous} served before it."],
            button=f"Roll back to {pointer.previous}",
            back=reverse("admin:modelregistry_modelversion_change", args=[pointer.active_id]),
        )

    def moved(
        self,
        request: HttpRequest,
        form: ReasonForm,
        pointer: ActiveModel,
        carry_out: Callable[[], Activation],
        **context: Any,
    ) -> HttpResponse:
        """Ask; when confirmed, move the pointer or say why it stays."""
        if request.method == "POST" and form.is_valid():
            try:
                form.require_generation(pointer.generation)
                entry = carry_out()
            except REFUSALS as error:
                add_problem(form, error)
            else:
                messages.success(request, f"{entry.to_version} is active.")
                page = reverse(
                    "admin:modelregistry_modelversion_change", args=[entry.to_version_id]
                )
                return HttpResponseRedirect(page)
        return self.page(request, "move.html", form=form, danger=True, **context)


@admin.register(TrainingJob)
class TrainingJobAdmin(ReadOnlyAdmin):
    page_template = "job.html"
    list_display = ["id", "model_type", "shown_state", "done", "queued_at", "queued_by", "version"]
    list_filter = ["state", "model_type"]
    list_select_related = ["version"]

    @display(
        description="state",
        ordering="state",
        label={
            JobState.SUCCEEDED.value: "success",
            JobState.FAILED.value: "danger",
            JobState.RUNNING.value: "info",
        },
    )
    def shown_state(self, job: TrainingJob) -> str:
        return job.state

    @display(description="done", ordering="progress")
    def done(self, job: TrainingJob) -> str:
        return f"{job.progress:.0%}"

    def page_context(self, request: HttpRequest, obj: TrainingJob) -> dict[str, Any]:
        is_running = obj.state == JobState.RUNNING
        is_silent = is_running and (
            obj.heartbeat_at is None or timezone.now() - obj.heartbeat_at > LOST_AFTER
        )
        given = [f"{name} = {figure(value)}" for name, value in sorted(obj.parameters.items())]
        return {
            "title": f"Training job {obj.pk}",
            "job": obj,
            "is_pending": is_running or obj.state == JobState.QUEUED,
            "is_silent": is_silent,
            "percent": round(obj.progress * 100),
            "error": obj.error.partition("\n")[0],
            "facts": [
                ("Model", obj.get_model_type_display()),
                ("Parameters", ", ".join(given) or "automatic"),
                ("Features", ", ".join(obj.features or []) or "all that inform"),
                ("Note", obj.note or "–"),
                ("Asked for", f"{obj.queued_at:%d %b %Y %H:%M:%S} by {obj.queued_by}"),
                ("Started", obj.started_at or "–"),
                ("Finished", obj.finished_at or "–"),
            ],
        }


@admin.register(Activation)
class ActivationAdmin(ReadOnlyAdmin):
    """The ledger; its rows link to nothing, because all there is to them is in the list."""

    list_display = [
        "activated_at",
        "to_version",
        "from_version",
        "activated_by",
        "reason",
        "is_rollback",
        "forced",
    ]
    list_display_links = None
    list_filter = ["model_type", "is_rollback"]
    list_select_related = ["to_version", "from_version"]
    search_fields = ["reason", "activated_by"]

    def change_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        raise Http404
