"""`GET /schema`: valid OpenAPI, with every operation and nothing that a tool had to guess."""

from __future__ import annotations

import io
import re
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


def test_the_schema_is_openapi_3_1(schema: dict[str, Any]) -> None:
    assert schema["openapi"].startswith("3.1.")


def test_every_link_leads_to_an_operation_and_names_its_parameters(
    schema: dict[str, Any],
) -> None:
    operations = {
        operation["operationId"]: operation
        for methods in schema["paths"].values()
        for operation in methods.values()
    }
    links = [
        link
        for operation in operations.values()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]

    assert len(links) > 20
    for link in links:
        parameters = operations[link["operationId"]]["parameters"]
        needed = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert link["parameters"].keys() == needed


def test_a_body_takes_no_other_field_and_says_what_its_texts_may_hold(
    schema: dict[str, Any],
) -> None:
    body = schema["components"]["schemas"]["ActivateBodyRequest"]

    assert body["additionalProperties"] is False
    pattern = re.compile(body["properties"]["reason"]["pattern"])
    assert pattern.search("for the\nspring campaign")
    for refused in ("", " ", "a\0b", "a\u202eb", "a\u200bb"):
        assert not pattern.search(refused), refused


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


def test_any_of_three_ways_to_send_a_key_or_token_is_enough(schema: dict[str, Any]) -> None:
    schemes = schema["components"]["securitySchemes"]
    operations = {path: list(methods.values()) for path, methods in schema["paths"].items()}

    assert schemes["ApiKey"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    assert schemes["ApiKeyAuthorization"]["name"] == "Authorization"
    assert (schemes["Bearer"]["type"], schemes["Bearer"]["scheme"]) == ("http", "bearer")
    every = [{"ApiKey": []}, {"ApiKeyAuthorization": []}, {"Bearer": []}]
    assert operations["/models"][0]["security"] == every
    assert operations["/auth/token"][0]["security"] == every[:2]


def test_an_export_names_its_headers_and_the_description_what_no_operation_lists(
    schema: dict[str, Any],
) -> None:
    export = schema["paths"]["/segments/{model_type}/export"]["get"]["responses"]

    own = {"Repr-Digest", "Content-Disposition", "X-Model-Version"}
    assert own <= export["200"]["headers"].keys()
    assert not own & export["404"]["headers"].keys()
    assert all(status in schema["info"]["description"] for status in ("408", "417", "501"))
