"""No key, token or password reaches a log, in a message or in a traceback."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest
from django.conf import settings

from access.key_format import SECRET_LENGTH, key_text
from segmentation_project.redaction import RedactingFilter, redact

SECRET = "s3cret-Value.123"
STORED = "AbCdEf12." + "x" * 32
KEY = key_text("AbCdEf12", "x" * SECRET_LENGTH)
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJBYkNkRWYxMiJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        f"X-API-Key: {SECRET}",
        f"{{'HTTP_X_API_KEY': '{SECRET}'}}",
        f"Authorization: Bearer {SECRET}",
        f"authorization=Api-Key {SECRET}",
        f"Authorization: Basic {SECRET}",
        f"password={SECRET}",
        f"SMTP_PASSWORD: '{SECRET}'",
        f"JWT_SECRET_KEY={SECRET}",
        f"WEBHOOK_SECRET={SECRET}",
        f"signed by whsec_{SECRET}",
        f"Cookie: sessionid={SECRET}",
        f"Cookie: csrftoken=other; sessionid={SECRET}",
        f"postgresql://user:{SECRET}@host/database",
        f"redis://:{SECRET}@host:6379/0",
    ],
)
def test_secrets_are_cut_out(text: str) -> None:
    assert SECRET not in redact(text)


@pytest.mark.parametrize("secret", [STORED, KEY, KEY[:-9], TOKEN])
def test_a_key_or_token_is_cut_out_wherever_it_stands(secret: str) -> None:
    assert redact(f"somebody sent {secret} as a name") == "somebody sent [redacted key] as a name"


@pytest.mark.parametrize("name", ["SECRET_KEY", "API_KEY", "JWT_SECRET_KEY"])
def test_a_secret_of_the_settings_is_cut_out_wherever_it_stands(name: str) -> None:
    secret = getattr(settings, name)

    assert redact(f"somebody sent {secret} as a name") == "somebody sent [redacted] as a name"


def test_a_password_is_cut_out_unless_it_could_be_a_word(settings: Any) -> None:
    settings.EMAIL_HOST_PASSWORD = "correct horse battery"
    assert "horse" not in redact("535 no, not correct horse battery")

    settings.EMAIL_HOST_PASSWORD = ""
    assert redact("535 no") == "535 no"


def test_plain_text_is_left_alone() -> None:
    text = "Trained kmeans 3 on 2,000 customers at http://localhost:8000/docs in 1.25 s"

    assert redact(text) == text


def test_a_logged_traceback_is_redacted_too() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    logger = logging.Logger("test")
    logger.addHandler(handler)

    try:
        raise ValueError(f"X-API-Key: {SECRET}")
    except ValueError:
        logger.exception("while reading %s", f"api_key={SECRET}")

    assert "ValueError" in stream.getvalue()
    assert SECRET not in stream.getvalue()
