"""Which version serves, moved by hand in the admin: compare, activate, roll back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from access.staff import ReadOnlyAdmin, actor_of, add_problem, require, submitted
from modelregistry import comparison_page
from modelregistry.activation import (
    ActivationConflict,
    ActivationRefused,
    Gate,
    load,
    pointer_of,
)
from modelregistry.admin_forms import MoveForm
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import Activation, ActiveModel, ModelVersion, Stage
from segments.assignment import activate, roll_back
from segments.comparison import Comparison, compare, notes_of
from segments.gates import GateLimits, check_gates, check_has_clusters

REFUSALS = (ActivationRefused, ActivationConflict, DamagedArtifact)
VIEW = "modelregistry.view_modelversion"
ACTIVATE = "modelregistry.activate_modelversion"
MAX_OTHERS = 50
"""Newest versions offered for comparing with."""


class MovesAdmin(ReadOnlyAdmin):
    """The pages that lead from one serving version to another."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        mine = [
            path(
                "<path:object_id>/compare/",
                view(self.compare_view),
                name="modelregistry_modelversion_compare",
            ),
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

    def compare_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        version = self.found(request, object_id)
        if version is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if version.stage != Stage.TRAINED:
            messages.error(request, f"{version} is not trained: {version.get_stage_display()}.")
            return HttpResponseRedirect(version_url(version.pk))
        pointer = pointer_of(version.model_type)
        others = other_versions(version)
        other = chosen_of(others, request.GET.get("with"), version, pointer)
        comparison = compare(version, other) if other else None
        is_proposed = pointer.active_id != version.pk and other == pointer.active
        gates = self.gates(request, version, comparison) if is_proposed else None
        may_serve = gates is not None
        form = MoveForm(initial={"generation": pointer.generation})
        form.offer_force(gates or [])
        return self.page(
            request,
            "compare.html",
            title=f"Compare {version} with {other}" if other else f"Before {version} serves",
            version=version,
            other=other,
            others=others,
            active=pointer.active,
            may_serve=may_serve,
            may_activate=may_serve and request.user.has_perm(ACTIVATE),
            gates=comparison_page.gates_table(gates or []),
            breached=[gate for gate in gates or [] if gate.is_breached],
            unmeasured=[gate for gate in gates or [] if gate.passed is None],
            notes=notes_of(comparison, is_proposed=is_proposed) if comparison else [],
            form=form,
            **(comparison_page.context(comparison) if comparison else {}),
        )

    def activate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        require(request, ACTIVATE)
        version = self.found(request, object_id)
        if version is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        pointer = pointer_of(version.model_type)
        form = MoveForm(submitted(request), initial={"generation": pointer.generation})

        def carry_out() -> Activation:
            return activate(
                version,
                reason=form.cleaned_data["reason"],
                force=form.cleaned_data["force"],
                limits=GateLimits(**settings.GATE_LIMITS),
                by=actor_of(request),
                at=timezone.now(),
                directory=settings.MODEL_DIR,
            )

        if entry := self.moved(request, form, pointer, carry_out):
            return HttpResponseRedirect(version_url(entry.to_version_id))
        gates = None
        if version.stage == Stage.TRAINED and pointer.active_id != version.pk:
            comparison = compare(version, pointer.active) if pointer.active else None
            gates = self.gates(request, version, comparison)
        form.offer_force(gates or [])
        before = f"{pointer.active} serves now." if pointer.active else "No version serves now."
        return self.move_page(
            request,
            form,
            title=f"Activate {version}",
            intro=[before, f"Every stored customer gets the segment that {version} gives."],
            gates=comparison_page.gates_table(gates) if gates else None,
            button=f"Activate {version}",
            back=version_url(version.pk),
        )

    def roll_back_view(self, request: HttpRequest, model_type: str) -> HttpResponse:
        require(request, ACTIVATE, VIEW)
        pointer = pointer_of(model_type)
        form = MoveForm(submitted(request), initial={"generation": pointer.generation})

        def carry_out() -> Activation:
            return roll_back(
                model_type,
                version=pointer.previous.number if pointer.previous else None,
                reason=form.cleaned_data["reason"],
                force=form.cleaned_data["force"],
                by=actor_of(request),
                at=timezone.now(),
                directory=settings.MODEL_DIR,
            )

        if pointer.previous is None:
            messages.error(request, f"No version of {model_type} served before the active one.")
            return HttpResponseRedirect(reverse("admin:modelregistry_modelversion_changelist"))
        if entry := self.moved(request, form, pointer, carry_out):
            return HttpResponseRedirect(version_url(entry.to_version_id))
        gates = check_has_clusters(pointer.previous)
        form.offer_force(gates)
        return self.move_page(
            request,
            form,
            title=f"Roll back to {pointer.previous}",
            intro=[f"{pointer.active} serves now; {pointer.previous} served before it."],
            gates=comparison_page.gates_table(gates) if gates else None,
            button=f"Roll back to {pointer.previous}",
            back=version_url(pointer.active_id),
        )

    def gates(
        self, request: HttpRequest, version: ModelVersion, comparison: Comparison | None
    ) -> list[Gate] | None:
        """How the version stands now; None, and a message, when its artifact is damaged."""
        try:
            model = load(version, directory=settings.MODEL_DIR)
        except DamagedArtifact as error:
            messages.error(request, str(error))
            return None
        return check_gates(version, model, comparison, limits=GateLimits(**settings.GATE_LIMITS))

    def moved(
        self,
        request: HttpRequest,
        form: MoveForm,
        pointer: ActiveModel,
        carry_out: Callable[[], Activation],
    ) -> Activation | None:
        """The move, when it was confirmed and done; else the form says why not."""
        if request.method != "POST" or not form.is_valid():
            return None
        try:
            form.require_generation(pointer.generation)
            entry = carry_out()
        except REFUSALS as error:
            add_problem(form, error)
            return None
        messages.success(request, f"{entry.to_version} is active.")
        return entry

    def move_page(self, request: HttpRequest, form: MoveForm, **context: Any) -> HttpResponse:
        return self.page(request, "move.html", form=form, danger=True, **context)


def version_url(pk: int | None) -> str:
    return reverse("admin:modelregistry_modelversion_change", args=[pk])


def other_versions(version: ModelVersion) -> list[ModelVersion]:
    """What a version can be compared with, newest first."""
    others = ModelVersion.objects.trained().filter(model_type=version.model_type)
    return list(others.exclude(pk=version.pk).order_by("-number")[:MAX_OTHERS])


def chosen_of(
    others: Sequence[ModelVersion], number: str | None, version: ModelVersion, pointer: ActiveModel
) -> ModelVersion | None:
    """The asked one of the others; else the active version, or for that one its previous."""
    asked = next((other for other in others if str(other.number) == number), None)
    return asked or (pointer.previous if pointer.active_id == version.pk else pointer.active)
