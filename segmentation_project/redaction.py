"""Keeps keys, tokens and customers out of the logs, tracebacks included."""

from __future__ import annotations

import logging
import re

from django.conf import settings

from access.key_format import SECRET_TEXT

COOKIES = re.compile(r"(?P<name>\b(?:set-)?cookie['\"]?\s*[:=]\s*)[^\r\n]+", re.IGNORECASE)
"""Several may stand in one header, so the rest of the line goes."""
SECRETS = re.compile(
    r"(?P<name>x-api-key|x_api_key|authorization|password|secret_key|api_key|webhook_secret"
    r"|access_token)"
    r"(?P<sep>['\"]?\s*[:=]\s*['\"]?)(?:(?:api-key|bearer|basic)\s+)?[^\s'\",;]+",
    re.IGNORECASE,
)
DSN_PASSWORD = re.compile(r"(?P<scheme>\w+://[^\s:/@]*):[^\s@/]+@")
SIGNING_KEY = re.compile(r"\bwhsec_[A-Za-z0-9+/=]+")
CUSTOMER_PATH = re.compile(r"(?P<path>/customers/|/segments/customer/)[^\r\n]+")
"""Paths that name a customer, who may be erased while the log is kept; ids may hold spaces."""
SECRET_SETTINGS = (
    "SECRET_KEY", "API_KEY", "JWT_SECRET_KEY", "EMAIL_HOST_PASSWORD", "WEBHOOK_SECRET",
)  # fmt: skip
MIN_SECRET_LENGTH = 8
"""A shorter password would be cut out of innocent words."""


def redact(text: str) -> str:
    text = COOKIES.sub(r"\g<name>[redacted]", text)
    text = SECRETS.sub(r"\g<name>\g<sep>[redacted]", text)
    text = DSN_PASSWORD.sub(r"\g<scheme>:[redacted]@", text)
    text = SIGNING_KEY.sub("[redacted]", text)
    text = CUSTOMER_PATH.sub(r"\g<path>[redacted]", text)
    for name in SECRET_SETTINGS:
        if len(secret := getattr(settings, name, "")) >= MIN_SECRET_LENGTH:
            text = text.replace(secret, "[redacted]")
    return SECRET_TEXT.sub("[redacted key]", text)


class WithoutTraceback(logging.Filter):
    """For what strangers can cause at will: one line, and no traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = record.exc_text = None
        return True


class RedactingFilter(logging.Filter):
    """Rewrites the finished message, and the traceback text, of each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return True
