"""The page of the settings in force: whole, explained, and without a secret."""

from __future__ import annotations

import re
import runpy
from html import unescape
from pathlib import Path

import pytest
from django.conf import LazySettings, settings
from django.urls import reverse

from segmentation_project import settings_page
from segmentation_project.env import Environment
from tests.segmentation_project.test_settings import SETTINGS, explained_variables, read_variables
from tests.staff import make_user, staff

SECRETS = {
    "SECRET_KEY": "s3cr3t-of-cookies-" + "ab" * 30,
    "API_KEY": "the-k3y-of-all-scopes-" + "cd" * 20,
    "JWT_SECRET_KEY": "t0ken-s1gner-" + "efgh" * 20,
    "SMTP_PASSWORD": "mail-passw0rd",
    "WEBHOOK_SECRET": "webhook-s3cret-" + "ijkl" * 10,
    "WEBHOOK_URL": "https://hooks.example.com/services/T000/pathsecret",
    "DATABASE_URL": "postgresql://anna:dbpassw0rd@db.example.com:5432/segments?sslpassword=para",
    "REDIS_URL": "redis://:redispassw0rd@redis.example.com:6379/0",
}
NO_SECRETS = {"AUDIT_KEY_FILE", "AUDIT_PUBLIC_KEYS", "BAD_KEY_LIMIT", "ACCESS_TOKEN_EXPIRE_MINUTES"}
"""Names that sound like a secret, and are a file, a rate or a duration."""


def shown_with(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environment: Environment = runpy.run_path(str(SETTINGS))["ENVIRONMENT"]
    return environment.in_force()


def test_no_part_of_a_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = shown_with(monkeypatch, **SECRETS)

    assert shown["SECRET_KEY"] == f"set, {len(SECRETS['SECRET_KEY'])} characters"
    assert shown["DATABASE_URL"] == "postgresql://…@db.example.com:5432/segments?…"
    assert shown["REDIS_URL"] == "redis://…@redis.example.com:6379/0"
    assert shown["WEBHOOK_URL"] == "https://hooks.example.com/…"
    everything = "\n".join(shown.values())
    for part in ("s3cr3t", "k3y-of", "t0ken", "passw0rd", "webhook-s3", "T000", "para", "anna"):
        assert part not in everything


@pytest.mark.parametrize(
    "url", ["postgresql://u:12/3@host/db", "postgresql://u:12#3@host/db", "redis://:1?2@host"]
)
def test_a_login_that_was_not_escaped_is_not_shown_either(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    environment = Environment(Path("/no/such/file"))
    monkeypatch.setenv("SOME_URL", url)
    environment.url("SOME_URL", "postgresql", "redis")

    assert environment.in_force()["SOME_URL"] == f"{url.partition(':')[0]}://…"


def test_whatever_is_called_a_secret_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    named = {n for n in read_variables() if re.search("SECRET|PASSWORD|KEY|TOKEN", n)}
    value = "A-long-v4lue-that-fits-" + "mnopqrst" * 8

    for name in named - NO_SECRETS:
        with monkeypatch.context() as patch:
            assert value not in shown_with(patch, **{name: value}).values(), name


def test_the_page_has_every_variable_with_its_words_and_none_of_the_secrets(db: None) -> None:
    response = staff("access.view_settings").get(reverse("admin:settings"))
    page = unescape(response.content.decode())

    shown = {each.name: each for group in response.context["groups"] for each in group.settings}
    assert set(explained_variables()) - set(shown) <= {"DB_PATH"}  # when DATABASE_URL is set
    assert all(each.words for each in shown.values())
    assert "Others" not in {group.title for group in response.context["groups"]}
    assert shown["DATA_DIR"].value == str(settings.DATA_DIR)
    assert shown["DATA_DIR"].source == "environment"
    assert shown["MONITORING_INTERVAL"].value == "24"
    assert shown["MONITORING_INTERVAL"].source == "default"
    assert shown["limits.max_records"].value == "10000"
    for secret in (settings.SECRET_KEY, settings.API_KEY, settings.JWT_SECRET_KEY):
        assert secret not in page and secret[:12] not in page


def test_a_value_of_the_env_file_says_that_it_is_from_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SOME_NUMBER", raising=False)
    file = tmp_path / ".env"
    file.write_text("SOME_NUMBER=3\n")
    environment = Environment(file)

    assert environment.integer("SOME_NUMBER", 1, low=0, high=9) == 3
    assert environment.source("SOME_NUMBER") == ".env"
    monkeypatch.delenv("SOME_NUMBER")


def test_a_value_of_the_config_file_says_that_it_is_from_there(
    db: None, settings: LazySettings
) -> None:
    settings.API_CONFIG_GIVEN = frozenset({"logging.level"})

    group = settings_page.context()["groups"][-1]

    sources = {each.name: each.source for each in group.settings}
    assert sources.pop("logging.level") == "file"
    assert set(sources.values()) == {"default"}


def test_releases_are_those_that_run(db: None) -> None:
    context = settings_page.context()

    libraries = {each.name: each for each in context["libraries"]}
    assert libraries["django"].installed == libraries["django"].pinned
    assert libraries["django"].words
    assert any(name == "Database" for name, _ in context["system"])


def test_a_library_that_is_not_as_pinned_says_so(
    db: None, settings: LazySettings, tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text("django==0.9  # old\nno-such-library==1\n")
    settings.BASE_DIR = tmp_path

    context = settings_page.context()

    assert context["n_other"] == 2
    assert [each.installed == "not installed" for each in context["libraries"]] == [False, True]


def test_the_page_is_for_who_may_see_it_and_changes_nothing(db: None) -> None:
    url = reverse("admin:settings")

    assert staff("monitoring.view_monitoringpolicy").get(url).status_code == 403
    assert staff("access.view_settings", name="bea").post(url).status_code == 405
    for group in ("operator", "auditor"):
        user = make_user(name=group, groups=(group,))
        assert user.has_perm("access.view_settings")
    assert not make_user(name="viewer", groups=("viewer",)).has_perm("access.view_settings")
