"""Who calls: the key in `X-API-Key` (or `Authorization: Api-Key`), read once per request.

A missing key is anonymous; a key that is unknown, wrong, expired or revoked is one and the same
401, and costs the same work.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from access.models import ApiKey
from access.scopes import ALL_SCOPES

BOOTSTRAP_ID = "bootstrap"
MAX_KEY_LENGTH = 200
PREFIX = re.compile(r"[A-Za-z0-9]{1,16}")
NO_KEY_HASH = ApiKey.objects.key_generator.hash("no such key")


@dataclass(frozen=True, slots=True)
class Credential:
    """A verified key: `id` is its public prefix; `rate` is empty for the default."""

    id: str
    label: str
    scopes: frozenset[str]
    rate: str = ""

    is_authenticated = True


class ApiKeyAuthentication(BaseAuthentication):
    """Puts a `Credential` on `request.user` and `request.auth`."""

    def authenticate(self, request: Request) -> tuple[Credential, Credential] | None:
        key = key_of(request)
        if key is None:
            return None
        credential = verify(key)
        if credential is None:
            raise AuthenticationFailed("The API key is not valid.", code="invalid-key")
        return credential, credential

    def authenticate_header(self, request: Request) -> str:
        return 'Api-Key realm="Customer Segmentation API"'


def key_of(request: Request) -> str | None:
    key = request.META.get(settings.API_KEY_CUSTOM_HEADER)
    if key is None:
        scheme, _, rest = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        key = rest.strip() if scheme.lower() == "api-key" else None
    return key


def verify(key: str) -> Credential | None:
    """The credential behind a key, or None. One query, none for the bootstrap key."""
    if hmac.compare_digest(_digest(key), _digest(settings.API_KEY)):
        return Credential(BOOTSTRAP_ID, "API_KEY of the environment", ALL_SCOPES)
    if len(key) > MAX_KEY_LENGTH:
        return None
    prefix = key.partition(".")[0]
    # PostgreSQL takes no NUL in a query, and no prefix of ours holds anything unusual.
    stored = ApiKey.objects.usable(prefix) if PREFIX.fullmatch(prefix) else None
    hashed = NO_KEY_HASH if stored is None else stored.hashed_key
    if not ApiKey.objects.key_generator.verify(key, hashed) or stored is None:
        return None
    return Credential(stored.prefix, stored.name, stored.scopes, stored.rate)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
