"""What the tests of the API expect of every answer: a problem's form, one entry in the trail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.http import HttpResponse

from audit.models import AuditEntry
from segmentation_project.problems import TITLES

PROBLEM_FIELDS = {"type", "title", "status", "detail", "instance", "code", "request_id"}


def problem_of(response: HttpResponse, *, status: int, code: str) -> dict[str, Any]:
    """The body of a problem answer, its form and headers checked."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body.keys() - {"errors", "errors_total"} == PROBLEM_FIELDS
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["title"] == TITLES[code]
    assert body["type"] == f"/docs/problems#{code}"
    assert body["request_id"] == response.headers["X-Request-ID"]
    return body


def errors_of(body: dict[str, Any]) -> list[tuple[str, str]]:
    """The pointer and code of each error of a problem's body."""
    return [(error["pointer"], error["code"]) for error in body["errors"]]


@contextmanager
def one_entry(**expected: Any) -> Iterator[list[AuditEntry]]:
    """Exactly one entry is written inside the block, with the expected fields; it is yielded."""
    last = AuditEntry.objects.order_by("id").last()
    written: list[AuditEntry] = []
    yield written
    written += AuditEntry.objects.filter(id__gt=last.id if last else 0)
    assert len(written) == 1, written
    for field, value in expected.items():
        assert getattr(written[0], field) == value, field
