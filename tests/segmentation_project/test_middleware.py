"""What goes around every answer, seen from the server: no body for HEAD, no noise in the log."""

from __future__ import annotations

import logging

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory

from segmentation_project.middleware import RequestContextMiddleware
from tests.staff import superuser


def test_a_head_answer_has_the_length_and_no_body() -> None:
    answered = RequestContextMiddleware(lambda request: HttpResponse(b"abc"))

    of_head = answered(RequestFactory().head("/"))
    of_get = answered(RequestFactory().get("/"))

    assert (of_head.content, of_head.headers["Content-Length"]) == (b"", "3")
    assert of_get.content == b"abc"


def test_a_streamed_head_answer_is_left_to_its_view() -> None:
    answered = RequestContextMiddleware(lambda request: StreamingHttpResponse(iter([b"abc"])))

    assert list(answered(RequestFactory().head("/"))) == [b"abc"]


def test_a_wrong_host_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        response = Client().get("/healthz", headers={"Host": "wrong.example"})

    assert response.status_code == 400
    records = [each for each in caplog.records if each.name == "django.security.DisallowedHost"]
    assert len(records) == 1 and not records[0].exc_info


@pytest.mark.django_db
def test_a_lookup_that_no_list_offers_is_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = superuser().get("/admin/auth/user/?password__startswith=p")

    assert response.status_code == 400
    name = "django.security.DisallowedModelAdminLookup"
    records = [each for each in caplog.records if each.name == name]
    assert len(records) == 1 and not records[0].exc_info
