"""`GET /metrics` for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.negotiation import WhateverIsAccepted
from access.schema import documented
from access.scopes import Scope
from monitoring.metrics import exposition


class TextRenderer(BaseRenderer):
    media_type = "text/plain"
    format = "text"
    charset = "utf-8"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return str(data).encode()


class MetricsView(ApiView):
    """The one answer that is no JSON, whatever is accepted; its problems are JSON like all."""

    scope = Scope.METRICS
    audit_action = "metrics.read"

    content_negotiation_class = WhateverIsAccepted

    @extend_schema(
        summary="Figures for Prometheus",
        description=(
            "Calls, customers, errors and latency of predictions since ever; the version that "
            "serves, its quality, segments and last drift check; alerts, trainings and messages. "
            "Text format 0.0.4."
        ),
        responses={
            (200, "text/plain"): OpenApiTypes.STR,
            **{key: value for key, value in documented(None).items() if key != 200},
        },
        operation_id="metrics",
    )
    def get(self, request: Request) -> Response:
        text = exposition(build=settings.VERSION)
        request.accepted_renderer = TextRenderer()
        return Response(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)
