"""The entry of a start names the settings that changed, and holds no value of any."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings

from audit.models import AuditEntry
from segmentation_project import started
from segmentation_project.api_config import ApiConfig, Limits
from tests.expectations import one_entry
from tests.factories import BY
from tests.segmentation_project.test_settings import explained_variables

pytestmark = pytest.mark.django_db


def start() -> dict[str, Any]:
    with one_entry(action="server.started", outcome="succeeded") as entries:
        started.record_start(by=BY)
    details: dict[str, Any] = json.loads(entries[0].details)
    return details


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Secrets and an environment in which one variable is set."""
    monkeypatch.setenv("SMTP_PASSWORD", "a-mail-password")
    return monkeypatch


def test_the_first_start_has_nothing_to_compare_with(variables: pytest.MonkeyPatch) -> None:
    details = start()

    assert (details["changed"], details["is_compared"]) == ([], False)
    assert details["version"] == settings.VERSION


def test_what_changed_since_the_last_start_is_named(variables: pytest.MonkeyPatch) -> None:
    start()
    assert start()["changed"] == []

    variables.setenv("SMTP_PASSWORD", "another-mail-password")
    variables.setenv("DRIFT_THRESHOLD", "0.01")
    more = ApiConfig(limits=Limits(max_records=20_000))
    variables.setattr(settings, "API_CONFIG_VALUES", more)

    details = start()
    assert details["changed"] == ["DRIFT_THRESHOLD", "SMTP_PASSWORD", "limits.max_records"]
    assert details["is_compared"] is True
    assert start()["changed"] == []


def test_a_setting_that_is_new_to_the_product_changed_only_if_it_is_set(
    variables: pytest.MonkeyPatch,
) -> None:
    known = started.texts()
    older = {n: t for n, t in known.items() if n not in ("SMTP_PASSWORD", "SMTP_SERVER")}
    variables.setattr(started, "texts", lambda: older)
    start()
    variables.setattr(started, "texts", lambda: known)

    assert start()["changed"] == ["SMTP_PASSWORD"]


def test_under_another_secret_key_it_alone_is_named(
    variables: pytest.MonkeyPatch, settings: Any
) -> None:
    first = start()
    settings.SECRET_KEY = "tests-sign-cookies-anew-" + "n" * 64
    variables.setenv("SECRET_KEY", settings.SECRET_KEY)
    variables.setenv("DRIFT_THRESHOLD", "0.01")

    second = start()

    assert (second["changed"], second["is_compared"]) == (["SECRET_KEY"], False)
    assert not set(first["settings"].values()) & set(second["settings"].values())


def test_every_explained_variable_is_compared_and_no_value_is_kept(
    variables: pytest.MonkeyPatch,
) -> None:
    names = start()["settings"].keys()

    places = {"DB_PATH", "DATABASE_URL"}  # one of which is read
    assert names - places >= explained_variables().keys() - places
    assert {"logging.level", "rate_limits.default", "limits.max_body_bytes"} <= names
    details = AuditEntry.objects.latest("id").details
    for value in (value for value in started.texts().values() if len(value) > 8):
        assert value not in details
    assert set(map(len, json.loads(details)["settings"].values())) == {started.DIGEST_DIGITS}


def test_digests_of_one_value_tell_nothing_of_where_else_it_is() -> None:
    first, second = started.digests({"SMTP_USERNAME": "same", "SMTP_PASSWORD": "same"}).values()

    assert first != second
