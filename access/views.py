"""`POST /auth/token`: an API key exchanged for a short-lived access token."""

from __future__ import annotations

from typing import cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from access.api import ApiView
from access.authentication import Credential, issue_token
from access.bodies import Body
from access.permissions import IsKey
from access.schema import documented
from access.scopes import Scope


class TokenBody(Body):
    scopes = serializers.ListField(
        child=serializers.ChoiceField(
            choices=Scope.choices, error_messages={"invalid_choice": "is not a scope"}
        ),
        allow_empty=False,
        min_length=1,
        max_length=len(Scope),
        required=False,
        help_text="What the token may do, of what the key may; left out: all of it.",
    )


class TokenSerializer(serializers.Serializer):
    """As in RFC 6749; `scope` names the scopes, separated by spaces."""

    access_token = serializers.CharField()
    token_type = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds; it ends with its key, too.")
    scope = serializers.CharField()


class TokenView(ApiView):
    audit_action = "token.issued"
    permission_classes = [IsKey]

    @extend_schema(
        summary="Exchange a key for an access token",
        request=TokenBody,
        responses=documented(TokenSerializer, 415),
        operation_id="auth_token",
        auth=[{"ApiKey": []}, {"ApiKeyAuthorization": []}],  # type: ignore[list-item]  # as its docs say
    )
    def post(self, request: Request) -> Response:
        credential = cast(Credential, request.auth)
        self.audit_target = ("api_key", credential.id)
        scopes = frozenset(TokenBody.of(request).get("scopes", credential.scopes))
        if missing := sorted(scopes - credential.scopes):
            raise PermissionDenied(
                f"The key lacks the scope {', '.join(missing)}.", code="scope-missing"
            )
        token = issue_token(credential, scopes)
        self.audit_details = {
            "token": token.id,
            "scopes": sorted(scopes),
            "expires_in_seconds": token.expires_in_seconds,
        }
        return Response(
            {
                "access_token": token.text,
                "token_type": "Bearer",
                "expires_in": token.expires_in_seconds,
                "scope": " ".join(sorted(scopes)),
            },
            headers={"Cache-Control": "no-store"},
        )
