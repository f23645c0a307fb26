"""No key, token or password reaches a log, in a message or in a traceback."""

from __future__ import annotations

import io
import logging

import pytest

from segmentation_project.redaction import RedactingFilter, redact

SECRET = "s3cret-Value.123"
STORED = "AbCdEf12." + "x" * 32


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


def test_a_stored_key_is_cut_out_wherever_it_stands() -> None:
    assert redact(f"somebody sent {STORED} as a name") == ("somebody sent [redacted key] as a name")


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
