"""`GET /schema`: valid OpenAPI, with every operation and nothing that a tool had to guess."""

from __future__ import annotations

import io
from typing import Any

import pytest
import yaml
from django.core.management import call_command


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    written = io.StringIO()
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=written)
    document: dict[str, Any] = yaml.safe_load(written.getvalue())
    return document


def test_every_operation_has_a_name_of_its_own_and_says_what_it_is_for(
    schema: dict[str, Any],
) -> None:
    operations = [
        operation for methods in schema["paths"].values() for operation in methods.values()
    ]

    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert all(operation["summary"] for operation in operations)


def test_one_address_may_be_read_and_told(schema: dict[str, Any]) -> None:
    drift = schema["paths"]["/monitor/drift"]

    assert {method: drift[method]["operationId"] for method in drift} == {
        "get": "drift_reports",
        "post": "monitor_drift",
    }
    assert "409" in schema["paths"]["/monitor/alerts/{alert_id}/silence"]["post"]["responses"]


def test_a_silence_must_say_when_it_ends(schema: dict[str, Any]) -> None:
    body = schema["components"]["schemas"]["SilenceBodyRequest"]

    assert body["required"] == ["until"]
    assert body["properties"]["until"]["format"] == "date-time"
