"""Verifying a version's artifact from the admin, and what its page says of the file."""

from __future__ import annotations

from dataclasses import dataclass

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils import timezone

from access.staff import ReadOnlyAdmin, actor_of, require, submitted
from modelregistry.activation import load
from modelregistry.artifact_check import check_artifact, check_of
from modelregistry.artifacts import DamagedArtifact, TrainedModel
from modelregistry.models import ArtifactCheck, ModelVersion, Stage

CHECK = ("modelregistry.view_modelversion", "modelregistry.train_modelversion")
"""A check is noted with the version, so who only looks may not have one made."""
CHECKS = (
    "Read from disk: name, size, SHA-256 digest, header, the shapes of the arrays, and whether a "
    "stored batch of invented customers is predicted as at training. Nothing is changed."
)


@dataclass(frozen=True, slots=True)
class FileState:
    """`problem` is what is wrong with the file now, `check` its latest check on demand."""

    problem: str
    check: ArtifactCheck | None

    @property
    def label(self) -> tuple[str, str]:
        return ("damaged", "bad") if self.problem else ("whole", "good")


class ArtifactAdmin(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        return [*self.object_urls(check_artifact=self.check_view), *super().get_urls()]

    def check_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, verify, and say what came of it on the version's page."""
        require(request, *CHECK)
        version = self.found(request, object_id)
        if version is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        page = reverse("admin:modelregistry_modelversion_change", args=[version.pk])
        if version.stage != Stage.TRAINED:
            messages.error(request, f"{version} is not trained, so it has no artifact to check.")
            return HttpResponseRedirect(page)
        form = forms.Form(submitted(request))
        if not form.is_valid():
            return self.page(
                request,
                "form.html",
                title=f"Check the artifact of {version}",
                form=form,
                intro=[CHECKS],
                button="Check now",
                back=page,
                back_label="Back to the version",
            )
        check = check_artifact(
            version, directory=settings.MODEL_DIR, by=actor_of(request), at=timezone.now()
        )
        if check.problem:
            messages.error(request, f"The artifact of {version} is damaged. {check.problem}")
        else:
            messages.success(
                request,
                f"The artifact of {version} is whole: size, digest and shapes are as recorded, and "
                "the stored batch is predicted as at training.",
            )
        return HttpResponseRedirect(f"{page}#artifact")


def loaded(version: ModelVersion) -> tuple[TrainedModel | None, FileState | None]:
    """The model, from memory if its file is unchanged, and the state of the file.

    Nothing of a version that is not trained, whose file may be gone by right.
    """
    if version.stage != Stage.TRAINED:
        return None, None
    try:
        model = load(version, directory=settings.MODEL_DIR)
    except DamagedArtifact as error:
        return None, FileState(str(error), check_of(version))
    check = check_of(version)
    return model, FileState(check.problem if check else "", check)
