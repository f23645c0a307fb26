"""Customers in the order of their ids, a page at a time, each as cheap as the first at any depth.

A page begins beside a customer; nothing is counted. With segments to look in, the assignments'
index gives the ids.
"""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from modelregistry.models import ModelVersion
from segments.models import Assignment, AssignmentQuerySet, Customer

NOISE_NAME = "noise"
NO_SEGMENT = "none"
"""Of customers whom a version did not assign: they lack a value it needs, or came since."""
MAX_CURSOR = 2_000
ID_OF_CUSTOMER = "customer__customer_id"
"""The key itself takes no lookup of texts."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Customers whose id begins with `prefix`, in these segments (NOISE_KEY: noise) by version,
    and without an assignment to these versions."""

    prefix: str = ""
    segments: tuple[tuple[int, int], ...] = ()
    without: tuple[int, ...] = ()

    @property
    def is_narrowed(self) -> bool:
        return bool(self.segments or self.without)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Place:
    """Beside a customer: a page from here holds those after, or those before."""

    customer_id: str
    is_before: bool = False

    def cursor(self, wanted: Wanted) -> str:
        """As text for a link; it fits a list of the same customers only."""
        parts = [self.customer_id, self.is_before, wanted.fingerprint]
        return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode()


@dataclass(frozen=True, slots=True)
class Page:
    customers: list[Customer]
    before: Place | None
    after: Place | None


def place_of(cursor: str, wanted: Wanted) -> Place | None:
    """The place that a cursor names; None for none, a damaged one, and one of another list."""
    try:
        text = base64.b64decode(cursor[:MAX_CURSOR], altchars=b"-_", validate=True)
        customer_id, is_before, fingerprint = msgspec.json.decode(text, type=tuple[str, bool, str])
    except (ValueError, msgspec.DecodeError):
        return None
    is_of_list = fingerprint == wanted.fingerprint and customer_id.startswith(wanted.prefix)
    if not is_of_list or "\0" in customer_id:
        return None
    return Place(customer_id, is_before)


def customers_page(wanted: Wanted, *, size: int, place: Place | None = None) -> Page:
    """The page at a place, or the first: one query, with segments two."""
    is_before = place is not None and place.is_before
    found = _nearest(wanted, size + 1, place)
    has_more = len(found) > size
    found = found[:size]
    if is_before:
        found.reverse()
    has_after = has_more if not is_before else bool(found)
    has_before = has_more if is_before else place is not None and bool(found)
    return Page(
        found,
        before=Place(found[0].pk, is_before=True) if has_before else None,
        after=Place(found[-1].pk) if has_after else None,
    )


def segment_names(customers: Sequence[Customer], versions: Sequence[ModelVersion]) -> Any:
    """By customer and model type the name of the segment; one query."""
    types = {version.pk: version.model_type for version in versions}
    # By customer alone: told of the versions too, SQLite walks all that these assigned.
    rows = Assignment.objects.filter(
        customer__in=[customer.pk for customer in customers]
    ).values_list("customer_id", "version_id", "segment__name")
    names: dict[tuple[str, str], str] = {
        (key, types[version_id]): name or NOISE_NAME
        for key, version_id, name in rows
        if version_id in types
    }
    return names


def _nearest(wanted: Wanted, n: int, place: Place | None) -> list[Customer]:
    """The first `n` customers from a place on, in the direction that it looks."""
    sign = "-" if place is not None and place.is_before else ""
    bounds = _bounds(wanted.prefix, place, of_assignments=bool(wanted.segments))
    if not wanted.segments:
        rows = Customer.objects.filter(**bounds)
        for version in wanted.without:
            rows = rows.filter(~Exists(_own(version)))
        return list(_listed(rows).order_by(f"{sign}customer_id")[:n])
    (version_id, segment), *others = wanted.segments
    assigned = Assignment.objects.filter(version=version_id).in_segment(segment)
    for other_version, other in others:
        assigned = assigned.filter(Exists(_own(other_version).in_segment(other)))
    for version in wanted.without:
        assigned = assigned.filter(~Exists(_own(version)))
    ids = list(
        assigned.filter(**bounds)
        .order_by(f"{sign}customer_id")
        .values_list("customer_id", flat=True)[:n]
    )
    by_id = _listed(Customer.objects.filter(pk__in=ids)).in_bulk()
    return [by_id[key] for key in ids if key in by_id]  # erased meanwhile


def _own(version_id: int) -> AssignmentQuerySet:
    """The assignment of the customer of an outer query."""
    return Assignment.objects.filter(version=version_id, customer=OuterRef("customer_id"))


def _listed(customers: QuerySet[Customer]) -> QuerySet[Customer]:
    return customers.defer("attributes_json")


def _bounds(prefix: str, place: Place | None, *, of_assignments: bool) -> dict[str, str]:
    """Conditions on the id: beyond the place, and with a beginning that its index finds."""
    bounds = _within(prefix, of_assignments=of_assignments)
    if place is None:
        return bounds
    # A cursor names a customer of the list, so its bound is the tighter one; and of two on one
    # side SQLite may seek by the looser, and read from there.
    if place.is_before:
        return {**bounds, "customer_id__lt": place.customer_id}
    bounds.pop("customer_id__gte", None)
    return {**bounds, "customer_id__gt": place.customer_id}


def _within(prefix: str, *, of_assignments: bool) -> dict[str, str]:
    """A beginning, as either database finds it by an index."""
    if not prefix:
        return {}
    if connection.vendor != "sqlite":
        return {f"{ID_OF_CUSTOMER if of_assignments else 'customer_id'}__startswith": prefix}
    bounds = {"customer_id__gte": prefix}
    last = next((i for i in reversed(range(len(prefix))) if ord(prefix[i]) < sys.maxunicode), None)
    if last is not None:
        code = ord(prefix[last]) + 1
        code = 0xE000 if 0xD800 <= code < 0xE000 else code  # surrogates are no characters
        bounds["customer_id__lt"] = prefix[:last] + chr(code)
    return bounds
