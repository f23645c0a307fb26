"""How a version stands against another one today: who would move, and its gates.

At a million customers that takes seconds, so what took long is kept for some minutes and says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from modelregistry.activation import Gate, load
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import ModelVersion
from segments.comparison import Comparison, compare
from segments.gates import GateLimits, check_gates

SLOW_SECONDS = 2.0
"""What took longer is kept."""
KEPT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Standing:
    """`gates` is None where they were not asked for, or cannot be checked: then `problem` says why.

    `is_kept` says that it was measured for an earlier page.
    """

    comparison: Comparison | None
    gates: Sequence[Gate] | None
    problem: str
    measured_at: datetime
    seconds: float
    is_kept: bool = False

    @property
    def is_slow(self) -> bool:
        return self.seconds > SLOW_SECONDS


def standing(
    version: ModelVersion, other: ModelVersion | None, *, with_gates: bool, is_fresh: bool = False
) -> Standing:
    """Compare with `other`, if any, and check the gates; `is_fresh` measures anew in any case.

    For pages alone: an activation measures for itself.
    """
    key = f"standing:{version.pk}:{version.artifact_sha256}:{other and other.pk}:{with_gates}"
    kept: Standing | None = None if is_fresh else cache.get(key)
    if kept is not None:
        return replace(kept, is_kept=True)
    found = _measured(version, other, with_gates=with_gates)
    if found.is_slow:
        cache.set(key, found, KEPT_SECONDS)
    return found


def _measured(version: ModelVersion, other: ModelVersion | None, *, with_gates: bool) -> Standing:
    started = time.monotonic()
    comparison = compare(version, other) if other else None
    gates, problem = None, ""
    if with_gates:
        try:
            model = load(version, directory=settings.MODEL_DIR)
        except DamagedArtifact as error:
            problem = str(error)
        else:
            limits = GateLimits(**settings.GATE_LIMITS)
            gates = check_gates(version, model, comparison, limits=limits)
    seconds = time.monotonic() - started
    return Standing(comparison, gates, problem, timezone.now(), seconds)
