"""What a person sees in the admin where something is refused, missing or broken."""

from __future__ import annotations

import logging

import pytest
from django.test import Client

from tests.expectations import one_entry
from tests.staff import client_of, make_user, superuser

pytestmark = pytest.mark.django_db
TRAIN = "/admin/modelregistry/modelversion/train/"


def test_a_missing_page_says_so_and_leads_back() -> None:
    response = superuser().get("/admin/nothing/here/")

    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/html")
    assert "It may have been removed" in response.text
    assert 'href="/admin/"' in response.text
    assert response.headers["X-Request-ID"] in response.text


def test_a_stale_form_is_refused_with_the_page_to_load_again() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user())

    with one_entry(action="admin.refused", outcome="refused", status_code=403):
        response = client.post(TRAIN, {"model_type": "kmeans"})

    assert response.status_code == 403
    assert "load the page again" in response.text
    assert f'href="{TRAIN}"' in response.text


def test_a_crash_is_a_page_without_its_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a very-secret reason")

    monkeypatch.setattr("segmentation_project.admin_site.SegmentationAdminSite.each_context", crash)
    client = client_of(make_user())
    client.raise_request_exception = False

    with caplog.at_level(logging.CRITICAL, logger="django.request"):
        response = client.get("/admin/")

    assert response.status_code == 500
    assert "tell who runs the server" in response.text
    assert "secret" not in response.text
