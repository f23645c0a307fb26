"""What browsers are told of each kind of answer, and what Django says of a deployment."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings
from django.core import checks
from django.test import Client, override_settings

from tests.segmentation_project.test_settings import load_settings
from tests.staff import PASSWORD, make_user, superuser

HTTPS = ("SECURE_", "SESSION_COOKIE_", "CSRF_COOKIE_")


def policy_of(response: Any) -> dict[str, list[str]]:
    parts = response.headers["Content-Security-Policy"].split("; ")
    return {name: values for name, *values in (part.split() for part in parts)}


@pytest.mark.parametrize("path", ["/", "/healthz", "/no-such-page", "/static/no-such-file"])
def test_outside_the_pages_nothing_may_be_loaded(db: None, path: str) -> None:
    policy = policy_of(Client().get(path))

    assert policy == {
        "default-src": ["'none'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }


@pytest.mark.parametrize(
    ("path", "scripts"),
    [
        ("/admin/", ["'self'", "'unsafe-eval'"]),
        ("/docs", ["'self'"]),
        ("/redoc", ["'self'"]),
        ("/docs/guide", None),
        ("/docs/problems", None),
    ],
)
def test_a_page_runs_our_own_files_alone(db: None, path: str, scripts: list[str] | None) -> None:
    response = superuser().get(path)

    policy = policy_of(response)
    assert policy["default-src"] == policy["frame-ancestors"] == ["'none'"]
    assert policy.get("script-src") == scripts
    hosts = re.findall(r"\bhttps?:|\*|[a-z]\.[a-z]", response.headers["Content-Security-Policy"])
    assert hosts == []
    scripts_within = re.findall(
        r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", response.content.decode()
    )
    assert scripts_within == [], "the policy would stop them"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in response.headers["Permissions-Policy"]
    assert response.headers["X-Frame-Options"] == "DENY"


def test_cookies_of_a_sign_in_are_not_for_scripts(db: None) -> None:
    make_user()

    cookies = Client().post("/admin/login/", {"username": "ann", "password": PASSWORD}).cookies

    for name in (settings.SESSION_COOKIE_NAME, "known_browser"):
        assert cookies[name]["httponly"] and cookies[name]["samesite"] == "Lax"
    assert cookies["known_browser"]["path"] == "/admin/"
    assert "ann" not in cookies["known_browser"].value


def findings(monkeypatch: pytest.MonkeyPatch, *, https_only: bool) -> set[str]:
    monkeypatch.setenv("HTTPS_ONLY", str(https_only))
    loaded = {name: value for name, value in load_settings().items() if name.startswith(HTTPS)}
    with override_settings(**loaded):
        found = checks.run_checks(include_deployment_checks=True, tags=["security"])
    return {str(message.id) for message in found}


def test_the_check_of_a_deployment_is_clean_with_https(monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(monkeypatch, https_only=True) == set()


def test_without_https_it_names_what_only_https_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    hsts, redirect, session_cookie, csrf_cookie = (
        f"security.W0{n}" for n in ("04", "08", "12", "16")
    )

    assert findings(monkeypatch, https_only=False) == {hsts, redirect, session_cookie, csrf_cookie}


def test_hours_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_HOURS", "2")

    assert load_settings()["SESSION_COOKIE_AGE"] == 7_200
