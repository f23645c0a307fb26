"""Downloading customers with their segments from the admin, by the export that the API has."""

from __future__ import annotations

import base64
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from unfold.widgets import UnfoldAdminSelectWidget

from access.staff import StaffAdmin, actor_of, add_problem, submitted
from modelregistry.activation import NoActiveVersion
from modelregistry.models import ModelType
from segments.admin_customer_list import chosen_segments, segments_of, versions_of
from segments.customer_pages import NO_SEGMENT, NOISE_NAME
from segments.export import Asked, ExportedFile, export_segments
from segments.models import NOISE_KEY
from segments.views_export import Download, headers_of, slots

EXPORT = ("segments.export_customer", "segments.view_customer")
FORMATS = [
    ("csv", "CSV, for spreadsheets"),
    ("ndjson", "NDJSON, a line of JSON each"),
    ("parquet", "Parquet"),
]


class ExportsBusy(Exception):
    def __init__(self) -> None:
        super().__init__("As many exports as possible are under way; try again soon.")


class ExportForm(forms.Form):
    """Which customers, and as what; a choice of customers is a model type and a segment of it."""

    which = forms.ChoiceField(label="Customers", widget=UnfoldAdminSelectWidget)
    format = forms.ChoiceField(choices=FORMATS, initial="csv", widget=UnfoldAdminSelectWidget)

    def __init__(self, data: Any, *, request: HttpRequest) -> None:
        chosen = next((c for c in chosen_segments(request).items() if c[1] != NO_SEGMENT), None)
        super().__init__(data, initial={"which": ":".join(chosen)} if chosen else None)
        choices: list[Any] = []
        for model_type, segments in segments_of(request).items():
            label = ModelType(model_type).label
            one_by_one = [(f"{model_type}:{key}", f"{label}: {name}") for key, name in segments]
            group = [(f"{model_type}:", f"{label}: all customers"), *one_by_one]
            choices.append((f"{label} version {versions_of(request)[model_type].number}", group))
        self.fields["which"].choices = choices  # type: ignore[attr-defined]

    def asked(self) -> Asked:
        model_type, _, segment = self.cleaned_data["which"].partition(":")
        key = None if not segment else NOISE_KEY if segment == NOISE_NAME else int(segment)
        return Asked(model_type, self.cleaned_data["format"], key)


def export_page(model_admin: StaffAdmin, request: HttpRequest) -> HttpResponseBase:
    """Ask which customers; then the file, which leaves one entry."""
    form = ExportForm(submitted(request), request=request)
    if form.is_valid():
        try:
            asked = form.asked()
            return as_download(exported(asked, request), asked)
        except (NoActiveVersion, ExportsBusy) as error:
            add_problem(form, error)
    return model_admin.page(
        request,
        "customer_export.html",
        title="Export customers",
        form=form,
        button="Download",
        is_possible=bool(versions_of(request)),
    )


def exported(asked: Asked, request: HttpRequest) -> ExportedFile:
    """The finished file, which holds one of the slots until it is closed."""
    if not slots.acquire(blocking=False):
        raise ExportsBusy
    try:
        return export_segments(asked, directory=settings.DATA_DIR, by=actor_of(request))
    except BaseException:
        slots.release()
        raise


def as_download(file: ExportedFile, asked: Asked) -> StreamingHttpResponse:
    digest = base64.b64encode(file.sha256).decode()
    headers = {
        **headers_of(file.version, asked),
        "Content-Length": str(file.n_bytes),
        "Repr-Digest": f"sha-256=:{digest}:",
    }
    return StreamingHttpResponse(Download(file.content), headers=headers)
