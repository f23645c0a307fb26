"""Bad bodies, parameters and addresses on every route: problems that quote nothing, never a 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, get_resolver

from access.api import ApiView
from tests.bad_input import (
    BAD_FIELDS,
    BAD_PARAMETERS,
    HUGE_NUMBERS,
    MALFORMED,
    NOT_OBJECTS,
    OTHER_TYPES,
)
from tests.factories import TrainedModels

PATHS = {
    "model_type": "kmeans",
    "number": "1",
    "job_id": "1",
    "alert_id": "1",
    "report_id": "1",
    "customer_id": "C-000001",
}
OBJECTS = {
    "train": ("parameters", "features", "note"),
    "model-version-activate": ("reason", "force"),
    "model-rollback": ("reason", "version", "force"),
    "job-cancel": (),
    "job-retry": (),
    "alert-acknowledge": ("note",),
    "alert-silence": ("note", "until"),
    "alert-unsilence": ("note",),
    "alert-resolve": ("note",),
    "auth-token": ("scopes",),
}
"""Routes that take an object, and its fields."""


def routes() -> Iterator[tuple[str, type[ApiView], str]]:
    """Name, view and pattern of every route of the API."""
    for pattern in get_resolver().url_patterns:
        view = getattr(getattr(pattern, "callback", None), "cls", None)
        if isinstance(pattern, URLPattern) and view is not None and issubclass(view, ApiView):
            yield str(pattern.name), view, str(pattern.pattern)


def path_of(pattern: str, **parts: str) -> str:
    path = "/" + pattern
    for name, value in {**PATHS, **parts}.items():
        for converter in ("int", "model_type", "customer_id", "path", "str"):
            path = path.replace(f"<{converter}:{name}>", value)
    assert "<" not in path, path
    return path


POSTED = [(name, path_of(rest)) for name, view, rest in routes() if hasattr(view, "post")]
READ = [(view, path_of(rest)) for name, view, rest in routes() if hasattr(view, "get")]
PARAMETERS = {
    (field, type(kind)): (path, field)
    for view, path in READ
    if view.query_serializer_class is not None
    for field, kind in view.query_serializer_class().fields.items()
}
"""Each kind of parameter once, on one of the routes that take it."""
NUMBERED = [
    (name, view, rest, part)
    for name, view, rest in routes()
    for part in PATHS
    if f"<int:{part}>" in rest
]


@pytest.fixture(autouse=True)
def unlimited(settings: Any) -> None:
    settings.RATE_LIMIT = "1000000/m"


def assert_refused(answer: HttpResponse, *allowed: int) -> None:
    content = b"".join(answer)
    assert answer.status_code in allowed, (answer.status_code, content[:500])
    assert b"very-secret" not in content
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"


def post(client: Client, path: str, body: bytes, content_type: str = "application/json") -> Any:
    return client.generic("POST", path, body, content_type)


@pytest.mark.parametrize(("name", "path"), POSTED)
def test_bodies_that_are_no_json_are_refused_everywhere(
    trained: TrainedModels, api: Client, name: str, path: str
) -> None:
    allowed = (400, 404) if "alert" in name or "job" in name else (400,)
    for case, body in MALFORMED:
        assert_refused(post(api, path, body({"orders": 1})), *allowed), case


@pytest.mark.parametrize(("name", "path"), POSTED)
def test_other_types_and_charsets_are_refused_everywhere(
    trained: TrainedModels, api: Client, name: str, path: str
) -> None:
    allowed = (415, 404) if "alert" in name or "job" in name else (415,)
    for content_type in OTHER_TYPES:
        assert_refused(post(api, path, b'["very-secret"]', content_type), *allowed)
    for coding in ("gzip", "br", "deflate, gzip"):
        answer = api.generic(
            "POST", path, b"\x1f\x8b", "application/json", headers={"Content-Encoding": coding}
        )
        assert_refused(answer, *allowed)


@pytest.mark.parametrize(("name", "path"), [item for item in POSTED if item[0] in OBJECTS])
def test_objects_with_bad_fields_are_refused(
    trained: TrainedModels, api: Client, name: str, path: str
) -> None:
    allowed = (400, 404) if "alert" in name or "job" in name else (400,)
    for body in NOT_OBJECTS:
        assert_refused(post(api, path, body), *allowed)
    assert_refused(post(api, path, b'{"very_secret_field": "very-secret"}'), *allowed)
    assert_refused(post(api, path, b'{"a": 1, "a": "very-secret"}'), *allowed)
    for field in OBJECTS[name]:
        for value in BAD_FIELDS:
            reason = "" if field == "reason" else '"reason": "tests", '
            body = f'{{{reason}"{field}": {value}}}'
            assert_refused(post(api, path, body.encode()), *allowed)


@pytest.mark.parametrize(("path", "field"), PARAMETERS.values())
def test_bad_parameters_never_fail_the_server(
    trained: TrainedModels, api: Client, path: str, field: str
) -> None:
    for value in BAD_PARAMETERS:
        assert_refused(api.get(f"{path}?{field}={value}"), 200, 400, 404)
    assert_refused(api.get(f"{path}?{field}=1&{field}=very-secret"), 400, 404)
    assert_refused(api.get(f"{path}?%00=very-secret&%ff"), 400)


@pytest.mark.parametrize(("name", "view", "rest", "part"), NUMBERED)
def test_numbers_beyond_the_database_are_not_found(
    trained: TrainedModels, api: Client, name: str, view: type[ApiView], rest: str, part: str
) -> None:
    for number in HUGE_NUMBERS:
        path = path_of(rest, **{part: number})
        if hasattr(view, "get"):
            assert_refused(api.get(path), 404)
        else:
            sent = json.dumps({"reason": "x", "until": "2030-01-01T00:00:00Z"})
            assert_refused(post(api, path, sent.encode()), 400, 404)
            assert_refused(post(api, path, b""), 400, 404)


@pytest.mark.parametrize(
    "path",
    ["/models/lda/train", "/predict/%00", "/predict/kmeans%2f", "/jobs/-1", "/jobs/1e3", "/%ff%fe"],
)
def test_addresses_that_are_none_are_not_found(db: None, api: Client, path: str) -> None:
    for method in ("GET", "POST"):
        answer = api.generic(method, path)
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
