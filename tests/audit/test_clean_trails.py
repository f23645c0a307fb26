"""No false alarm: whatever honest servers, sealers and prunings do, nothing is broken after it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from audit import pruning
from audit.anchors import Anchor
from audit.models import Outcome
from audit.sealing import seal_entries
from audit.verification import Verdict, verify
from tests.audit.trail_databases import NOON, TrailDatabase, add_entry, new_signer
from tests.factories import BY

N_RUNS = {"sqlite": 100, "postgresql": 12}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
ENTRY = st.fixed_dictionaries(
    {
        "actor_label": TEXT,
        "target_id": TEXT,
        "request_id": TEXT,
        "details": TEXT | st.just("x" * 100_000),
        "outcome": st.sampled_from(Outcome),
        "status_code": st.none() | st.integers(0, 599),
        "n_items": st.none() | st.integers(0, 2**63 - 1),
        "duration_ms": st.none() | st.floats(allow_infinity=False),
    }
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(ENTRY, min_size=1, max_size=6)),
        st.tuples(st.just("roll back"), st.lists(ENTRY, min_size=1, max_size=2)),
        st.tuples(st.just("seal"), st.integers(1, 7)),
        st.tuples(st.just("seal all"), st.integers(1, 7)),
        st.tuples(st.just("prune"), st.integers(0, 90)),
        st.tuples(st.just("prune, killed"), st.integers(0, 90)),
        st.tuples(st.just("finish pruning"), st.none()),
        st.tuples(st.just("new key"), st.none()),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("wait"), st.integers(0, 3_000)),
        st.tuples(st.just("set clock"), st.integers(-90, 90)),
    ),
    max_size=25,
)


class Killed(Exception):
    """What ends a pruning between two of its transactions."""


class Life:
    """A server's life in steps, at a clock that is not always right."""

    def __init__(self) -> None:
        self.signer = new_signer()
        self.now = NOON
        self.anchors: list[Anchor] = []

    def step(self, kind: str, given: Any) -> None:
        self.now += timedelta(seconds=1, microseconds=7)
        match kind:
            case "write":
                for values in given:
                    add_entry(self.now, **values)
            case "roll back":
                with suppress(Killed), transaction.atomic():
                    self.step("write", given)
                    raise Killed
            case "seal":
                self.seal(given)
            case "seal all":
                while self.seal(given):
                    pass
            case "prune" | "prune, killed":
                self.prune(self.now - timedelta(minutes=given), is_killed=kind != "prune")
            case "finish pruning":
                pruning.delete(self.signer.trusted, on_progress=lambda share, step: None)
            case "new key":
                self.signer = new_signer(self.signer)
            case "restart":
                connection.close()
            case "wait":
                self.now += timedelta(seconds=given)
            case "set clock":
                self.now += timedelta(minutes=given)

    def seal(self, at_most: int) -> bool:
        batch = seal_entries(self.signer, at=self.now, at_most=at_most)
        if batch is not None:
            self.anchors.append(Anchor(0, self.now, batch.seal.no, batch.digest))
        return batch is not None

    def prune(self, before: datetime, *, is_killed: bool) -> None:
        def report(share: float, step: str) -> None:
            if is_killed and step == "deleting":
                raise Killed

        keys = self.signer.trusted
        pruning.delete(keys, on_progress=lambda share, step: None)  # as the command does first
        planned = pruning.plan(before=before, keys=keys, on_progress=lambda share, step: None)
        if planned is None:
            return
        batch = pruning.record(planned, signer=self.signer, by=BY, at=self.now)
        self.anchors.append(Anchor(0, self.now, batch.seal.no, batch.digest))
        with suppress(Killed):
            pruning.delete(keys, on_progress=report)


def test_no_honest_life_breaks_the_trail(
    trail_database: TrailDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = trail_database.dump()
    monkeypatch.setattr(pruning, "DELETED_AT_ONCE", 3)
    monkeypatch.setattr(pruning.time, "sleep", lambda seconds: None)
    anchor_file = tmp_path / "anchors"

    @settings(
        max_examples=N_RUNS[trail_database.vendor],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(STEPS)
    @example([("write", [{}] * 6), ("seal all", 2), ("wait", 3_000), ("prune, killed", 20)])
    @example([("write", [{}]), ("wait", 3_000), ("write", [{}]), ("seal all", 1)])
    @example(
        [("write", [{}]), ("seal", 1), ("set clock", -60), ("write", [{}]), ("seal", 1)]
        + [("set clock", 60), ("write", [{}]), ("new key", None), ("seal", 1)]
    )
    def check(steps: list[tuple[str, Any]]) -> None:
        trail_database.restore(empty)
        life = Life()
        with trail_database.as_default():
            for kind, given in steps:
                life.step(kind, given)
            anchor_file.write_text("".join(f"{anchor}\n" for anchor in life.anchors))
            found = verify(life.signer.trusted, at=life.now, anchor_file=anchor_file)

        assert found.n_broken == 0, found.findings
        assert found.anchored_to == (life.anchors[-1].no if life.anchors else None)
        assert found.verdict == (Verdict.CLEAN if life.anchors else Verdict.NOT_ANCHORED)

    check()
