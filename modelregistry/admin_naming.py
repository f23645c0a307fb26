"""Renaming a segment where it is read: on the card of a version's page."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from access.staff import ReadOnlyAdmin, actor_of, require, submitted
from modelregistry.models import ModelVersion
from segments.admin import SegmentForm
from segments.models import Segment, VersionSegment
from segments.naming import NameTaken, rename_segment

RENAME = "segments.change_segment"


class NamingAdmin(ReadOnlyAdmin):
    """The page of a version with a form on each card, for who may name segments."""

    def get_urls(self) -> list[URLPattern]:
        rename = path(
            "<path:object_id>/segments/<int:segment_id>/rename/",
            self.admin_site.admin_view(self.rename_view),
            name="modelregistry_modelversion_rename",
        )
        return [rename, *super().get_urls()]

    def rename_view(self, request: HttpRequest, object_id: str, segment_id: int) -> HttpResponse:
        """The version's page with one card's form open; renamed, it leads back to that card."""
        require(request, RENAME)
        version = self.found(request, object_id)
        if version is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        segment = Segment.objects.filter(pk=segment_id, versions__version=version).first()
        if segment is None:
            raise Http404(f"{version} has no segment {segment_id}.")
        form = naming_form(segment, submitted(request))
        if form.is_valid():
            try:
                with transaction.atomic():
                    rename_segment(
                        segment,
                        name=form.cleaned_data["name"],
                        description=form.cleaned_data["description"],
                        by=actor_of(request),
                    )
            except NameTaken as error:  # by somebody who was a moment faster
                form.add_error("name", str(error))
            else:
                messages.success(request, f"Segment #{segment.pk} is called {segment.name}.")
                return HttpResponseRedirect(f"{page_of(version)}#{anchor_of(segment.pk)}")
        return self.version_page(request, version, open_form=form)

    def version_page(
        self, request: HttpRequest, version: ModelVersion, *, open_form: SegmentForm | None
    ) -> HttpResponse:
        """The page of the version, its card's form open; the admin of versions draws it."""
        raise NotImplementedError

    def naming_forms(
        self, request: HttpRequest, rows: list[VersionSegment], open_form: SegmentForm | None
    ) -> dict[int, dict[str, Any]]:
        """By segment what its card needs to be renamed; empty for who may not."""
        if not request.user.has_perm(RENAME):
            return {}
        opened = open_form.instance.pk if open_form else None
        return {
            row.segment_id: {
                "form": open_form if row.segment_id == opened else naming_form(row.segment, None),
                "is_open": row.segment_id == opened,
                "action": reverse(
                    "admin:modelregistry_modelversion_rename",
                    args=[row.version_id, row.segment_id],
                ),
            }
            for row in rows
        }


def naming_form(segment: Segment, data: Any) -> SegmentForm:
    form = SegmentForm(data, instance=segment, auto_id=f"segment-{segment.pk}-%s")
    form.fields["description"].widget.attrs["rows"] = 2
    return form


def anchor_of(segment_id: int) -> str:
    return f"segment-{segment_id}"


def page_of(version: ModelVersion) -> str:
    return reverse("admin:modelregistry_modelversion_change", args=[version.pk])
