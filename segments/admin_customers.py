"""Customers in the admin: found, looked at, imported, exported and erased."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from access.figures import NONE
from access.staff import PAGES, ReadOnlyAdmin, RecordedChanges, actor_of, submitted
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import ModelType
from segments.admin_customer_list import FILTERS, CustomerList, chosen_segments
from segments.admin_exports import EXPORT, export_page
from segments.admin_imports import IMPORT, upload_view
from segments.customer_digests import customer_digest
from segments.customer_page import customer_context, reach_of_erasure, reach_of_erasures
from segments.description_page import may_see_segments
from segments.erasure import KEPT, NOT_ERASED_AT_ONCE, ErasureConflict, UnknownCustomer, erase
from segments.erasure import receipt_words as words_of_receipt
from segments.models import Customer

MAX_NAMED = 10
"""Customers that the message of an erasure names."""


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
    list_display = ["customer_id", "kmeans_segment", "dbscan_segment", "updated_at"]
    list_filter = list(FILTERS)
    list_filter_submit = True
    list_before_template = f"{PAGES}/customers_before.html"
    sortable_by = ()
    search_fields = ["customer_id"]  # shows the box; `customer_pages` does the looking
    search_help_text = "Beginning of an id"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would count all customers
    actions = ["delete_selected"]
    actions_list = ["import_view", "export_view"]
    timeline_note = (
        "An import, and a POST /customers of several customers, is one entry for all of them: look "
        "for customers.imported and customers.stored in the trail, not here."
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[CustomerList]:
        return CustomerList

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The button *Export* takes the chosen segment along."""
        response: HttpResponse = super().changelist_view(request, extra_context)
        chosen = chosen_segments(request)
        if isinstance(response, TemplateResponse) and chosen:
            for each in (response.context_data or {}).get("actions_list", ()):
                if each["path"] == reverse("admin:segments_customer_export_view"):
                    each["path"] += f"?{urlencode(chosen)}"
        return response

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        return queryset, False  # the pages are searched

    @display(description="K-means")
    def kmeans_segment(self, customer: Any) -> str | SafeString:
        return shown_segment(customer, ModelType.KMEANS)

    @display(description="DBSCAN")
    def dbscan_segment(self, customer: Any) -> str | SafeString:
        return shown_segment(customer, ModelType.DBSCAN)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("segments.delete_customer")

    def has_import_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perms(IMPORT)

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perms(EXPORT)

    def audit_target(self, obj: Any) -> tuple[str, str]:
        return "customer", customer_digest(obj.customer_id, secret=settings.SECRET_KEY)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Say what an erasure reaches; when confirmed, erase and show the receipt."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        customer = self.found(request, object_id)
        if customer is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        form = forms.Form(submitted(request))
        if form.is_valid():
            with erasures_refused(request):
                self.erased(request, [customer.customer_id])
                return HttpResponseRedirect(reverse("admin:segments_customer_changelist"))
            return HttpResponseRedirect(request.path)
        return self.page(
            request,
            "customer_erase.html",
            title=f"Erase customer {customer.customer_id}",
            form=form,
            button="Erase this customer",
            danger=True,
            reach=reach_of_erasure(customer),
            kept=KEPT,
            not_at_once=NOT_ERASED_AT_ONCE,
            back=reverse("admin:segments_customer_change", args=[quote(customer.pk)]),
            back_label="Back to the customer",
        )

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Outside the transaction of other actions: an erasure has its own."""
        if request.POST.get("select_across", "0") != "0":  # the filters are no part of the query
            raise PermissionDenied
        with erasures_refused(request):
            return super(RecordedChanges, self).response_action(request, queryset)
        return HttpResponseRedirect(request.get_full_path())

    @admin.action(description="Erase the chosen customers", permissions=["delete"])
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[Customer]
    ) -> HttpResponse | None:
        """In place of Django's: as `delete_view`, of several customers."""
        ids = list(queryset.values_list("pk", flat=True))
        if not ids:
            raise UnknownCustomer
        if "post" in request.POST:
            self.erased(request, ids)
            return None
        noun = "customer" if len(ids) == 1 else "customers"
        return self.page(
            request,
            "customers_erase.html",
            title=f"Erase {len(ids):,} {noun}",
            form=forms.Form(),
            ids=ids,
            button=f"Erase {len(ids):,} {noun}",
            danger=True,
            reach=reach_of_erasures(ids),
            kept=KEPT,
            not_at_once=NOT_ERASED_AT_ONCE,
            back=request.get_full_path(),
            back_label="Back to the customers",
        )

    def erased(self, request: HttpRequest, ids: list[str]) -> None:
        """Erase customers and show what the receipt says."""
        erasure = erase(
            ids,
            by=actor_of(request),
            directory=settings.MODEL_DIR,
            secret=settings.SECRET_KEY,
            elsewhere=settings.ERASED_ELSEWHERE,
        )
        messages.success(request, words_of_receipt(erasure, whose=named_customers(ids)))

    def page_context(self, request: HttpRequest, obj: Customer) -> dict[str, Any]:
        return {
            **customer_context(
                obj, directory=settings.MODEL_DIR, with_links=may_see_segments(request)
            ),
            "may_delete": self.has_delete_permission(request, obj),
        }

    @action(description="Import", icon="upload", url_path="import", permissions=["import"])
    def import_view(self, request: HttpRequest) -> HttpResponse:
        return upload_view(self, request)

    @action(description="Export", icon="download", url_path="export", permissions=["export"])
    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        return export_page(self, request)


def named_customers(ids: Sequence[str]) -> str:
    """Customers as a message names them: the first by id."""
    named = ", ".join(ids[:MAX_NAMED])
    n_more = len(ids) - MAX_NAMED
    noun = "customer" if len(ids) == 1 else "customers"
    return f"{noun} {named}" + (f" and {n_more:,} more" if n_more > 0 else "")


def shown_segment(customer: Any, model_type: str) -> str | SafeString:
    """The segment now; of a type that nothing serves of, a dash."""
    if model_type not in customer.segments_now:
        return NONE
    name = customer.segments_now[model_type]
    return format_html('<span class="seg-cell">{}</span>', name) if name else "not assigned"
