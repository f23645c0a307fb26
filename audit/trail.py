"""Writing the trail: `record` adds one entry inside the caller's transaction.

Actions are past tense (`model_version.activated`); details carry digests and counts, never
attribute values or keys.
"""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from audit.models import ActorKind, AuditEntry, Outcome

MAX_DETAILS = 20_000
"""Characters of details text; longer details are replaced by their size."""


@dataclass(slots=True)
class Actor:
    """Who acts, and through which request; `n_recorded` counts the entries already written.

    `with_success` is called within the transaction of each entry of a success; what it raises
    undoes that.
    """

    kind: ActorKind
    id: str = ""
    label: str = ""
    request_id: str = ""
    peer_address: str = ""
    address: str = ""
    started: float = field(default_factory=time.monotonic)
    n_recorded: int = 0
    with_success: Callable[[], None] | None = None

    @classmethod
    def command(cls, name: str) -> Actor:
        return cls(ActorKind.COMMAND, id=name, label=f"{name} run by {_system_user()}"[:200])

    @classmethod
    def system(cls, name: str) -> Actor:
        return cls(ActorKind.SYSTEM, id=name, label=name)


def record(
    action: str,
    *,
    by: Actor,
    target: tuple[str, object] = ("", ""),
    outcome: Outcome = Outcome.SUCCEEDED,
    status_code: int | None = None,
    n_items: int | None = None,
    details: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Insert one entry; it stands or falls with the surrounding transaction."""
    entry = AuditEntry(
        at=timezone.now(),
        actor_kind=by.kind,
        actor_id=by.id[:150],
        actor_label=by.label[:200],
        action=action,
        target_type=target[0],
        target_id=str(target[1])[:200],
        outcome=outcome,
        status_code=status_code,
        n_items=n_items,
        request_id=by.request_id,
        peer_address=by.peer_address,
        address=by.address,
        duration_ms=round((time.monotonic() - by.started) * 1000, 3),
        details=canonical_json(details or {}),
    )
    entry.insert()
    by.n_recorded += 1
    if by.with_success is not None and outcome == Outcome.SUCCEEDED:
        by.with_success()
    return entry


def canonical_json(details: Mapping[str, Any]) -> str:
    """Sorted keys, no white space, no NaN: the same details give the same text."""
    text = json.dumps(details, sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_DETAILS:
        return json.dumps({"omitted_characters": len(text)}, separators=(",", ":"))
    return text


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container user without a passwd entry
        return "unknown user"
