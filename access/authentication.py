"""Who calls: an API key or an access token, read once per request.

None is anonymous; a key that is unknown, wrong, expired or revoked, and a token that is bad or
whose key is, are one and the same 401. For keys it costs the same work, too.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from access import tokens
from access.key_format import KEY_ID, SECRET_LENGTH, key_id_of, key_text
from access.models import ApiKey
from access.scopes import ALL_SCOPES

BOOTSTRAP_ID = "bootstrap"
BOOTSTRAP_LABEL = "API_KEY of the environment"
NO_KEY_ID = "no-key--"
"""No key has it: ids are letters and digits."""
NO_KEY = key_text(NO_KEY_ID, "x" * SECRET_LENGTH)
NO_KEY_HASH = ApiKey.objects.key_generator.hash(NO_KEY)


@dataclass(frozen=True, slots=True)
class Credential:
    """A verified key, or a token in its place: `id` is the key's public prefix.

    `rate` is empty for the default; `lineage` is what the key and its successors have in common.
    """

    id: str
    label: str
    scopes: frozenset[str]
    lineage: str
    rate: str = ""
    expires_at: datetime | None = None
    is_token: bool = False

    is_authenticated = True


class ApiKeyAuthentication(BaseAuthentication):
    """Puts a `Credential` on `request.user` and `request.auth`."""

    def authenticate(self, request: Request) -> tuple[Credential, Credential] | None:
        key = request.META.get(settings.API_KEY_CUSTOM_HEADER)
        if key is not None:
            credential = verify(key)
        else:
            scheme, _, sent = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
            verifier = {"api-key": verify, "bearer": verify_token}.get(scheme.lower())
            if verifier is None:
                return None
            credential = verifier(sent.strip())
        if credential is None:
            raise AuthenticationFailed("The API key or token is not valid.", code="invalid-key")
        return credential, credential

    def authenticate_header(self, request: Request) -> str:
        realm = 'realm="Customer Segmentation API"'
        return f"Api-Key {realm}, Bearer {realm}"


def verify(key: str) -> Credential | None:
    """The credential behind a key, or None. One query, none for the bootstrap key.

    A typo is refused by its checksum; a key that there is not is looked up in its place, so that
    every refusal takes the same time and no part of a typo gets into a query.
    """
    if hmac.compare_digest(_digest(key), _digest(settings.API_KEY)):
        return Credential(BOOTSTRAP_ID, BOOTSTRAP_LABEL, ALL_SCOPES, BOOTSTRAP_ID)
    key_id = key_id_of(key)
    if key_id is None:
        key_id, key = NO_KEY_ID, NO_KEY
    stored = ApiKey.objects.usable(key_id)
    hashed = NO_KEY_HASH if stored is None else stored.hashed_key
    if not ApiKey.objects.key_generator.verify(key, hashed) or stored is None:
        return None
    return Credential(
        stored.prefix, stored.name, stored.scopes, stored.lineage, stored.rate, stored.expires_at
    )


def verify_token(token: str) -> Credential | None:
    """The credential of a token's key as the key is now, with no scope that either lacks."""
    claims = tokens.read(token)
    if claims is None:
        return None
    if claims.key_id == BOOTSTRAP_ID:
        if not hmac.compare_digest(_digest(claims.mark), _digest(tokens.mark_of(settings.API_KEY))):
            return None
        name, scopes, lineage, rate = BOOTSTRAP_LABEL, ALL_SCOPES, BOOTSTRAP_ID, ""
    else:
        stored = ApiKey.objects.usable(claims.key_id) if KEY_ID.fullmatch(claims.key_id) else None
        if stored is None:
            return None
        name, scopes, lineage, rate = stored.name, stored.scopes, stored.lineage, stored.rate
    return Credential(
        claims.key_id, f"{name} (token)", scopes & claims.scopes, lineage, rate, is_token=True
    )


def issue_token(credential: Credential, scopes: frozenset[str]) -> tokens.IssuedToken:
    """A token in place of a verified key, which it does not outlive.

    One for the bootstrap key ends when API_KEY changes.
    """
    mark = tokens.mark_of(settings.API_KEY) if credential.id == BOOTSTRAP_ID else ""
    return tokens.issue(
        key_id=credential.id, scopes=scopes, mark=mark, key_expires_at=credential.expires_at
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
