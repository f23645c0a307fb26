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
        if view.scope not in credential_of(request).scopes:
            raise PermissionDenied(f"The key lacks the scope {view.scope}.", code="scope-missing")
        return True


class IsKey(BasePermission):
    """Refuses a token: whoever holds one must not make it last."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if credential_of(request).is_token:
            raise PermissionDenied("Send the API key itself, not a token.", code="key-needed")
        return True


def credential_of(request: Request) -> Credential:
    """Who calls. Raises NotAuthenticated for nobody."""
    credential: Credential | None = request.auth  # type: ignore[assignment]  # not a Token
    if credential is None:
        raise NotAuthenticated("Send an API key in the X-API-Key header.", code="no-key")
    return credential
