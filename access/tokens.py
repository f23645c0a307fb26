"""Access tokens: short-lived JWTs that stand for a key, with its scopes or fewer.

A token is signed, not stored: it ends with its time, with its key, and with JWT_SECRET_KEY.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
from django.conf import settings

ISSUER = AUDIENCE = "customer-segmentation-api"
LEEWAY_SECONDS = 10
"""Between the clocks of several machines."""
MAX_LENGTH = 4_096
TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
CLAIMS = ["iss", "aud", "sub", "iat", "nbf", "exp", "jti", "scopes"]


@dataclass(frozen=True, slots=True)
class Claims:
    """What a genuine token says: whose key it stands for, and which of its scopes it was given.

    `mark` is that of the bootstrap key, which has no row to be looked up.
    """

    key_id: str
    scopes: frozenset[str]
    mark: str


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """`id` is the token's own, for the trail."""

    text: str
    id: str
    expires_in_seconds: int


def issue(
    *,
    key_id: str,
    scopes: Collection[str],
    mark: str = "",
    key_expires_at: datetime | None = None,
) -> IssuedToken:
    """A token for ACCESS_TOKEN_EXPIRE_MINUTES, or as long as its key still lives."""
    now = int(time.time())
    lifetime = settings.ACCESS_TOKEN_EXPIRE_MINUTES * 60
    if key_expires_at is not None:
        lifetime = min(lifetime, max(0, int(key_expires_at.timestamp()) - now))
    token_id = secrets.token_hex(16)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": key_id,
        "iat": now,
        "nbf": now,
        "exp": now + lifetime,
        "jti": token_id,
        "scopes": sorted(scopes),
        **({"mark": mark} if mark else {}),
    }
    text = jwt.encode(claims, settings.JWT_SECRET_KEY, algorithm=settings.JWT_ALGORITHM)
    return IssuedToken(text, token_id, lifetime)


def read(token: str) -> Claims | None:
    """What a token says; None unless it is one of ours, whole and in its time."""
    if len(token) > MAX_LENGTH or not TOKEN.fullmatch(token):
        return None
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            settings.JWT_SECRET_KEY,
            algorithms=[settings.JWT_ALGORITHM],
            issuer=ISSUER,
            audience=AUDIENCE,
            leeway=LEEWAY_SECONDS,
            options={"require": CLAIMS},
        )
    except jwt.PyJWTError:
        return None
    scopes = claims["scopes"]
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        return None
    return Claims(claims["sub"], frozenset(scopes), str(claims.get("mark", "")))


def mark_of(secret: str) -> str:
    """Tells one secret from another without telling either."""
    return hmac.new(settings.JWT_SECRET_KEY.encode(), secret.encode(), hashlib.sha256).hexdigest()
