"""Verifying the trail: everything it holds, over one snapshot of the database.

Seals are walked first: numbers, links, signatures, times, records of prunings. Then each seal's
leaves with their entries: places, root, hashes. Then what no seal holds yet, the numbers that were
given, the triggers, and the anchors if there are any. Whatever does not fit becomes a finding;
damaged data ends no verification.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import DatabaseError, connection

from audit.anchor_check import check_anchors
from audit.append_only import ENTRIES, KEYS, LEAVES, SEALS
from audit.chain_check import Chain, check_chain
from audit.damage import check_indexes, is_damage
from audit.entry_check import check_sealed, check_strays, check_unsealed, n_rows
from audit.findings import Finding, Findings, Place
from audit.id_check import check_ids
from audit.snapshot import snapshot
from audit.trigger_check import check_triggers


class Verdict(StrEnum):
    CLEAN = "clean"
    NOT_ANCHORED = "clean, not anchored"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at and what was found; `findings` are the first of them.

    `head_no` is 0 without a seal, `anchored_to` None when no anchor confirms one. `n_pruned`
    counts entries that a signed record says were removed.
    """

    n_entries: int
    n_leaves: int
    n_seals: int
    n_pruned: int
    n_unsealed: int
    head_no: int
    head_digest: str
    anchored_to: int | None
    findings: list[Finding]
    n_broken: int
    n_warnings: int
    seconds: float

    @property
    def verdict(self) -> Verdict:
        if self.n_broken:
            return Verdict.BROKEN
        return Verdict.NOT_ANCHORED if self.anchored_to is None else Verdict.CLEAN

    @property
    def entries_per_second(self) -> float:
        return self.n_entries / self.seconds if self.seconds else 0.0


def verify(
    keys: Mapping[str, Ed25519PublicKey],
    *,
    at: datetime,
    anchor_file: Path | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Verification:
    """Verify the trail with the trusted keys by their ids. `at` is now.

    Raises `OSError` when the anchor file cannot be read, and `DatabaseError` when the database
    cannot be reached, or not by this role.
    """
    began = time.monotonic()
    run = _Run(keys, at, anchor_file, progress)
    try:
        connection.ensure_connection()
        with snapshot():
            run.check()
    except DatabaseError as error:
        if not is_damage(error):
            raise
        words = " ".join(str(error).split())
        run.findings.broken(
            Place.DATABASE, None, f"cannot be read to the end: {words}; the rest is unverified"
        )
    chain = run.chain
    return Verification(
        n_entries=run.n_entries,
        n_leaves=run.n_leaves,
        n_seals=chain.n_seals,
        n_pruned=chain.n_pruned,
        n_unsealed=run.n_unsealed,
        head_no=chain.head.no if chain.head else 0,
        head_digest=chain.head_digest,
        anchored_to=run.anchored_to,
        findings=run.findings.shown,
        n_broken=run.findings.n_broken,
        n_warnings=run.findings.n_warnings,
        seconds=time.monotonic() - began,
    )


@dataclass(slots=True)
class _Run:
    """One verification under way: what is known when it must stop early is kept."""

    keys: Mapping[str, Ed25519PublicKey]
    at: datetime
    anchor_file: Path | None
    progress: Callable[[float], None]
    findings: Findings = field(default_factory=Findings)
    chain: Chain = field(default_factory=Chain)
    n_entries: int = 0
    n_leaves: int = 0
    n_unsealed: int = 0
    anchored_to: int | None = None
    _n_done: int = 0
    _n_to_do: int = 1

    def check(self) -> None:
        if not self._has_all_tables():
            return
        check_triggers(self.findings)
        self.n_entries, self.n_leaves, n_seals = map(n_rows, (ENTRIES, LEAVES, SEALS))
        self._n_to_do = self.n_leaves + n_seals
        check_chain(self.chain, self.keys, self.findings, at=self.at, progress=self._done)
        self._compare("seals", n_seals, self.chain.n_seals)
        if self.anchor_file is not None:
            self.anchored_to = check_anchors(self.anchor_file, self.chain, self.findings)
        walked = check_sealed(self.chain, self.findings, progress=self._done)
        n_strays = 0
        if walked.n_leaves != self.n_leaves:
            n_strays = check_strays(self.findings)
        if not self.chain.n_damaged:
            self._compare("leaves", self.n_leaves, walked.n_leaves + n_strays)
        self.n_unsealed = check_unsealed(self.chain, self.findings, at=self.at)
        check_ids(self.chain, self.findings)
        if not n_strays and not self.chain.n_damaged:
            self._compare("entries", self.n_entries, walked.n_entries + self.n_unsealed)
        check_indexes(self.findings)

    def _has_all_tables(self) -> bool:
        missing = KEYS.keys() - set(connection.introspection.table_names())
        for table in sorted(missing):
            self.findings.broken(Place.DATABASE, None, f"the table {table} is missing")
        return not missing

    def _compare(self, what: str, n_stored: int, n_read: int) -> None:
        """Rows that are in a table and not where its keys lead, or the other way round."""
        if n_stored != n_read:
            self.findings.broken(
                Place.DATABASE,
                None,
                f"{n_stored:,} {what} are stored, {n_read:,} were read by their keys: an index "
                "or a constraint of the table was damaged",
            )

    def _done(self, n: int) -> None:
        self._n_done += n
        self.progress(min(self._n_done / max(self._n_to_do, 1), 1.0))
