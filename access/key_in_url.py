"""A key or token in a URL: refused, and to be revoked, as logs have kept it by then."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

from django.conf import settings
from rest_framework.exceptions import APIException

from access.key_format import KEY, SECRET_TEXT, TOKEN_TEXT

NAMES = frozenset(
    {
        *("apikey", "xapikey", "key", "token", "apitoken", "accesstoken", "authtoken", "jwt"),
        *("authorization", "auth", "bearer", "secret", "secretkey"),
    }
)
"""Of parameters, in small letters and digits alone."""
PARAMETER = re.compile("(?:^|[&;?])([^&;?=]+)(?:=([^&;]*))?")
NO_LETTER = re.compile("[^a-z0-9]")
SECRET_IN_PATH = re.compile(f"{KEY.pattern}|{TOKEN_TEXT}")
"""Whole ones only: the ids of customers, too, stand in paths."""
MAX_DECODINGS = 2
REDACTED = "[redacted]"


class KeyInUrl(APIException):
    status_code = 400
    default_code = "key-in-url"
    default_detail = (
        "A key or token must not stand in a URL, where logs keep it. Revoke it, and send the "
        "next one in the X-API-Key header."
    )


def secret_in_query(query: str) -> str | None:
    """What is a key or token, by its parameter's name or its look; None when nothing is.

    `query` is as it was sent; it is also looked at percent-decoded once and twice.
    """
    if not query:
        return None
    for text in spellings(unquote_plus(query), query):
        if secret := secret_in(text, SECRET_TEXT):
            return secret
        for name, value in PARAMETER.findall(text):
            if NO_LETTER.sub("", name.lower()) in NAMES:
                return str(value)
    return None


def secret_in_path(path: str) -> str | None:
    """The whole key or token in a path that is decoded already, once as it should be."""
    for text in spellings(path):
        if secret := secret_in(text, SECRET_IN_PATH):
            return secret
    return None


def without_secrets(path: str) -> str:
    """A path as answers, logs and the trail may show it."""
    shown = SECRET_TEXT.sub(REDACTED, path.replace(settings.API_KEY, REDACTED))
    return REDACTED if secret_in_path(shown) else shown


def secret_in(text: str, form: re.Pattern[str]) -> str | None:
    if settings.API_KEY in text:
        return settings.API_KEY
    match = form.search(text)
    return match[0] if match else None


def spellings(text: str, *others: str) -> Iterator[str]:
    """The texts, and the first one decoded again as long as that changes it."""
    yield text
    yield from (other for other in others if other != text)
    for _ in range(MAX_DECODINGS - 1):
        if "%" not in text:
            return
        text = unquote(text)
        yield text
