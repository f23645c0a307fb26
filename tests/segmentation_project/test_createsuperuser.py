"""`manage.py createsuperuser` makes the user and its audit entry, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from tests.expectations import one_entry
from tests.staff import PASSWORD

pytestmark = pytest.mark.django_db


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def create(name: str = "root") -> None:
    call_command(
        "createsuperuser", "--noinput", "--username", name, "--email", "root@example.org",
        stdout=StringIO(),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)


def test_a_superuser_leaves_one_entry_without_the_password() -> None:
    with one_entry(
        action="user.created", actor_id="createsuperuser", target_type="user", target_id="root"
    ) as entries:
        create()

    user = User.objects.get(username="root")
    assert user.is_superuser and user.is_staff and user.check_password(PASSWORD)
    assert PASSWORD not in entries[0].details


def test_a_superuser_made_at_the_prompts_leaves_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[str] = iter(["ann", "ann@example.org"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    monkeypatch.setattr("getpass.getpass", lambda *prompt: PASSWORD)

    with one_entry(action="user.created", target_id="ann"):
        call_command("createsuperuser", stdin=Terminal(), stdout=StringIO())

    assert User.objects.get(username="ann").check_password(PASSWORD)


def test_no_superuser_without_the_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the trail is gone")

    monkeypatch.setattr("audit.trail.record", fail)

    with pytest.raises(RuntimeError):
        create()

    assert not User.objects.exists()


def test_a_taken_name_is_refused_with_one_entry() -> None:
    create()

    with (
        one_entry(action="user.created", outcome="refused", target_id=""),
        pytest.raises(CommandError, match="already taken"),
    ):
        create()
