"""Keeps keys and tokens out of the logs, tracebacks included."""

from __future__ import annotations

import logging
import re

COOKIES = re.compile(r"(?P<name>\b(?:set-)?cookie['\"]?\s*[:=]\s*)[^\r\n]+", re.IGNORECASE)
"""Several may stand in one header, so the rest of the line goes."""
SECRETS = re.compile(
    r"(?P<name>x-api-key|x_api_key|authorization|password|secret_key|api_key|webhook_secret)"
    r"(?P<sep>['\"]?\s*[:=]\s*['\"]?)(?:(?:api-key|bearer|basic)\s+)?[^\s'\",;]+",
    re.IGNORECASE,
)
DSN_PASSWORD = re.compile(r"(?P<scheme>\w+://[^\s:/@]*):[^\s@/]+@")
SIGNING_KEY = re.compile(r"\bwhsec_[A-Za-z0-9+/=]+")
STORED_KEY = re.compile(r"\b[A-Za-z0-9]{8}\.[A-Za-z0-9]{32}\b")


def redact(text: str) -> str:
    text = COOKIES.sub(r"\g<name>[redacted]", text)
    text = SECRETS.sub(r"\g<name>\g<sep>[redacted]", text)
    text = DSN_PASSWORD.sub(r"\g<scheme>:[redacted]@", text)
    text = SIGNING_KEY.sub("[redacted]", text)
    return STORED_KEY.sub("[redacted key]", text)


class RedactingFilter(logging.Filter):
    """Rewrites the finished message, and the traceback text, of each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return True
