"""Model versions in the admin: look, train, activate, roll back; and the ledger of it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.decorators import action, display

from access.figures import figure, share
from access.staff import ReadOnlyAdmin, actor_of, add_problem, submitted
from ml.fitting import TooFewCustomers
from modelregistry import admin_jobs, choice_page, succession_page, version_page
from modelregistry.activation import pointer_of
from modelregistry.admin_forms import TrainForm
from modelregistry.admin_moves import ACTIVATE, VIEW, MovesAdmin
from modelregistry.models import (
    Activation,
    ModelType,
    ModelVersion,
    Stage,
    State,
)
from segments import description_page
from segments.customers import known_attributes
from segments.description_page import may_see_segments
from segments.jobs import queue_training
from segments.training_requests import InvalidRequest

STATE_LABELS = {
    State.ACTIVE.value: "success",
    State.PREVIOUS.value: "info",
    State.CANDIDATE.value: "warning",
    State.FAILED.value: "danger",
}
TRAIN = "modelregistry.train_modelversion"


@admin.register(ModelVersion)
class ModelVersionAdmin(MovesAdmin):
    page_template = "version.html"
    list_display = [
        "version",
        "shown_state",
        "n_segments",
        "evidence",
        "kept_share",
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
        name = version.get_model_type_display().replace("-", "\N{NON-BREAKING HYPHEN}")
        return f"{name}\N{NO-BREAK SPACE}{version.number}"

    @display(description="state", label=STATE_LABELS)
    def shown_state(self, version: ModelVersion) -> str:
        return version.state.value

    @display(description="segments")
    def n_segments(self, version: ModelVersion) -> str:
        n_clusters = figure(version.metrics.get("n_clusters"))
        return f"{n_clusters}, degenerate" if version.degenerate_reason else n_clusters

    @display(
        description="evidence", label={"strong": "success", "weak": "warning", "none": "danger"}
    )
    def evidence(self, version: ModelVersion) -> str:
        return (version.selection or {}).get("evidence") or "not tested"

    @display(description="kept")
    def kept_share(self, version: ModelVersion) -> str:
        return share((version.identity or {}).get("kept_share"))

    @display(description="customers", ordering="n_customers")
    def customers(self, version: ModelVersion) -> str:
        return figure(version.n_customers)

    @display(description="silhouette")
    def silhouette(self, version: ModelVersion) -> str:
        return figure(version.metrics.get("silhouette"))

    @display(description="noise")
    def noise(self, version: ModelVersion) -> str:
        return share(version.metrics.get("noise_share"))

    def page_context(self, request: HttpRequest, obj: ModelVersion) -> dict[str, Any]:
        may_activate = request.user.has_perm(ACTIVATE)
        pointer = pointer_of(obj.model_type)
        is_active = pointer.active_id == obj.pk
        rows = list(obj.segments.select_related("segment"))
        with_links = may_see_segments(request)
        return {
            "title": f"{obj.get_model_type_display()} version {obj.number}",
            "state": obj.state,
            "tiles": version_page.tiles(obj),
            "parameters": version_page.parameters(obj),
            "doubts": version_page.doubts(obj, rows),
            "choice": choice_page.choice(obj),
            "succession": succession_page.succession(obj, rows, with_links=with_links),
            "cards": description_page.cards(rows, with_links=with_links),
            "card_words": description_page.CARD_WORDS,
            "typical": description_page.typical_table(obj, rows),
            "levels": description_page.levels_table(rows),
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
            try:
                job = queue_training(form.training_request(), by=actor_of(request))
            except (InvalidRequest, TooFewCustomers) as error:
                add_problem(form, error)
            else:
                if request.user.has_perm("modelregistry.view_trainingjob"):
                    return HttpResponseRedirect(admin_jobs.page_of(job))
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
