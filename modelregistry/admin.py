"""Model versions in the admin: look, train, activate, roll back; and the ledger of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import action, display

from access.figures import NONE, figure, share
from access.staff import ReadOnlyAdmin, actor_of, add_problem, submitted
from ml.fitting import MIN_CUSTOMERS, TooFewCustomers
from modelregistry import (
    admin_jobs,
    choice_page,
    metrics_page,
    succession_page,
    train_page,
    version_page,
)
from modelregistry.activation import pointer_of
from modelregistry.admin_artifacts import CHECK, ArtifactAdmin, loaded
from modelregistry.admin_forms import TrainForm
from modelregistry.admin_moves import ACTIVATE, VIEW, MovesAdmin
from modelregistry.admin_naming import NamingAdmin
from modelregistry.artifact_check import check_of, known_problem
from modelregistry.models import (
    Activation,
    ModelType,
    ModelVersion,
    Stage,
    State,
    TrainingJob,
)
from monitoring.version_drift_page import version_drift
from segments import description_page, map_page
from segments.admin import SegmentForm
from segments.attribute_facts import known_facts
from segments.customers import known_attributes
from segments.description_page import may_see_segments
from segments.jobs import queue_training
from segments.training_requests import InvalidRequest, n_missing_to_train

STATE_LABELS = {
    State.ACTIVE.value: "success",
    State.PREVIOUS.value: "info",
    State.CANDIDATE.value: "warning",
    State.FAILED.value: "danger",
}
TRAIN = "modelregistry.train_modelversion"
MAX_KEY_DIGITS = 18
"""Of a key in an address; more do not fit into a column of the database."""


@admin.register(ModelVersion)
class ModelVersionAdmin(MovesAdmin, NamingAdmin, ArtifactAdmin):
    page_template = "version.html"
    list_display = [
        "version",
        "shown_state",
        "n_segments",
        "evidence",
        "kept_share",
        "silhouette",
        "noise",
        "file",
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
        return super().get_queryset(request).with_state().select_related("artifact_check")

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

    @display(description="file", label={"damaged": "danger"})
    def file(self, version: ModelVersion) -> str:
        """What is known without reading it; the page of the version reads it."""
        if version.stage != Stage.TRAINED:
            return NONE
        if known_problem(version, directory=settings.MODEL_DIR):
            return "damaged"
        return "found whole" if check_of(version) else "there"

    def version_page(
        self, request: HttpRequest, version: ModelVersion, *, open_form: SegmentForm | None
    ) -> HttpResponse:
        context = self.context_of(request, version, open_form=open_form)
        return self.page(
            request,
            self.page_template,
            object=version,
            original=version,
            timeline_link=self.timeline_link(request, version),
            **context,
        )

    def page_context(self, request: HttpRequest, obj: ModelVersion) -> dict[str, Any]:
        return self.context_of(request, obj, open_form=None)

    def context_of(
        self, request: HttpRequest, obj: ModelVersion, *, open_form: SegmentForm | None
    ) -> dict[str, Any]:
        may_activate = request.user.has_perm(ACTIVATE)
        pointer = pointer_of(obj.model_type)
        is_active = pointer.active_id == obj.pk
        rows = list(obj.segments.select_related("segment"))
        with_links = may_see_segments(request)
        forms = self.naming_forms(request, rows, open_form)
        model, file = loaded(obj)
        is_trained = obj.stage == Stage.TRAINED
        return {
            "title": f"{obj.get_model_type_display()} version {obj.number}",
            "state": obj.state,
            "file": file,
            "tiles": metrics_page.tiles(
                obj,
                rows,
                pointer.previous if is_active else pointer.active,
                noise_limit=settings.GATE_LIMITS["noise_share"],
            ),
            "parameters": version_page.parameters(obj),
            "doubts": version_page.doubts(obj, rows),
            "choice": choice_page.choice(obj),
            "succession": succession_page.succession(obj, rows, with_links=with_links),
            "cards": [
                (card, forms.get(card.segment_id))
                for card in description_page.cards(rows, with_links=with_links)
            ],
            "card_words": description_page.CARD_WORDS,
            "map": map_page.segment_map(
                model,
                rows,
                with_customers=request.user.has_perm("segments.view_customer"),
                with_links=with_links,
            )
            if model
            else None,
            "map_gap": _map_gap(is_trained=is_trained, has_model=model is not None),
            "typical": description_page.typical_table(obj, rows),
            "levels": description_page.levels_table(rows),
            "drift": version_drift(obj)
            if is_trained and request.user.has_perm("monitoring.view_driftreport")
            else None,
            "features": version_page.features_table(obj),
            "omitted": version_page.omitted_table(obj),
            "ledger": version_page.ledger_table(obj),
            "may_train": self.has_train_permission(request),
            "may_check_file": file is not None and request.user.has_perms(CHECK),
            "may_activate": may_activate and not is_active and is_trained,
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
        names = known_attributes()
        form = TrainForm(
            submitted(request), attributes=names, initial=self.train_initial(request, names)
        )
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
        known = known_facts(names, at=timezone.now().date())
        return self.page(
            request,
            "train.html",
            title="Train a model",
            form=form,
            model_type=model_type,
            button="Train",
            choices=train_page.feature_choices(form["features"], known),
            source_words=train_page.source_words(known),
            n_missing=n_missing_to_train(),
            n_needed=MIN_CUSTOMERS,
        )

    def train_initial(self, request: HttpRequest, names: Sequence[str]) -> dict[str, Any]:
        """What the form shows at first: `?version=` and `?job=` name what to train like."""
        version, job = request.GET.get("version", ""), request.GET.get("job", "")
        if version.isdecimal() and len(version) <= MAX_KEY_DIGITS:
            if found := ModelVersion.objects.filter(pk=version).first():
                return train_page.like_version(found, names)
        elif (
            job.isdecimal()
            and len(job) <= MAX_KEY_DIGITS
            and request.user.has_perm("modelregistry.view_trainingjob")
            and (asked := TrainingJob.objects.filter(pk=job).first())
        ):
            return train_page.like_job(asked, names)
        return {}


def _map_gap(*, is_trained: bool, has_model: bool) -> str:
    if not is_trained:
        return "There is no map of a version that is not trained."
    if not has_model:
        return "The map cannot be drawn: the file of the version is damaged."
    return "There is nothing to show: no segment was found and no customer is stored."


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
