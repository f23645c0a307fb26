"""`GET /models`: what is trained and what serves."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.schema import documented
from access.scopes import Scope
from modelregistry.catalogue import catalogue
from modelregistry.serializers import ModelsSerializer


class ModelsView(ApiView):
    scope = Scope.MODELS_READ
    audit_action = "models.read"

    @extend_schema(
        summary="List models and versions",
        responses=documented(ModelsSerializer),
        operation_id="models",
    )
    def get(self, request: Request) -> Response:
        return Response(ModelsSerializer({"models": catalogue()}).data)
