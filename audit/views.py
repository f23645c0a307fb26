"""`GET /audit/logs`: the trail, newest first; reading it is itself recorded."""

from __future__ import annotations

import re

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.pagination import KeysetPagination
from access.schema import documented
from access.scopes import Scope
from audit.models import AuditEntry
from audit.serializers import AuditEntrySerializer, AuditPage, AuditQuery

ENTRY_ID = re.compile(r"^\d{1,18}$")


class AuditLogsView(ApiView):
    scope = Scope.AUDIT_READ
    audit_action = "audit.read"
    query_serializer_class = AuditQuery

    @extend_schema(
        summary="Read the audit trail",
        parameters=[AuditQuery],
        responses=documented(AuditPage),
        operation_id="audit_logs",
    )
    def get(self, request: Request) -> Response:
        entries = AuditEntry.objects.all()
        filters = {"actor": "actor_id", "action": "action", "since": "at__gte", "until": "at__lt"}
        for parameter, lookup in filters.items():
            if parameter in self.query:
                entries = entries.filter(**{lookup: self.query[parameter]})
        pages = KeysetPagination("-id", ENTRY_ID)
        page = pages.paginate_queryset(entries, request, view=self) or []
        self.n_items = len(page)
        shown = AuditEntrySerializer(page, many=True).data
        return Response(pages.envelope(list(shown)))
