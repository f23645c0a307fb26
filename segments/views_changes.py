"""`GET /segments/{model_type}/changes`: who entered or left a segment since a moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.pagination import invalid_cursor
from access.schema import documented
from access.scopes import Scope
from segments.changes import OutOfReach, changes_since
from segments.serializers_changes import ChangesPage, ChangesQuery
from segments.views import known_segment
from segments.views_changes_pages import ChangesPagination, FirstPage, VersionChanged

DEFAULT_SINCE = timedelta(days=1)


class ChangesView(ApiView):
    scope = Scope.SEGMENTS_READ
    audit_action = "segments.changes_read"
    query_serializer_class = ChangesQuery

    @extend_schema(
        summary="List who came into another segment",
        description=(
            "Customers whose segment is another one than at `since`, whether they changed or "
            "another version was activated; with `segment` those who entered or left it. Who left "
            "and came back is not listed, nor is who was erased. Changes are kept for "
            "CHANGES_KEPT_DAYS days; an earlier `since` is refused. `next` carries the `since` "
            "and `as_of` of the first page; when another version was activated since then it is a "
            "409, and the list has to be read again from its first page."
        ),
        parameters=[ChangesQuery],
        responses=documented(ChangesPage, 404, 409),
        operation_id="segment_changes",
    )
    def get(self, request: Request, model_type: str) -> Response:
        pages = ChangesPagination(request)
        at, since = timezone.now(), self.query.get("since")
        if pages.first is not None:
            if since not in (None, pages.first.since) or pages.first.as_of > at:
                raise invalid_cursor()
            since = pages.first.since
        try:
            changes = changes_since(model_type, since, at=at, default=DEFAULT_SINCE)
        except OutOfReach as error:
            raise ValidationError({"since": str(error)}, code="out-of-range") from error
        self.audit_target = ("model_version", str(changes.now))
        first = pages.first or FirstPage(changes.generation, changes.since, changes.as_of)
        if first.generation != changes.generation:
            raise VersionChanged
        changes = replace(changes, segment=known_segment(self.query, model_type))
        page = pages.read(changes, request, first=first)
        self.n_items = len(page)
        return Response(
            {
                "model_type": model_type,
                "version": changes.now.number,
                "version_then": changes.then.number if changes.then else None,
                "since": changes.since,
                "as_of": first.as_of,
                **pages.envelope(page),
            }
        )
