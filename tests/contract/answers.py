"""The schema as a judge of answers: status, media type, headers and body must be documented."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator, FormatChecker

Schema = dict[str, Any]
formats = FormatChecker(())


@formats.checks("date-time", raises=ValueError)
def is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@cache
def schema() -> Schema:
    """As `GET /schema` serves it, but that no answer may hold a field that it does not name."""
    document: Schema = SchemaGenerator().get_schema(request=None, public=True)
    for component in document["components"]["schemas"].values():
        if "properties" in component and "additionalProperties" not in component:
            component["unevaluatedProperties"] = False
    return document


def operations() -> Iterator[tuple[str, str, Schema]]:
    """Method, path and definition of each."""
    for path, methods in schema()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def assert_documented(
    operation: Schema, status: int, headers: Mapping[str, str], content: bytes
) -> None:
    """The operation may answer this, in this form."""
    name = operation["operationId"]
    documented = operation["responses"].get(str(status))
    assert documented, f"{name} does not document {status}"
    media_type = headers["Content-Type"].partition(";")[0]
    assert media_type in documented["content"], f"{name} does not document {media_type}"
    for header, reference in documented["headers"].items():
        definition = schema()["components"]["headers"][reference["$ref"].rpartition("/")[2]]
        assert header in headers or not definition.get("required"), f"{name} {status}: {header}"
        if header in headers:
            assert_header(headers[header], definition["schema"])
    if media_type.endswith("json"):
        assert_fits(json.loads(content), documented["content"][media_type]["schema"])


def assert_header(value: str, part: Schema) -> None:
    assert_fits(int(value) if part["type"] == "integer" else value, part)


def assert_fits(body: Any, part: Schema) -> None:
    whole = {**part, "components": schema()["components"]}
    errors = list(Draft202012Validator(whole, format_checker=formats).iter_errors(body))
    assert not errors, [f"{error.json_path}: {error.message[:200]}" for error in errors]
