"""Which version serves, moved by hand in the admin: compare, activate, roll back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access.staff import ReadOnlyAdmin, actor_of, add_problem, require, submitted
from modelregistry import comparison_page
from modelregistry.activation import ActivationConflict, ActivationRefused, pointer_of
from modelregistry.admin_forms import MoveForm
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import Activation, ActiveModel, ModelVersion, Stage
from modelregistry.standing_page import standing
from segments.assignment import activate, roll_back
from segments.comparison import notes_of
from segments.gates import GateLimits, check_has_clusters
from segments.movers import sample_movers

REFUSALS = (ActivationRefused, DamagedArtifact)
VIEW = "modelregistry.view_modelversion"
ACTIVATE = "modelregistry.activate_modelversion"
MAX_OTHERS = 50
"""Newest versions offered for comparing with."""


class MovesAdmin(ReadOnlyAdmin):
    """The pages that lead from one serving version to another."""

    def get_urls(self) -> list[URLPattern]:
        roll_back = path(
            "roll-back/<model_type:model_type>/",
            self.admin_site.admin_view(self.roll_back_view),
            name="modelregistry_modelversion_roll_back",
        )
        mine = self.object_urls(compare=self.compare_view, activate=self.activate_view)
        return [roll_back, *mine, *super().get_urls()]

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
        is_proposed = pointer.active_id != version.pk and other == pointer.active
        found = standing(version, other, with_gates=is_proposed, is_fresh="fresh" in request.GET)
        if found.problem:
            messages.error(request, found.problem)
        comparison, gates = found.comparison, found.gates
        may_serve = gates is not None
        form = MoveForm(initial={"generation": pointer.generation})
        form.offer_force(gates or [])
        sees_customers = request.user.has_perm("segments.view_customer")
        movers = sample_movers(version, other) if sees_customers and other else None
        return self.page(
            request,
            "compare.html",
            title=f"Compare {version} with {other}" if other else f"Before {version} serves",
            version=version,
            other=other,
            others=others,
            active=pointer.active,
            standing=found,
            may_serve=may_serve,
            may_activate=may_serve and request.user.has_perm(ACTIVATE),
            may_roll_back=request.user.has_perm(ACTIVATE)
            and pointer.active_id == version.pk
            and other is not None
            and pointer.previous_id == other.pk,
            gates=comparison_page.gates_table(gates or []),
            breached=[gate for gate in gates or [] if gate.is_breached],
            unmeasured=[gate for gate in gates or [] if gate.passed is None],
            notes=notes_of(comparison, is_proposed=is_proposed) if comparison else [],
            form=form,
            movers=comparison_page.movers_table(movers) if movers else None,
            movers_words=comparison_page.movers_words(movers) if movers else "",
            **(comparison_page.context(comparison) if comparison else {}),
        )

    def activate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        require(request, ACTIVATE)
        version = self.found(request, object_id)
        if version is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        pointer = pointer_of(version.model_type)
        if pointer.active_id == version.pk:
            return self.served_page(request, version)
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

        back = version_url(version.pk)
        if answer := self.moved(request, form, pointer, carry_out, overtaken=back):
            return answer
        gates = None
        if version.stage == Stage.TRAINED:
            found = standing(version, pointer.active, with_gates=True)
            if found.problem:
                messages.error(request, found.problem)
            gates = found.gates
        form.offer_force(gates or [])
        before = f"{pointer.active} serves now." if pointer.active else "No version serves now."
        return self.move_page(
            request,
            form,
            title=f"Activate {version}",
            intro=[before, f"Every stored customer gets the segment that {version} gives."],
            gates=comparison_page.gates_table(gates) if gates else None,
            button=f"Activate {version}",
            back=back,
        )

    def served_page(self, request: HttpRequest, version: ModelVersion) -> HttpResponse:
        return self.move_page(
            request,
            MoveForm(),
            title=f"Activate {version}",
            intro=[f"{version} is already active. It serves, so there is nothing to do."],
            button="",
            back=version_url(version.pk),
            back_label=f"See {version}",
        )

    def roll_back_view(self, request: HttpRequest, model_type: str) -> HttpResponse:
        require(request, ACTIVATE, VIEW)
        pointer = pointer_of(model_type)
        active, previous = pointer.active, pointer.previous
        reason = f"Rolled back by hand from {active}."
        initial = {"generation": pointer.generation, "reason": reason}
        form = MoveForm(submitted(request), initial=initial)

        def carry_out() -> Activation:
            return roll_back(
                model_type,
                version=previous.number if previous else None,
                reason=form.cleaned_data["reason"],
                force=form.cleaned_data["force"],
                by=actor_of(request),
                at=timezone.now(),
                directory=settings.MODEL_DIR,
            )

        versions = reverse("admin:modelregistry_modelversion_changelist")
        if active is None or previous is None:
            messages.error(request, f"No version of {model_type} served before the active one.")
            return HttpResponseRedirect(versions)
        if answer := self.moved(request, form, pointer, carry_out, overtaken=versions):
            return answer
        found = standing(previous, active, with_gates=True)
        if found.problem:
            messages.error(request, found.problem)
        to_overrule = check_has_clusters(previous)
        form.offer_force(to_overrule)
        gates = to_overrule if found.gates is None else found.gates
        return self.move_page(
            request,
            form,
            title=f"Roll back to {previous}",
            intro=[
                f"{active} serves now; {previous} served before it.",
                compare_link(previous, active),
                f"A roll back is the emergency exit: no gate stops it, unless {previous} is "
                "degenerate.",
            ],
            gates=comparison_page.gates_table(gates) if gates else None,
            button=f"Roll back to {previous}",
            back=version_url(active.pk),
        )

    def moved(
        self,
        request: HttpRequest,
        form: MoveForm,
        pointer: ActiveModel,
        carry_out: Callable[[], Activation],
        *,
        overtaken: str,
    ) -> HttpResponse | None:
        """Carry out what was confirmed and lead to the version that serves then; else the form says
        why not. Who was overtaken is led to that address: drawn anew, the page could ask for
        another move than the one that was confirmed.
        """
        if request.method != "POST":
            return None
        is_valid = form.is_valid()
        try:
            form.require_generation(pointer)
            if not is_valid:
                return None
            entry = carry_out()
        except ActivationConflict as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(overtaken)
        except REFUSALS as error:
            add_problem(form, error)
            return None
        messages.success(request, f"{entry.to_version} is active.")
        return HttpResponseRedirect(version_url(entry.to_version_id))

    def move_page(self, request: HttpRequest, form: MoveForm, **context: Any) -> HttpResponse:
        return self.page(request, "move.html", form=form, danger=True, **context)


def version_url(pk: int | None) -> str:
    return reverse("admin:modelregistry_modelversion_change", args=[pk])


def compare_link(version: ModelVersion, other: ModelVersion) -> SafeString:
    url = reverse("admin:modelregistry_modelversion_compare", args=[version.pk])
    words = f"Compare {version} with {other}"
    return format_html('<a href="{}?with={}">{}</a>: who would move.', url, other.number, words)


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
