"""`GET /audit/logs`: the trail, newest first; reading it is itself recorded."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError
from rest_framework.utils.urls import replace_query_param

from access.api import ApiView
from access.pagination import invalid_cursor
from access.schema import documented
from access.scopes import Scope
from audit.filters import fingerprint, matching
from audit.pages import BadCursor, Place, page_of, place_of
from audit.search import TooManyNames
from audit.serializers import AuditEntrySerializer, AuditPage, AuditQuery


class AuditLogsView(ApiView):
    scope = Scope.AUDIT_READ
    audit_action = "audit.read"
    query_serializer_class = AuditQuery

    @extend_schema(
        summary="Read the audit trail",
        description=(
            "Entries, newest first, that fit every filter given. A cursor belongs to the filters "
            "it came with. The entry of this very call is not among them."
        ),
        parameters=[AuditQuery],
        responses=documented(AuditPage),
        operation_id="audit_logs",
    )
    def get(self, request: Request) -> Response:
        filters = {
            name: value for name, value in self.query.items() if name not in ("limit", "cursor")
        }
        self.audit_details = {"filters": {name: str(value) for name, value in filters.items()}}
        own = fingerprint(filters)
        try:
            cursor = self.query.get("cursor")
            page = page_of(
                matching(filters),
                size=self.query["limit"],
                place=None if cursor is None else place_of(cursor, own),
                phrase=filters.get("q", ""),
            )
        except BadCursor as error:
            raise invalid_cursor() from error
        except TooManyNames as error:
            raise ValidationError({"q": str(error)}, code="too-many-names") from error
        self.n_items = len(page.entries)

        def link(place: Place | None) -> str | None:
            here = request.build_absolute_uri()
            return None if place is None else replace_query_param(here, "cursor", place.cursor(own))

        return Response(
            {
                "next": link(page.older),
                "previous": link(page.newer),
                "results": AuditEntrySerializer(page.entries, many=True).data,
            }
        )
