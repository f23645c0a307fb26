"""Importing customers in the admin: upload a file, look at it, confirm, watch, read the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from access.figures import figure
from access.staff import PAGES, ReadOnlyAdmin, actor_of, add_problem, require, submitted
from segments.import_files import kept_file
from segments.import_page import import_context, preview_context
from segments.import_preview import MAX_MAPPED, Preview, preview
from segments.imports import (
    PENDING,
    STOPPABLE,
    ImportConflict,
    cancel_import,
    notice_of,
    queue_import,
    receive,
)
from segments.models import CustomerImport, ImportState
from segments.table_problems import UnreadableTable
from segments.uploads import MAX_UPLOAD_BYTES

MAX_UPLOAD_MEGABYTES = MAX_UPLOAD_BYTES // 1024**2
IMPORT = ("segments.import_customer", "segments.view_customer")
STATE_LABELS = {
    ImportState.SUCCEEDED.value: "success",
    ImportState.FAILED.value: "danger",
    ImportState.RUNNING.value: "info",
    "to confirm": "warning",
}


class UploadForm(forms.Form):
    """The first step: a file."""

    file = forms.FileField(
        widget=UnfoldAdminFileFieldWidget,
        help_text=(
            f"CSV, TSV or Parquet, plain or gzipped, up to {MAX_UPLOAD_MEGABYTES} MB; "
            "`manage.py import_customers` takes larger ones. You see its first rows before "
            "anything is imported."
        ),
    )


class MappingForm(forms.Form):
    """The second step: which column holds the ids, which to leave out, and what to call the rest.

    A file of more than MAX_MAPPED columns is taken as it stands.
    """

    id_column = forms.ChoiceField(
        required=False,
        label="Column of ids",
        widget=UnfoldAdminSelectWidget,
        help_text="A customer whose id is stored already is updated; others are created.",
    )
    skip_bad_rows = forms.BooleanField(
        required=False,
        label="Leave out bad rows",
        widget=UnfoldBooleanWidget,
        help_text="Import the good rows. Otherwise one bad row refuses the whole file.",
    )

    def __init__(self, data: Any, *, names: Sequence[str], id_column: str | None) -> None:
        super().__init__(data)
        self.names = names
        self.is_mapped = len(names) <= MAX_MAPPED
        choices = [(str(place), name or f"column {place + 1}") for place, name in enumerate(names)]
        own = self.fields["id_column"]
        own.choices = [("", "None: number the rows"), *choices]  # type: ignore[attr-defined]
        if id_column in names:
            own.initial = str(list(names).index(id_column or ""))
        for place, name in enumerate(names if self.is_mapped else ()):
            label = name or f"column {place + 1}"
            self.fields[f"keep_{place}"] = forms.BooleanField(
                required=False,
                initial=True,
                widget=UnfoldBooleanWidget(attrs={"aria-label": f"Import {label}"}),
            )
            self.fields[f"name_{place}"] = forms.CharField(
                required=False,
                initial=name,
                widget=UnfoldAdminTextInputWidget(attrs={"aria-label": f"Name for {label}"}),
            )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        place = cleaned.get("id_column")
        if place and self.is_mapped and not cleaned.get(f"keep_{place}"):
            self.add_error("id_column", "The column of ids cannot be left out.")
        return cleaned

    @property
    def columns(self) -> list[str | None] | None:
        """As `open_table` has them; None when all stay as they are."""
        if not self.is_mapped:
            return None
        chosen = [
            self.cleaned_data[f"name_{place}"] if self.cleaned_data[f"keep_{place}"] else None
            for place in range(len(self.names))
        ]
        return None if chosen == list(self.names) else chosen

    @property
    def id_name(self) -> str | None:
        place = self.cleaned_data["id_column"]
        if not place:
            return None
        return (self.columns or list(self.names))[int(place)]


def upload_view(model_admin: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    """The first step, a page of the customers."""
    form = UploadForm(submitted(request), request.FILES or None)
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_UPLOAD_BYTES:  # it was not taken in
        too_long = f"The file has more than {MAX_UPLOAD_MEGABYTES} MB."
        form.fields["file"].error_messages["required"] = too_long
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            row = receive(file.chunks(), file.name or "", by=actor_of(request))
        except (UnreadableTable, ImportConflict) as error:
            form.add_error("file", str(error))
        else:
            return HttpResponseRedirect(address("look", row))
    return model_admin.page(
        request,
        "import.html",
        title="Import customers",
        form=form,
        button="Look at the file",
        imports_url=reverse("admin:segments_customerimport_changelist"),
    )


def address(page: str, row: CustomerImport) -> str:
    return reverse(f"admin:segments_customerimport_{page}", args=[row.pk])


@admin.register(CustomerImport)
class CustomerImportAdmin(ReadOnlyAdmin):
    page_template = "import_state.html"
    list_display = [
        "id",
        "file_name",
        "shown_state",
        "done",
        "created",
        "updated",
        "rejected",
        "uploaded_at",
        "imported_by",
    ]
    list_display_links = ["id", "file_name"]
    list_filter = ["state", "kind"]
    list_before_template = f"{PAGES}/imports_before.html"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may import watches it, too."""
        return request.user.has_perm("segments.view_customerimport") or may_import(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @display(description="state", ordering="state", label=STATE_LABELS)
    def shown_state(self, row: CustomerImport) -> str:
        return "to confirm" if row.state == ImportState.UPLOADED else row.state

    @display(description="done", ordering="progress")
    def done(self, row: CustomerImport) -> str:
        return f"{row.progress:.0%}"

    @display(description="created", ordering="n_created")
    def created(self, row: CustomerImport) -> str:
        return figure(row.n_created)

    @display(description="updated", ordering="n_updated")
    def updated(self, row: CustomerImport) -> str:
        return figure(row.n_updated)

    @display(description="rejected", ordering="n_rejected")
    def rejected(self, row: CustomerImport) -> str:
        return figure(row.n_rejected)

    def get_urls(self) -> list[URLPattern]:
        mine = self.object_urls(look=self.look_view, cancel=self.cancel_view)
        return [*mine, *super().get_urls()]

    def page_context(self, request: HttpRequest, obj: CustomerImport) -> dict[str, Any]:
        return {
            **import_context(obj),
            "is_pending": obj.state in PENDING,
            "may_look": obj.state == ImportState.UPLOADED and may_look(request, obj),
            "may_cancel": may_import(request) and may_stop(obj),
            "notice": notice_of(obj, at=timezone.now()),
        }

    def look_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The second step, for who uploaded the file: its first rows, and the choice of columns."""
        require(request, *IMPORT)
        row = self.found(request, object_id)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not may_look(request, row):
            raise PermissionDenied
        if row.state != ImportState.UPLOADED:
            return HttpResponseRedirect(address("change", row))
        file = kept_file(row.upload, row.file_name, directory=settings.DATA_DIR)
        try:
            seen = preview(file)
        except UnreadableTable as error:  # the file is gone
            messages.error(request, str(error).replace(str(file), file.name))
            return HttpResponseRedirect(address("change", row))
        names = [column.name for column in seen.columns]
        form = MappingForm(submitted(request), names=names, id_column=seen.id_column)
        if form.is_valid():
            seen = preview(file, id_column=form.id_name, columns=form.columns)
            if "import" in request.POST and self.is_queued(request, row, form, seen):
                return HttpResponseRedirect(address("change", row))
        return self.page(
            request,
            "import_look.html",
            title=f"Import {row.file_name}",
            form=form,
            row=row,
            back=address("cancel", row),
            **preview_context(seen, form),
        )

    def is_queued(
        self, request: HttpRequest, row: CustomerImport, form: MappingForm, seen: Preview
    ) -> bool:
        """Whether the import was left to the worker; else the form says why not."""
        skip_bad_rows = form.cleaned_data["skip_bad_rows"]
        if seen.error:
            return False  # the page says it
        if seen.n_problems and not skip_bad_rows:
            verb = "is" if seen.n_bad_rows == 1 else "are"
            form.add_error(
                None,
                f"{seen.n_bad_rows:,} of the rows looked at {verb} bad: correct the file, leave "
                "out the column, or leave out bad rows.",
            )
            return False
        try:
            queue_import(
                row.pk,
                id_column=form.id_name,
                columns=form.columns,
                skip_bad_rows=skip_bad_rows,
                by=actor_of(request),
            )
        except ImportConflict as error:
            add_problem(form, error)
            return False
        return True

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask; when confirmed, discard the file or stop the import, or say why it was refused."""
        require(request, *IMPORT)
        row = self.found(request, object_id)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if request.method == "GET" and not may_stop(row):
            messages.info(request, f"The import went on meanwhile: it is {row.state}.")
            return HttpResponseRedirect(address("change", row))
        form = forms.Form(submitted(request))
        if form.is_valid():
            try:
                row = cancel_import(row.pk, by=actor_of(request))
            except ImportConflict as error:
                add_problem(form, error)
            except OperationalError:  # SQLite has one writer, and that is the import
                add_problem(form, ImportConflict("It is storing the customers: look again soon."))
            else:
                messages.success(request, cancelled_words(row))
                return HttpResponseRedirect(address("change", row))
        is_upload = row.state == ImportState.UPLOADED
        return self.page(
            request,
            "form.html",
            title=f"{'Discard' if is_upload else 'Cancel the import of'} {row.file_name}",
            form=form,
            intro=["Nothing is imported, and the uploaded file is removed."],
            button="Discard the file" if is_upload else "Cancel the import",
            danger=True,
            back=address("look" if is_upload and may_look(request, row) else "change", row),
            back_label="Back",
        )


def may_import(request: HttpRequest) -> bool:
    return request.user.has_perms(IMPORT)


def may_stop(row: CustomerImport) -> bool:
    """Whether nothing is stored yet and nobody asked it to stop."""
    return row.state in STOPPABLE and not (row.stored_at or row.cancel_requested_at)


def may_look(request: HttpRequest, row: CustomerImport) -> bool:
    """Nobody else sees what is in a file before it is imported."""
    return may_import(request) and row.imported_by_id == request.user.get_username()


def cancelled_words(row: CustomerImport) -> str:
    if row.state == ImportState.CANCELLED:
        return f"{row.file_name} was discarded; nothing was imported."
    return "The import was asked to stop."
