"""`manage.py verify_audit`: what it prints, its exit codes, and the entry it leaves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from audit.append_only import ENTRIES
from audit.models import AuditEntry, Outcome
from audit.sealing import seal_entries
from audit.sealing_key import public_pem
from tests.audit.attacks import Attacker, PreparedTrail
from tests.audit.trail_databases import TrailDatabase, write_anchors

EDIT = f"UPDATE {ENTRIES} SET outcome = 'failed' WHERE id = 10"


@pytest.fixture
def attacker(
    trail_database: TrailDatabase, prepared: PreparedTrail, tmp_path: Path, settings: Any
) -> Iterator[Attacker]:
    """All is sealed; the commands find this trail and its keys."""
    trail_database.restore(prepared.dump)
    attacker = Attacker(trail_database, prepared)
    settings.AUDIT_PUBLIC_KEYS = tmp_path / "keys.pub"
    (key,) = prepared.signer.trusted.values()
    settings.AUDIT_PUBLIC_KEYS.write_bytes(b"Ours.\n" + public_pem(key))
    with trail_database.as_default():
        batch = seal_entries(prepared.signer, at=timezone.now())
        assert batch is not None
        attacker.anchored.append(batch)
        yield attacker


@pytest.fixture
def anchors(attacker: Attacker, tmp_path: Path) -> str:
    write_anchors(tmp_path / "anchors", attacker.anchored)
    return str(tmp_path / "anchors")


def ran(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as end:
        call_command("verify_audit", *arguments, stdout=out, stderr=err)
    assert isinstance(end.value.code, int)
    return end.value.code, out.getvalue(), err.getvalue()


def refused(*arguments: str) -> tuple[int, str]:
    with pytest.raises(CommandError) as refusal:
        call_command("verify_audit", *arguments, stdout=StringIO())
    return refusal.value.returncode, str(refusal.value)


def test_a_clean_trail_with_its_anchors(anchors: str) -> None:
    code, out, err = ran("--anchor", anchors)

    assert (code, err) == (0, "")
    assert "27 entries, 27 leaves, 6 seals, 8 entries pruned, 0 not sealed yet." in out
    assert "Anchored up to seal 6 of 6." in out
    assert out.endswith("Clean and anchored.\n")


def test_without_an_anchor_it_says_so(attacker: Attacker) -> None:
    code, out, _ = ran()

    assert code == 3
    assert f"Head: seal 6, {attacker.anchored[-1].digest}." in out
    assert "not anchored" in out.splitlines()[-1]


def test_a_broken_trail_as_lines_and_as_json(attacker: Attacker, anchors: str) -> None:
    attacker.unguarded(EDIT)

    code, out, _ = ran("--anchor", anchors)
    json_code, json_out, _ = ran("--anchor", anchors, "--json")

    assert code == json_code == 1
    assert out.startswith("broken: entry 10 is not what seal 2 holds at position 1.\n")
    found = json.loads(json_out)
    assert found.pop("seconds") > 0
    assert found.pop("entries_per_second") > 0
    assert found == {
        "verdict": "broken",
        "exit_code": 1,
        "entries": 28,  # that of the first run is one
        "leaves": 27,
        "seals": 6,
        "pruned": 8,
        "unsealed": 1,
        "head": {"no": 6, "digest": attacker.anchored[-1].digest},
        "anchored_to": 6,
        "broken": 1,
        "warnings": 0,
        "findings": [
            {
                "severity": "broken",
                "place": "entry",
                "key": 10,
                "where": "entry 10",
                "what": "is not what seal 2 holds at position 1",
            }
        ],
    }


@pytest.mark.parametrize(("is_edited", "outcome"), [(False, "succeeded"), (True, "failed")])
def test_each_run_leaves_one_entry(
    attacker: Attacker, anchors: str, is_edited: bool, outcome: str
) -> None:
    if is_edited:
        attacker.unguarded(EDIT)

    ran("--anchor", anchors)

    entry = AuditEntry.objects.get(pk__gt=35)
    assert (entry.action, entry.actor_id) == ("audit.verified", "verify_audit")
    assert (entry.outcome, entry.n_items) == (Outcome(outcome), 27)
    assert json.loads(entry.details) == {
        "verdict": "broken" if is_edited else "clean",
        "n_seals": 6,
        "n_unsealed": 0,
        "n_broken": int(is_edited),
        "n_warnings": 0,
        "head": 6,
        "anchored_to": 6,
    }


def test_quiet_speaks_of_findings_alone(attacker: Attacker, anchors: str) -> None:
    assert ran("--quiet", "--anchor", anchors) == (0, "", "")

    attacker.unguarded(EDIT)

    assert "entry 10" in ran("--quiet", "--anchor", anchors)[1]


def test_a_database_that_cannot_be_written_is_verified_all_the_same(
    attacker: Attacker, anchors: str
) -> None:
    statement = "PRAGMA query_only = ON"
    if not attacker.is_sqlite:
        statement = "SET default_transaction_read_only = on"
    with connection.cursor() as cursor:
        cursor.execute(statement)

    code, out, err = ran("--anchor", anchors)

    assert code == 0
    assert out.endswith("Clean and anchored.\n")
    assert "not in the trail itself" in err


def test_what_keeps_it_from_verifying_is_said_in_a_line(attacker: Attacker, tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("no key")
    os.mkfifo(tmp_path / "pipe")

    for arguments, words in [
        (["--public-keys", str(tmp_path / "missing")], "public keys"),
        (["--public-keys", str(tmp_path / "none.pem")], "no public key"),
        (["--anchor", str(tmp_path / "missing")], "anchors cannot be read"),
        (["--anchor", str(tmp_path)], "anchors cannot be read"),
        (["--anchor", str(tmp_path / "pipe")], "it is no regular file"),
    ]:
        n_before = AuditEntry.objects.count()
        code, said = refused(*arguments)
        assert (code, "\n" in said) == (4, False)
        assert AuditEntry.objects.count() == n_before + 1
        assert AuditEntry.objects.first().outcome == "refused"
        assert words in said


def test_a_role_that_may_not_read_the_trail_has_not_found_it_broken(attacker: Attacker) -> None:
    if attacker.is_sqlite:
        pytest.skip("SQLite knows no roles")
    with connection.cursor() as cursor:
        cursor.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
        cursor.execute("SET ROLE pg_signal_backend")

    code, said = refused()

    assert code == 4
    assert "permission denied" in said


def test_keys_of_ones_own_take_the_place_of_those_of_the_settings(
    attacker: Attacker, anchors: str, settings: Any, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere.pub"
    copy.write_bytes(settings.AUDIT_PUBLIC_KEYS.read_bytes())
    settings.AUDIT_PUBLIC_KEYS.unlink()

    assert ran("--public-keys", str(copy), "--anchor", anchors)[0] == 0


def test_a_terminal_gets_a_table(
    attacker: Attacker, anchors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacker.unguarded(EDIT)
    out = StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    with pytest.raises(SystemExit):
        call_command("verify_audit", "--anchor", anchors, stdout=out)

    assert "entry 10" in out.getvalue()
    assert "BROKEN" in out.getvalue()
