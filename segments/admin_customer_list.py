"""The list of customers in the admin: found by id and by segment, in pages by key."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter
from unfold.views import ChangeList

from access.staff import PAGES
from modelregistry.activation import active_versions
from modelregistry.models import ModelType, ModelVersion
from segments.customer_pages import (
    NO_SEGMENT,
    NOISE_NAME,
    Wanted,
    customers_page,
    place_of,
    segment_names,
)
from segments.models import NOISE_KEY, VersionSegment

CURSOR = "cursor"
MAX_PREFIX = 200


def versions_of(request: HttpRequest) -> dict[str, ModelVersion]:
    """The versions that serve, by model type: the same throughout a request."""
    known: dict[str, ModelVersion] | None = getattr(request, "serving_versions", None)
    if known is None:
        known = {version.model_type: version for version in active_versions()}
        request.serving_versions = known  # type: ignore[attr-defined]
    return known


def segments_of(request: HttpRequest) -> dict[str, list[tuple[str, str]]]:
    """Ids and names of the segments of the versions that serve, by model type; one query."""
    known: dict[str, list[tuple[str, str]]] | None = getattr(request, "serving_segments", None)
    if known is None:
        types = {version.pk: name for name, version in versions_of(request).items()}
        known = {name: [] for name in types.values()}
        rows = VersionSegment.objects.filter(version__in=types).order_by("segment__name")
        for version_id, key, name in rows.values_list("version_id", "segment_id", "segment__name"):
            known[types[version_id]].append((str(key), name))
        if ModelType.DBSCAN in known:
            known[ModelType.DBSCAN].append((NOISE_NAME, NOISE_NAME))
        request.serving_segments = known  # type: ignore[attr-defined]
    return known


def chosen_segments(request: HttpRequest) -> dict[str, str]:
    """What the address says of segments, by model type."""
    chosen = {name: request.GET.get(name, "") for name in segments_of(request)}
    return {name: value for name, value in chosen.items() if value}


class SegmentFilter(DropdownFilter):
    """Customers in one segment, or in none, of the version of a type that serves now."""

    model_type: str

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        segments = segments_of(request).get(self.model_type)
        return [] if segments is None else [*segments, (NO_SEGMENT, "not assigned")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset  # `CustomerList` looks by the index of assignments


class KmeansFilter(SegmentFilter):
    title, parameter_name, model_type = "K-means segment", "kmeans", ModelType.KMEANS


class DbscanFilter(SegmentFilter):
    title, parameter_name, model_type = "DBSCAN segment", "dbscan", ModelType.DBSCAN


FILTERS = (KmeansFilter, DbscanFilter)


class CustomerList(ChangeList):
    """Pages by key, in the order of ids; `wanted` are the customers of the list."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        # No filter, and no part of the links that begin another list.
        for params in (self.params, self.filter_params):
            params.pop(CURSOR, None)
        return super().get_queryset(request, exclude_parameters)

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[str]:
        return ["customer_id"]

    def get_results(self, request: HttpRequest) -> None:
        versions = versions_of(request)
        self.wanted = self._wanted(request, versions)
        place = place_of(request.GET.get(CURSOR, ""), self.wanted)
        page = customers_page(self.wanted, size=self.list_per_page, place=place)
        names = segment_names(page.customers, list(versions.values()))
        for customer in page.customers:
            customer.segments_now = {  # type: ignore[attr-defined]
                model_type: names.get((customer.pk, model_type)) for model_type in versions
            }
        self.result_list = page.customers
        self.result_count = self.full_result_count = len(page.customers)
        self.newer, self.older = (
            self.get_query_string({CURSOR: place.cursor(self.wanted)}) if place else ""
            for place in (page.before, page.after)
        )
        self.paginator = SimpleNamespace(template_name=f"{PAGES}/customer_pages.html")
        self.show_full_result_count = False
        self.show_admin_actions = bool(page.customers)
        self.can_show_all = self.multi_page = False

    def _wanted(self, request: HttpRequest, versions: dict[str, ModelVersion]) -> Wanted:
        """By the filters whose segment the version has; an old link's other one finds nobody."""
        prefix = self.query.strip()[:MAX_PREFIX].replace("\0", "")
        chosen = chosen_segments(request)
        without = [name for name in sorted(chosen) if chosen[name] == NO_SEGMENT]
        return Wanted(
            prefix,
            tuple((versions[n].pk, _key(chosen[n])) for n in sorted(chosen) if n not in without),
            tuple(versions[name].pk for name in without),
        )


def _key(value: str) -> int:
    if value == NOISE_NAME:
        return NOISE_KEY
    is_id = value.isascii() and value.isdigit() and len(value) < 19
    return int(value) if is_id else 0
