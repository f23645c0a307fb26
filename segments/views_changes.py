"""`GET /segments/{model_type}/changes`: who entered or left a segment since a moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.pagination import KeysetPagination
from access.schema import documented
from access.scopes import Scope
from segments.changes import OutOfReach, changes_since
from segments.serializers_changes import ChangesPage, ChangesQuery
from segments.views import CUSTOMER_ID

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
            "CHANGES_KEPT_DAYS days; an earlier `since` is refused."
        ),
        parameters=[ChangesQuery],
        responses=documented(ChangesPage, 404),
        operation_id="segment_changes",
    )
    def get(self, request: Request, model_type: str) -> Response:
        try:
            changes = changes_since(
                model_type, self.query.get("since"), at=timezone.now(), default=DEFAULT_SINCE
            )
        except OutOfReach as error:
            raise ValidationError({"since": str(error)}, code="out-of-range") from error
        self.audit_target = ("model_version", str(changes.now))
        changes = replace(changes, segment=self.query.get("segment"))
        pages = KeysetPagination("customer_id", CUSTOMER_ID)
        page: list[Any] = pages.paginate_queryset(cast(Any, changes), request, view=self) or []
        self.n_items = len(page)
        return Response(
            {
                "model_type": model_type,
                "version": changes.now.number,
                "version_then": changes.then.number if changes.then else None,
                "since": changes.since,
                "as_of": changes.as_of,
                **pages.envelope(page),
            }
        )
