"""Every attack of the list on a fresh copy, on both databases, with and without an anchor."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError

from audit.append_only import MISFIT, REFUSAL
from audit.models import AppendOnly
from audit.sealing import HeadMoved
from audit.verification import Verdict, Verification, verify
from tests.audit.attacks import (
    ATTACKS,
    VERIFIED_AT,
    Attack,
    Attacker,
    Outcome,
    PreparedTrail,
    outcomes_table,
)
from tests.audit.trail_databases import TrailDatabase, write_anchors

REFUSALS = (AppendOnly, HeadMoved, sqlite3.Error, psycopg.Error, CommandError)
REFUSAL_WORDS = (
    f"{REFUSAL}|{MISFIT}|invalid input syntax|Audit entries cannot be changed|"
    "couldn't be flushed|^$"
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.what)
def test_each_attack_has_the_outcome_that_the_documentation_says(
    attack: Attack, trail_database: TrailDatabase, prepared: PreparedTrail, tmp_path: Path
) -> None:
    outcome = attack.outcome_on(trail_database.vendor)
    if outcome is None:
        pytest.skip(f"does not exist on {trail_database.vendor}")
    trail_database.restore(prepared.dump)
    attacker = Attacker(trail_database, prepared)
    if outcome == Outcome.REFUSED:
        with pytest.raises(REFUSALS, match=REFUSAL_WORDS):
            attack.run(attacker)
    else:
        attack.run(attacker)
    write_anchors(tmp_path / "anchors", attacker.anchored)
    with trail_database.as_default():
        alone = verify(prepared.signer.trusted, at=VERIFIED_AT)
        anchored = verify(prepared.signer.trusted, at=VERIFIED_AT, anchor_file=tmp_path / "anchors")

    finds = attack.finds_on(trail_database.vendor)
    assert set(finds) <= set(places(anchored))
    if outcome == Outcome.ANCHORED:
        assert (alone.verdict, anchored.verdict) == (Verdict.NOT_ANCHORED, Verdict.BROKEN)
        assert (places(alone), places(anchored)) == ([], finds)
    elif outcome == Outcome.FOUND:
        assert (alone.verdict, anchored.verdict) == (Verdict.BROKEN, Verdict.BROKEN)
        assert places(alone) == finds
    else:
        assert (alone.verdict, anchored.verdict) == (Verdict.NOT_ANCHORED, Verdict.CLEAN)
        assert places(alone) == places(anchored) == finds
        assert bool(finds) == (outcome == Outcome.WARNING)


def places(found: Verification) -> list[str]:
    return sorted(finding.where for finding in found.findings)


def test_the_documentation_has_the_table_of_attacks() -> None:
    text = (Path(settings.BASE_DIR) / "docs" / "audit-trail.md").read_text()

    assert outcomes_table() in text


def test_the_trail_that_is_attacked_is_clean(
    trail_database: TrailDatabase, prepared: PreparedTrail, tmp_path: Path
) -> None:
    trail_database.restore(prepared.dump)
    write_anchors(tmp_path / "anchors", prepared.batches)

    with trail_database.as_default():
        found = verify(prepared.signer.trusted, at=VERIFIED_AT, anchor_file=tmp_path / "anchors")

    assert (found.verdict, found.findings) == (Verdict.CLEAN, [])
    assert (found.n_entries, found.n_leaves, found.n_seals) == (27, 24, 5)
    assert (found.n_pruned, found.n_unsealed) == (8, 3)
    assert (found.head_no, found.anchored_to) == (5, 5)
    assert found.head_digest == prepared.batches[-1].digest
