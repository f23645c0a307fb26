"""Customers, imports and segments in the admin; importing its pages registers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from django import forms
from django.contrib import admin
from django.db.models import (
    Case,
    Exists,
    Field,
    FloatField,
    IntegerField,
    OuterRef,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from access.figures import NONE, figure, share
from access.staff import PAGES, RecordedChanges, actor_of
from modelregistry.activation import active_versions
from modelregistry.models import Activation
from segments import admin_customers, admin_imports  # noqa: F401
from segments.description_page import CARD_WORDS, stability_of
from segments.models import Segment, VersionSegment
from segments.naming import NameTaken, refuse_taken, rename_segment
from segments.segment_page import life
from segments.sizes import Sizes, segment_sizes


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


FigureOf: TypeAlias = Callable[[int, int], float]
"""From the customers of a segment and of all segments."""


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
        "share_of_all",
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
        """With the size and share now in the active version."""
        at, active = timezone.now(), [version.pk for version in active_versions()]
        sizes = [segment_sizes(version_id, at=at) for version_id in active]
        in_active = VersionSegment.objects.filter(version__in=active, segment=OuterRef("pk"))
        served = Activation.objects.filter(to_version__segments__segment=OuterRef("pk"))
        # Not `super()`: it would order by the annotation before it is there.
        return Segment.objects.annotate(
            serves=Exists(in_active),
            n_customers=_of_each(sizes, IntegerField(), lambda n, n_all: n),
            share_now=_of_each(sizes, FloatField(), lambda n, n_all: n / n_all),
            has_served=Exists(served),
            trained_share=Subquery(in_active.values("share")[:1]),
            stability=Subquery(in_active.values("stability")[:1]),
        )

    @display(description="customers now", ordering="n_customers")
    def customers_now(self, segment: Any) -> str:
        return figure(segment.n_customers) if segment.serves else NONE

    @display(description="share now", ordering="share_now")
    def share_of_all(self, segment: Any) -> str:
        return share(segment.share_now) if segment.serves else NONE

    @display(description="share in training", ordering="trained_share")
    def share_trained(self, segment: Any) -> str:
        return share(segment.trained_share)

    @display(description="stability", ordering="stability")
    def firmness(self, segment: Any) -> str:
        stability = stability_of(segment.stability)
        return stability.label if stability else NONE

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


def _of_each(sizes: Sequence[Sizes], field: Field[Any, Any], figure_of: FigureOf) -> Case:
    """A figure of each counted segment, by which a list can be sorted; 0 for any other."""
    return Case(
        *(
            When(pk=segment_id, then=Value(figure_of(n, each.n_customers)))
            for each in sizes
            for segment_id, n in each.by_segment.items()
            if segment_id is not None
        ),
        default=Value(figure_of(0, 1)),
        output_field=field,
    )
