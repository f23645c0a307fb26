"""Variables are read strictly; a refusal names the variable and its source, never the value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from segmentation_project.env import Environment

NAME = "SEGMENTATION_TEST_VARIABLE"


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    return Environment(tmp_path / ".env")


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, "from the environment")
    (tmp_path / ".env").write_text(f"{NAME}=from the file\n")

    value = Environment(tmp_path / ".env").text(NAME)

    assert value == "from the environment"


def test_the_file_is_read_where_the_environment_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, "")  # so that what the file sets is undone after the test
    monkeypatch.delenv(NAME)
    (tmp_path / ".env").write_text(f"{NAME}=from the file\n")

    value = Environment(tmp_path / ".env").text(NAME)

    assert value == "from the file"


def test_an_empty_value_counts_as_not_set(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, "  ")

    assert env.integer(NAME, 7, low=1, high=9) == 7


def test_a_needed_variable_that_is_not_set_is_refused(env: Environment) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"{NAME} .*is not set"):
        env.text(NAME)


Read = Callable[[Environment], Any]


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (lambda env: env.integer(NAME, 1, low=0, high=10), "10", 10),
        (lambda env: env.share(NAME, 0.5), "0.01", 0.01),
        (lambda env: env.boolean(NAME, default=True), "No", False),
        (lambda env: env.boolean(NAME, default=False), "1", True),
        (lambda env: env.choice(NAME, "a", {"a", "b"}), "b", "b"),
        (lambda env: env.rate(NAME, "60/m"), "5/s", "5/s"),
        (lambda env: env.names(NAME, ""), " a, ,b ", ["a", "b"]),
        (
            lambda env: env.secret(NAME, min_length=3, example="example"),
            "one of our own",
            "one of our own",
        ),
        (lambda env: env.path(NAME, "data", base=Path("/base")), "sub", Path("/base/sub")),
    ],
)
def test_a_sound_value_is_taken(
    env: Environment, monkeypatch: pytest.MonkeyPatch, read: Read, text: str, value: object
) -> None:
    monkeypatch.setenv(NAME, text)

    assert read(env) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (lambda env: env.integer(NAME, 1, low=0, high=10), "11"),
        (lambda env: env.integer(NAME, 1, low=0, high=10), "-1"),
        (lambda env: env.integer(NAME, 1, low=0, high=10), "1.0"),
        (lambda env: env.integer(NAME, 1, low=0, high=10), "ten"),
        (lambda env: env.integer(NAME, 1, low=0, high=10), "9" * 5_000),
        (lambda env: env.share(NAME, 0.5), "0"),
        (lambda env: env.share(NAME, 0.5), "1"),
        (lambda env: env.share(NAME, 0.5), "nan"),
        (lambda env: env.share(NAME, 0.5), "5%"),
        (lambda env: env.boolean(NAME, default=True), "maybe"),
        (lambda env: env.choice(NAME, "a", {"a", "b"}), "A"),
        (lambda env: env.rate(NAME, "60/m"), "5/x"),
        (lambda env: env.rate(NAME, "60/m"), "0/m"),
        (lambda env: env.secret(NAME, min_length=20, example="example"), "too-short"),
        (lambda env: env.secret(NAME, min_length=3, example="example"), "example"),
    ],
)
def test_nonsense_is_refused_by_name_and_never_shown(
    env: Environment, monkeypatch: pytest.MonkeyPatch, read: Read, text: str
) -> None:
    monkeypatch.setenv(NAME, text)
    env = Environment(env.env_file)

    with pytest.raises(ImproperlyConfigured) as refusal:
        read(env)

    message = str(refusal.value)
    assert message.startswith(f"{NAME} (from the environment) ")
    assert len(text) < 5 or text == "example" or text not in message


def test_a_refusal_names_the_file_that_the_value_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, "")
    monkeypatch.delenv(NAME)
    (tmp_path / ".env").write_text(f"{NAME}=nonsense\n")
    env = Environment(tmp_path / ".env")

    with pytest.raises(ImproperlyConfigured, match=r"\(from \.env\)"):
        env.integer(NAME, 1, low=0, high=10)
