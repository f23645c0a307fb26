"""A sealed trail for tests: entries at chosen moments, seals of a few, files of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.test import override_settings
from django.utils import timezone

from audit import trail
from audit.anchors import append_heads
from audit.models import AuditEntry
from audit.sealer import Sealer, SealingFiles
from audit.sealing import SealedBatch, seal_entries
from audit.sealing_key import Signer
from audit.verification import Verification, verify
from tests.factories import BY

OLD = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SealedTrail:
    files: SealingFiles
    signer: Signer

    def add(self, n_entries: int, *, at: datetime = OLD, **columns: Any) -> list[int]:
        """Ids of new entries, a second apart."""
        ids = []
        for place in range(n_entries):
            entry = AuditEntry(
                at=at + timedelta(seconds=place),
                actor_kind=BY.kind,
                action="tests.acted",
                outcome="succeeded",
                duration_ms=place / 7,
                details=trail.canonical_json({"place": place, "text": "\u00e9\u2028"}),
                **columns,
            )
            entry.insert()
            ids.append(entry.pk)
        return ids

    def seal(self, *, at_most: int = 4, at: datetime | None = None) -> list[SealedBatch]:
        """Seal all there is, a few at a time, and anchor it."""
        batches = []
        moment = at or timezone.now()
        Sealer(self.files).check_anchors(self.signer)
        while batch := seal_entries(self.signer, at=moment, at_most=at_most):
            batches.append(batch)
        append_heads(self.files.anchors, [batch.anchor for batch in batches])
        return batches

    def verified(self) -> Verification:
        return verify(self.signer.trusted, at=timezone.now(), anchor_file=self.files.anchors)

    def is_clean(self) -> bool:
        """Says so with what does not fit."""
        found = self.verified()
        assert not found.n_broken, found.findings
        return found.anchored_to == found.head_no


@contextmanager
def sealed_trail(directory: Path) -> Iterator[SealedTrail]:
    """Settings name the files of this trail."""
    names = {"KEY_FILE": "key.pem", "PUBLIC_KEYS": "key.pub", "ANCHOR_FILE": "anchors.log"}
    with override_settings(**{f"AUDIT_{n}": directory / file for n, file in names.items()}):
        files = SealingFiles(*(directory / file for file in names.values()))
        yield SealedTrail(files, files.signer())
