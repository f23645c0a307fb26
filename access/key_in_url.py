"""A key or token in a query string: refused, and to be revoked, as logs have kept it by then."""

from __future__ import annotations

import hmac

from django.conf import settings
from django.http import QueryDict
from rest_framework.exceptions import APIException

from access.key_format import SECRET_TEXT

NAMES = frozenset({"api_key", "apikey", "x_api_key", "key", "token", "access_token"})


class KeyInUrl(APIException):
    status_code = 400
    default_code = "key-in-url"
    default_detail = (
        "A key or token must not stand in a URL, where logs keep it. Revoke it, and send the "
        "next one in the X-API-Key header."
    )


def secret_in(query_string: str) -> str | None:
    """The parameter that is a key or token, by its name or its look; None when there is none."""
    if not query_string:
        return None
    for name, values in QueryDict(query_string.encode("latin-1")).lists():
        if name.lower().replace("-", "_") in NAMES:
            return values[-1]
        for text in (name, *values):
            if SECRET_TEXT.search(text) or is_bootstrap_key(text):
                return text
    return None


def is_bootstrap_key(text: str) -> bool:
    return hmac.compare_digest(text.encode("utf-8", "replace"), settings.API_KEY.encode())
