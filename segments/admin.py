"""Customers and segments in the admin: look, import, delete, rename."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.decorators import action, display
from unfold.paginator import InfinitePaginator
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from access.staff import PAGES, ReadOnlyAdmin, RecordedChanges, Table, actor_of, submitted
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import Activation, ActiveModel
from segments.assignment import assign_to_current_versions
from segments.customer_digests import customer_digest
from segments.customer_page import customer_context
from segments.description_page import CARD_WORDS, may_see_segments, stability_of
from segments.erasure import ErasureConflict, UnknownCustomer, erase, receipt_words
from segments.importing import ImportResult, import_customers
from segments.models import Assignment, Customer, Segment, VersionSegment
from segments.naming import NameTaken, refuse_taken, rename_segment
from segments.segment_page import life
from segments.table_problems import MAX_PROBLEMS, InvalidTable, UnreadableTable
from segments.uploads import MAX_UPLOAD_BYTES

MAX_UPLOAD_MEGABYTES = MAX_UPLOAD_BYTES // 1024**2


class ImportForm(forms.Form):
    """A customer table and how to read it."""

    file = forms.FileField(
        widget=UnfoldAdminFileFieldWidget,
        help_text=(
            f"CSV, TSV or Parquet, plain or gzipped, up to {MAX_UPLOAD_MEGABYTES} MB; "
            "`manage.py import_customers` takes larger ones."
        ),
    )
    id_column = forms.CharField(
        required=False,
        max_length=200,
        label="Column of ids",
        widget=UnfoldAdminTextInputWidget,
        help_text="Empty: told by its name; a table without ids gets row numbers.",
    )
    skip_bad_rows = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanWidget,
        help_text="Import the good rows. Otherwise one bad row refuses the whole file.",
    )


@contextmanager
def on_disk(upload: UploadedFile[Any]) -> Iterator[Path]:
    """The upload under its own name, in a directory that goes when it is done."""
    with tempfile.TemporaryDirectory(prefix="import-") as directory:
        file_path = Path(directory) / (upload.name or "upload")
        with file_path.open("wb") as file:
            for chunk in upload.chunks():
                file.write(chunk)
        yield file_path


@contextmanager
def erasures_refused(request: HttpRequest) -> Iterator[None]:
    """Tell the person why nobody was erased, rather than fail."""
    try:
        yield
    except (UnknownCustomer, ErasureConflict, DamagedArtifact) as error:
        messages.error(request, f"Nobody was erased. {error}")


@admin.register(Customer)
class CustomerAdmin(RecordedChanges, ReadOnlyAdmin):
    page_template = "customer.html"
    list_display = ["customer_id", "created_at", "updated_at"]
    search_fields = ["customer_id__startswith"]
    search_help_text = "Beginning of an id"
    # Millions of rows are not counted to show fifty.
    paginator = InfinitePaginator
    show_full_result_count = False
    actions = ["delete_selected"]
    actions_list = ["import_view"]
    timeline_note = (
        "An import, and a POST /customers of several customers, is one entry for all of them: look "
        "for customers.imported and customers.stored in the trail, not here."
    )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("segments.delete_customer")

    def has_import_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perms(["segments.import_customer", "segments.view_customer"])

    def audit_target(self, obj: Any) -> tuple[str, str]:
        return "customer", customer_digest(obj.customer_id, secret=settings.SECRET_KEY)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Outside the transaction that Django would open: an erasure has its own."""
        with erasures_refused(request):
            return self._delete_view(request, object_id, extra_context)
        return HttpResponseRedirect(request.path)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        with erasures_refused(request):
            return super(RecordedChanges, self).response_action(request, queryset)
        return HttpResponseRedirect(request.get_full_path())

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:
        """The erasure records itself."""

    def delete_model(self, request: HttpRequest, obj: Customer) -> None:
        self.erased(request, [obj.customer_id])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Customer]) -> None:
        self.erased(request, list(queryset.values_list("pk", flat=True)))

    def erased(self, request: HttpRequest, ids: list[str]) -> None:
        """Erase customers and show what the receipt says."""
        erasure = erase(
            ids,
            by=actor_of(request),
            directory=settings.MODEL_DIR,
            secret=settings.SECRET_KEY,
            elsewhere=settings.ERASED_ELSEWHERE,
        )
        messages.success(request, receipt_words(erasure))

    def page_context(self, request: HttpRequest, obj: Customer) -> dict[str, Any]:
        return {
            **customer_context(
                obj, directory=settings.MODEL_DIR, with_links=may_see_segments(request)
            ),
            "may_delete": self.has_delete_permission(request, obj),
        }

    @action(
        description="Import",
        icon="upload",
        url_path="import",
        permissions=["import"],
    )
    def import_view(self, request: HttpRequest) -> HttpResponse:
        form = ImportForm(submitted(request), request.FILES or None)
        context: dict[str, Any] = {}
        if _is_too_long(request):  # then its file was not taken in
            too_long = f"The file has more than {MAX_UPLOAD_MEGABYTES} MB."
            form.fields["file"].error_messages["required"] = too_long
        if request.method == "POST" and form.is_valid():
            context = self.imported(request, form)
            if "result" in context:
                form = ImportForm()
        return self.page(
            request, "import.html", title="Import customers", form=form, button="Import", **context
        )

    def imported(self, request: HttpRequest, form: ImportForm) -> dict[str, Any]:
        """Import and assign; what the page says about it."""
        with on_disk(form.cleaned_data["file"]) as file_path:
            rejects = file_path.with_name("rejects")
            try:
                result = import_customers(
                    file_path,
                    by=actor_of(request),
                    id_column=form.cleaned_data["id_column"] or None,
                    skip_bad_rows=form.cleaned_data["skip_bad_rows"],
                    rejects=rejects,
                )
            except UnreadableTable as error:
                form.add_error("file", str(error).replace(str(file_path), file_path.name))
                return {}
            except InvalidTable as error:
                return {"problems": _problems(error), "n_problems": error.n_problems}
            rejected = _rejected(result)
        try:
            assign_to_current_versions(directory=settings.MODEL_DIR)
        except DamagedArtifact as error:
            messages.warning(request, f"The customers have no segment yet: {error}")
        return {"result": result, "rejected": rejected}


def _is_too_long(request: HttpRequest) -> bool:
    return int(request.META.get("CONTENT_LENGTH") or 0) > MAX_UPLOAD_BYTES


def _problems(error: InvalidTable) -> Table:
    return Table(
        ["Line", "Column", "Problem"],
        [(f"{row.line:,}", row.column or "–", row.detail) for row in error.problems],
    )


def _rejected(result: ImportResult) -> Table | None:
    """Lines and problems of the refused rows; their values stay in the person's own file."""
    if result.rejects is None:
        return None
    with result.rejects.open(encoding="utf-8", newline="") as file:
        header = file.readline()
        delimiter = header[len("line")]  # the header begins with the columns line and problem
        reader = csv.reader(file, delimiter=delimiter)
        rows = [row[:2] for row in islice(reader, MAX_PROBLEMS)]
    return Table(["Line", "Problem"], rows)


class SegmentForm(forms.ModelForm):
    class Meta:
        model = Segment
        fields = ["name", "description"]
        widgets = {
            "name": UnfoldAdminTextInputWidget,
            "description": UnfoldAdminTextareaWidget({"rows": 3}),
        }

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        if name != self.initial.get("name"):
            try:
                refuse_taken(self.instance, name)
            except NameTaken as error:
                raise forms.ValidationError(str(error)) from error
        return name


class ServingFilter(admin.SimpleListFilter):
    title = "version"
    parameter_name = "serving"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "of an active version"), ("no", "of other versions")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(serves=self.value() == "yes") if self.value() else queryset


@admin.register(Segment)
class SegmentAdmin(RecordedChanges):
    """A segment is named here; models make it and decide who is in it."""

    form = SegmentForm
    change_form_outer_after_template = f"{PAGES}/segment_life.html"
    list_display = [
        "id",
        "name",
        "model_type",
        "customers_now",
        "share_trained",
        "firmness",
        "in_use",
    ]
    list_display_links = ["id", "name"]
    list_filter = [ServingFilter, "model_type"]
    search_fields = ["name", "description"]
    fields = ["name", "description", "model_type", "customers_now"]
    readonly_fields = ["model_type", "customers_now"]
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_ordering(self, request: HttpRequest) -> list[str]:
        return ["-serves", "model_type", "id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Segment]:
        """With the live size in the active version, from the assignments' index."""
        active = ActiveModel.objects.filter(active__isnull=False).values("active")
        members = Assignment.objects.filter(version__in=active, segment=OuterRef("pk"))
        in_active = VersionSegment.objects.filter(version__in=active, segment=OuterRef("pk"))
        served = Activation.objects.filter(to_version__segments__segment=OuterRef("pk"))
        sizes = members.order_by().values("segment").annotate(n=Count("customer")).values("n")
        # Not `super()`: it would order by the annotation before it is there.
        return Segment.objects.annotate(
            serves=Exists(in_active),
            n_customers=Coalesce(Subquery(sizes), 0),
            has_served=Exists(served),
            trained_share=Subquery(in_active.values("share")[:1]),
            stability=Subquery(in_active.values("stability")[:1]),
        )

    @display(description="customers now", ordering="n_customers")
    def customers_now(self, segment: Any) -> str:
        return f"{segment.n_customers:,}" if segment.serves else "–"

    @display(description="share in training", ordering="trained_share")
    def share_trained(self, segment: Any) -> str:
        return "–" if segment.trained_share is None else f"{segment.trained_share:.1%}"

    @display(description="stability", ordering="stability")
    def firmness(self, segment: Any) -> str:
        stability = stability_of(segment.stability)
        return stability.label if stability else "–"

    @display(
        description="state",
        ordering="serves",
        label={"active": "success", "candidate": "warning"},
    )
    def in_use(self, segment: Any) -> str:
        if segment.serves:
            return "active"
        return "retired" if segment.has_served else "candidate"

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> Any:
        obj = kwargs.get("obj")
        may_see_versions = request.user.has_perm("modelregistry.view_modelversion")
        if obj is not None:
            context["life"] = life(obj, with_links=may_see_versions)
            context["card_words"] = CARD_WORDS
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Segment, form: Any, change: bool) -> None:
        rename_segment(obj, name=obj.name, description=obj.description, by=actor_of(request))

    def log_change(self, request: HttpRequest, obj: Segment, message: Any) -> Any:
        """`rename_segment` recorded it."""
