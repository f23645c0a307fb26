"""Every error is problem+json outside the pages, crashes and unknown paths included."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client, RequestFactory

from segmentation_project.exception_handler import DOMAIN_ERRORS, DRF_CODES
from segmentation_project.gunicorn_worker import REFUSALS
from segmentation_project.problems import MAX_ERRORS, TITLES, problem
from tests.expectations import one_entry, problem_of

PROJECT = "segmentation_project"


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


def codes_in_use() -> set[str]:
    """Every code that the source gives a problem, by each of the ways it does."""
    used = {code for _, code in DOMAIN_ERRORS.values()} | set(DRF_CODES.values())
    used |= {code for _, code, _ in REFUSALS.values()}
    ways = (
        r'default_code = "([a-z-]+)"',
        r'(?:problem|problem_response|refusal)\(\s*request, \d+, "([a-z-]+)"',
        r"(?:ParseError|PermissionDenied|NotAuthenticated|NotFound|AuthenticationFailed)"
        r'\([^()]*?,?\s*(?:code=)?"([a-z-]+)"\s*\)',
        r'status, code, detail = \d+, "([a-z-]+)"',
    )
    for app in ("access", "audit", "modelregistry", "monitoring", "segments", PROJECT):
        for path in (Path(settings.BASE_DIR) / app).rglob("*.py"):
            text = path.read_text()
            used.update(code for way in ways for code in re.findall(way, text))
    return used


def test_every_code_in_use_is_explained_where_its_type_points() -> None:
    used, page = codes_in_use(), Client().get("/docs/problems").text

    assert len(used) >= 30
    assert used == TITLES.keys()
    for code in used:
        assert f'<dt id="{code}">' in page


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
