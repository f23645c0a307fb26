"""Every error is problem+json outside the pages, crashes and unknown paths included."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client, RequestFactory

from segmentation_project.problems import MAX_ERRORS, TITLES, problem
from tests.expectations import one_entry, problem_of


def test_errors_are_cut_at_a_hundred_and_all_are_counted() -> None:
    errors = [
        {"pointer": f"#/{n}", "code": "missing", "detail": "must be given"} for n in range(150)
    ]

    body = problem(RequestFactory().get("/x"), 400, "invalid-records", "Bad.", errors=errors)

    assert body["errors"] == errors[:MAX_ERRORS]
    assert body["errors_total"] == 150


def test_the_types_of_problems_are_explained_on_a_page() -> None:
    page = Client().get("/docs/problems")

    assert page.status_code == 200
    for code, title in TITLES.items():
        assert f'id="{code}"' in page.text
        assert title in page.text


def test_every_code_in_use_has_a_title() -> None:
    used = set()
    for app in ("access", "segmentation_project"):
        for path in (Path(settings.BASE_DIR) / app).rglob("*.py"):
            text = path.read_text()
            used |= set(re.findall(r'default_code = "([a-z-]+)"', text))
            used |= set(re.findall(r'problem(?:_response)?\(\s*request, \d+, "([a-z-]+)"', text))

    assert len(used) >= 8
    assert used <= TITLES.keys()


@pytest.mark.parametrize("path", ["/nothing", "/models/", "/predict/lda", "/segments/%00", "/a\nb"])
def test_an_unknown_path_is_a_404_problem(api: Client, path: str) -> None:
    problem_of(api.get(path), status=404, code="not-found")


def test_an_unknown_host_is_a_400_problem(api: Client) -> None:
    body = problem_of(
        api.get("/models", headers={"host": "evil.example"}), status=400, code="bad-request"
    )

    assert "evil" not in str(body)


@pytest.mark.django_db
def test_a_crash_is_a_500_problem_with_its_entry_and_without_its_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash() -> None:
        raise RuntimeError("a very-secret reason")

    monkeypatch.setattr("modelregistry.views.catalogue", crash)
    client = Client(raise_request_exception=False, headers={"X-API-Key": settings.API_KEY})

    with (
        one_entry(action="models.read", outcome="failed", status_code=500),
        caplog.at_level(logging.CRITICAL, logger="django.request"),
    ):
        response = client.get("/models")

    problem_of(response, status=500, code="internal-error")
    assert "secret" not in response.text


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.django_db
def test_pages_without_a_key_are_read_only_and_say_so_as_problems(path: str, method: str) -> None:
    response = Client(enforce_csrf_checks=True).generic(method, path)

    problem_of(response, status=405, code="method-not-allowed")
    assert response.headers["Allow"] == "GET, HEAD"
