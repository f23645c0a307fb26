"""The sealer: seals what there is in short steps, and anchors each head outside the database.

Before it seals it holds the chain against the anchor file. An anchor that does not fit means that
the database was cut, restored or sealed anew, and nothing is built on that. Anchors that are
missing, after a crash say, are added. A file without any begins anew, with an entry of it in the
trail: who removed it may have removed seals as well. An anchor file that cannot be read or written
stops nothing: `Sealer.anchor_problem` tells of it until it works again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Self

from django.db import transaction

from audit import sealing, stored_entries, trail
from audit.anchors import Anchor, append_heads, last_anchors
from audit.models import AuditSeal, SealKind
from audit.sealing import Head, HeadMoved, SealedBatch, SealingRefused
from audit.sealing_key import KeyRefused, Signer, load_or_make_signer
from audit.stored_seals import digest_of

logger = logging.getLogger(__name__)

ANCHORS_BEGUN = "audit.anchors_begun"
RECENT = timedelta(hours=1)
"""A round looks at the entries after those of the seals that are older than this."""
SWEEP_EVERY = timedelta(days=1)
"""How often a round looks at all entries, for one that was committed later still."""
WINDOW = 20_000
"""Entries that are looked through at once for those without a leaf."""


@dataclass(frozen=True, slots=True)
class SealingFiles:
    """Where the private key, the trusted public keys and the anchors are."""

    key: Path
    public_keys: Path
    anchors: Path

    @classmethod
    def of(cls, settings: Any) -> Self:
        """Those of a settings object, which the caller has at hand."""
        return cls(settings.AUDIT_KEY_FILE, settings.AUDIT_PUBLIC_KEYS, settings.AUDIT_ANCHOR_FILE)

    def signer(self) -> Signer:
        """Raises `KeyRefused`."""
        return load_or_make_signer(self.key, self.public_keys)


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one call sealed; `is_complete` unless the time ran out before the entries did."""

    n_entries: int
    n_seals: int
    is_complete: bool


class Sealer:
    """Seals in rounds over the entries; one call may do a part of a round.

    Attributes
    ----------
    interval : from one round to the next, as who calls means to keep it
    by : who seals, asked for each entry that this leaves
    problem : why the last call failed; empty when it did not
    anchor_problem : why the last call could not read or write anchors; empty when it could
    is_catching_up : whether the last call ran out of time before it ran out of entries
    """

    def __init__(
        self,
        files: SealingFiles,
        *,
        interval: timedelta = timedelta(0),
        by: Callable[[], trail.Actor] = lambda: trail.Actor.system("sealer"),
    ) -> None:
        self.files = files
        self.interval = interval
        self.by = by
        self.problem = self.anchor_problem = ""
        self.is_catching_up = False
        self._above: int | None = None
        """Up to which id this round is through; None between rounds."""
        self._last = 0
        """The last id of this round: what comes while it lasts is for the next one."""
        self._is_sweep = False
        self._swept_at: datetime | None = None

    def seal(
        self,
        *,
        now: Callable[[], datetime],
        within: timedelta | None = None,
        on_seal: Callable[[SealedBatch], object] = lambda batch: None,
    ) -> Sealed:
        """Go on with the round, or begin one; the first looks at all entries.

        Ends at most one step after `within`, else with the round. Raises `KeyRefused` and
        `SealingRefused`.
        """
        ends = monotonic() + within.total_seconds() if within else float("inf")
        n_entries = n_seals = 0
        try:
            signer = self.files.signer()
            self.check_anchors(signer)
            if self._above is None:
                self._begin(now())
            while self._above is not None and monotonic() < ends:
                if batch := self._step(signer, at=now()):
                    n_entries, n_seals = n_entries + batch.n_entries, n_seals + 1
                    on_seal(batch)
        except HeadMoved:
            pass  # others seal, again and again: there is nothing to do for us now
        except (KeyRefused, SealingRefused) as error:
            self.problem = str(error)
            raise
        except Exception as error:
            self.problem = f"It failed by {type(error).__name__}; see the log."
            raise
        self.problem, self.is_catching_up = "", self._above is not None
        return Sealed(n_entries, n_seals, is_complete=self._above is None)

    def check_anchors(self, signer: Signer) -> None:
        """Hold the chain against the anchors and add those that are missing.

        Leaves an entry when there is none at all, unless the only seal was just made. Raises
        `SealingRefused` when one does not fit.
        """
        self.anchor_problem = ""
        try:
            # Before the head: a seal is anchored once it is stored, and by others too.
            anchored = last_anchors(self.files.anchors)
        except OSError as error:
            self._anchoring_failed(error)
            return
        head = sealing.current_head(signer)
        missing = missing_anchors(anchored, head, path=self.files.anchors)
        if anchored or head.no <= 1:
            self._append(missing)
        else:
            self._begin_anchors(missing)

    def _begin(self, at: datetime) -> None:
        self._is_sweep = self._swept_at is None or at - self._swept_at >= SWEEP_EVERY
        self._above = 0 if self._is_sweep else recent_floor(at)
        self._last = stored_entries.last_id()

    def _step(self, signer: Signer, *, at: datetime) -> SealedBatch | None:
        """Seal some entries of the window, or go on to the next one."""
        above = self._above or 0
        window = stored_entries.end_of_window(above=above, n_entries=WINDOW)
        up_to = self._last if window is None else min(window, self._last)
        batch = sealing.seal_entries(signer, at=at, above=above, up_to=up_to)
        if batch is not None:
            locked_ms = 1000 * batch.locked_seconds
            logger.info(
                "Sealed %s entries, locked %.0f ms: %s", batch.n_entries, locked_ms, batch.anchor
            )
            self._append([batch.anchor])
            self._above = batch.seal.last_id  # below it there is nothing left for this round
            return batch
        self._above = up_to
        if up_to == self._last:
            self._above = None
            self._swept_at = at if self._is_sweep else self._swept_at
        return None

    def _begin_anchors(self, heads: Sequence[Anchor]) -> None:
        """Entry and line together: a file that cannot be written is no new one each minute."""
        head = heads[-1]
        try:
            with transaction.atomic():
                details = {"no": head.no, "digest": head.digest}
                trail.record(ANCHORS_BEGUN, by=self.by(), details=details)
                append_heads(self.files.anchors, heads)
        except OSError as error:
            self._anchoring_failed(error)
        else:
            logger.warning(
                "%s held no anchor of the %s seals; it begins anew: %s",
                self.files.anchors, f"{head.no:,}", head,
            )  # fmt: skip

    def _append(self, heads: Sequence[Anchor]) -> None:
        try:
            append_heads(self.files.anchors, heads)
        except OSError as error:
            self._anchoring_failed(error)

    def _anchoring_failed(self, error: OSError) -> None:
        self.anchor_problem = f"{self.files.anchors}: {error.strerror or error}"
        logger.error("Seals are not anchored: %s", self.anchor_problem)


def recent_floor(at: datetime) -> int:
    """The last id of the newest seal that is older than `RECENT`; entries above it are recent."""
    old = AuditSeal.objects.filter(kind=SealKind.ENTRIES, sealed_at__lte=at - RECENT)
    return old.order_by("-no").values_list("last_id", flat=True).first() or 0


def missing_anchors(anchored: Sequence[Anchor], head: Head, *, path: Path) -> list[Anchor]:
    """The anchors from the last that there is to the head; of a new file only that of the head.

    Raises `SealingRefused` when the last anchor, or a seal after it, does not fit.
    """
    last_no = max((anchor.no for anchor in anchored), default=head.no)
    rows = list(AuditSeal.objects.filter(no__gte=max(last_no, 1)).order_by("no"))
    try:
        stored = [Anchor(0, row.sealed_at, row.no, digest_of(row)) for row in rows]
    except (ValueError, TypeError) as error:
        raise SealingRefused(f"A seal after number {last_no} is damaged. {ADVICE}") from error
    if anchored:
        known = {(anchor.no, anchor.digest) for anchor in anchored if anchor.no == last_no}
        if known != {(anchor.no, anchor.digest) for anchor in stored[:1]}:
            raise SealingRefused(
                f"{path} has another seal {last_no} than the database, whose last seal is "
                f"{head.no}: the database was cut, restored or sealed anew. {ADVICE} To go on from "
                f"what there is, keep that file and let a new one begin: mv {path} {path}.kept"
            )
    for row, before in zip(rows[1:], stored, strict=False):
        if row.previous != before.digest:
            raise SealingRefused(f"Seal {row.no} does not continue the one before. {ADVICE}")
    return stored[1:] if anchored else stored


ADVICE = "Nothing is sealed on top of that; `manage.py verify_audit` says what does not fit."
