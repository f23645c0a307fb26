"""The door of the API: a view names the scope it needs; a key without it gets a 403."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import NotAuthenticated, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from access.authentication import Credential


class HasScope(BasePermission):
    """Refuses unless the credential carries the view's `scope`; fails closed without one."""

    def has_permission(self, request: Request, view: Any) -> bool:
        credential: Credential | None = request.auth  # type: ignore[assignment]  # not a Token
        if credential is None:
            raise NotAuthenticated("Send an API key in the X-API-Key header.", code="no-key")
        if view.scope not in credential.scopes:
            raise PermissionDenied(f"The key lacks the scope {view.scope}.", code="scope-missing")
        return True
