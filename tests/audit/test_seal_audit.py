"""`manage.py seal_audit` seals what there is, its own entry too, and says so."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit import stored_entries
from audit.anchors import read_anchors
from audit.management.commands import seal_audit as command
from audit.models import AuditEntry, AuditSeal
from audit.sealing_key import trusted_keys
from tests.audit.sealed_trail import SealedTrail, sealed_trail
from tests.expectations import one_entry


@pytest.fixture
def trail(db: None, tmp_path: Path) -> Iterator[SealedTrail]:
    with sealed_trail(tmp_path) as made:
        yield made


def seal_audit(*arguments: str, **options: Any) -> tuple[str, str]:
    out, errors = StringIO(), StringIO()
    call_command("seal_audit", *arguments, **options, stdout=out, stderr=errors)
    return out.getvalue(), errors.getvalue()


def test_by_hand_all_is_sealed_with_one_entry_of_it(trail: SealedTrail) -> None:
    trail.add(3)

    with one_entry(action="audit.sealed", n_items=4, outcome="succeeded", actor_id="seal_audit"):
        said, errors = seal_audit()

    assert (said, errors) == ("4 entries sealed by 1 seal.\n", "")
    assert stored_entries.n_unsealed(above=0) == 0
    assert trail.is_clean()


def test_quiet_it_says_nothing(trail: SealedTrail) -> None:
    assert seal_audit("--quiet") == ("", "")
    assert AuditSeal.objects.count() == 1


@pytest.mark.parametrize(
    ("make", "reason"), [(Path.mkdir, "Is a directory"), (os.mkfifo, "it is no regular file")]
)
def test_an_anchor_file_that_fails_is_told(
    trail: SealedTrail, make: Callable[[Path], None], reason: str
) -> None:
    make(trail.files.anchors)

    said, errors = seal_audit("--quiet")

    assert said == ""
    assert errors == f"The seals are not anchored: {trail.files.anchors}: {reason}\n"


def test_anchors_that_are_gone_begin_anew_by_who_seals(trail: SealedTrail) -> None:
    trail.add(5)
    trail.seal(at_most=4)
    trail.files.anchors.unlink()

    assert seal_audit() == ("2 entries sealed by 1 seal.\n", "")

    begun, sealed = AuditEntry.objects.order_by("id")[5:]
    assert (begun.action, sealed.action) == ("audit.anchors_begun", "audit.sealed")
    assert begun.actor_kind == "command" and begun.actor_id == "seal_audit"
    assert [anchor.no for anchor in read_anchors(trail.files.anchors)] == [2, 3]


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        ((), "audit.sealed"),
        (("--every=1",), "audit.sealed"),
        (("--new-key",), "audit.key_changed"),
    ],
)
def test_a_refusal_leaves_one_entry_and_no_seal(
    trail: SealedTrail, arguments: tuple[str, ...], action: str
) -> None:
    trail.files.key.chmod(0o644)

    with (
        one_entry(action=action, outcome="failed") as written,
        pytest.raises(CommandError, match="chmod 600"),
    ):
        seal_audit(*arguments)

    assert "chmod 600" in json.loads(written[0].details)["reason"]
    assert not AuditSeal.objects.exists()


def test_a_new_key_seals_its_own_entry_and_the_old_one_stays_trusted(trail: SealedTrail) -> None:
    trail.add(1)
    trail.seal()
    old = trail.signer.key_id

    with one_entry(action="audit.key_changed") as written:
        said, _ = seal_audit("--new-key")

    new = AuditSeal.objects.get(no=2).key_id
    assert list(trusted_keys(trail.files.public_keys)) == [old, new] and new != old
    assert written[0].target_id == new
    assert json.loads(written[0].details) == {"replaced": old}
    assert f"new key {new}; keep a copy of {trail.files.public_keys}" in said


def test_no_key_is_changed_without_its_entry(
    trail: SealedTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no room")

    key = trail.files.key.read_bytes()
    monkeypatch.setattr("audit.trail.record", refuse)
    with pytest.raises(RuntimeError):
        seal_audit("--new-key")

    assert trail.files.key.read_bytes() == key


class Stopped:
    """An event that is set once somebody waited for it so often."""

    def __init__(self, n_waits: int) -> None:
        self.left = n_waits
        self.waits: list[float] = []

    def is_set(self) -> bool:
        return self.left <= 0

    def set(self) -> None:
        self.left = 0

    def wait(self, seconds: float) -> None:
        self.left -= 1
        self.waits.append(seconds)
        AuditEntry(
            at="2026-01-01T00:00:00Z", actor_kind="system", action="x", outcome="succeeded"
        ).save()


def test_every_so_often_it_seals_what_came_whatever_went_wrong_before(
    trail: SealedTrail, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stopped = Stopped(n_waits=4)
    monkeypatch.setattr(command, "Event", lambda: stopped)
    monkeypatch.setattr(command, "signal", SimpleNamespace(SIGINT=2, SIGTERM=15, signal=print))
    monkeypatch.setattr(command, "close_old_connections", lambda: None)
    monkeypatch.setattr(command, "connection", SimpleNamespace(close=lambda: None))
    rounds = iter([None, None, RuntimeError("no disk"), None])
    real = command.Sealer.seal

    def round_(self: Any, **kwargs: Any) -> Any:
        if error := next(rounds, None):
            raise error
        return real(self, **kwargs)

    monkeypatch.setattr(command.Sealer, "seal", round_)
    said, _ = seal_audit("--every", "7")

    assert stopped.waits == [7, 7, 7, 7]
    assert said.splitlines() == [
        "1 entry sealed by 1 seal.",
        "1 entry sealed by 1 seal.",
        "2 entries sealed by 1 seal.",
    ]
    assert "A round of sealing failed" in caplog.text
    [entry] = AuditEntry.objects.filter(action="audit.sealed")
    assert json.loads(entry.details) == {"every_seconds": 7}


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "soon", "86401", "9" * 40, "٣"])
def test_only_whole_seconds_of_a_day_are_an_interval(db: None, text: str) -> None:
    with pytest.raises(CommandError, match="whole number of seconds|expected one argument"):
        seal_audit(f"--every={text}")
