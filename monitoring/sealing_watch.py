"""Whether the audit trail is sealed and anchored in time: two conditions for alerts."""

from __future__ import annotations

from datetime import datetime, timedelta

from audit.leaf import FIELDS, Unreadable, leaf_hash
from audit.sealer import Sealer, recent_floor
from audit.stored_entries import n_unsealed, unsealed
from monitoring.alerts import Condition, Level
from monitoring.models import AlertKind

SEALED_WITHIN = timedelta(minutes=5)
"""How long an entry may wait, or five intervals of sealing where those are longer."""
AT, ID = FIELDS.index("at"), FIELDS.index("id")
ADVICE = (
    "Until it is sealed, nobody could tell if an entry were changed or removed. Run `manage.py "
    "seal_audit` to see what happens; `manage.py verify_audit` checks what is sealed."
)


def sealing_conditions(sealer: Sealer | None, *, at: datetime) -> list[Condition]:
    """How sealing stands; `sealer` is None where another process seals than the one that looks."""
    within = max(SEALED_WITHIN, 5 * sealer.interval) if sealer is not None else SEALED_WITHIN
    return [_sealed(sealer, within=within, at=at), _anchored(sealer)]


def _sealed(sealer: Sealer | None, *, within: timedelta, at: datetime) -> Condition:
    above = recent_floor(at)
    oldest = next(iter(unsealed(above=above, at_most=1)), None)
    is_late = oldest is not None and _is_older(oldest, at - within)
    is_bad = is_late and not (sealer is not None and sealer.is_catching_up)
    summary = ""
    if oldest is not None and is_bad:
        n_waiting = n_unsealed(above=above)
        entries = "1 entry is" if n_waiting == 1 else f"{n_waiting:,} entries are"
        summary = f"{entries} not sealed{_since(oldest)}. {_reason(sealer, oldest)}"
    return Condition(
        kind=AlertKind.SEALING,
        key=AlertKind.SEALING,
        level=Level.ALARM if is_bad else Level.OK,
        title="The audit trail is not sealed",
        summary=summary.strip(),
        advice=ADVICE,
        needs=1,
    )


def _is_older(values: tuple[object, ...], limit: datetime) -> bool:
    """An entry without a moment is as old as can be."""
    at = values[AT]
    return not isinstance(at, datetime) or at <= limit


def _since(values: tuple[object, ...]) -> str:
    at = values[AT]
    return f", the first of {at:%Y-%m-%d %H:%M} UTC" if isinstance(at, datetime) else ""


def _reason(sealer: Sealer | None, oldest: tuple[object, ...]) -> str:
    if sealer is None:
        return "The server leaves sealing to `manage.py seal_audit --every`, which must run."
    if sealer.problem:
        return sealer.problem
    try:
        leaf_hash(oldest)
    except Unreadable as error:
        return f"Entry {oldest[ID]} cannot be sealed: it holds {error}."
    return ""


def _anchored(sealer: Sealer | None) -> Condition:
    problem = sealer.anchor_problem if sealer is not None else ""
    return Condition(
        kind=AlertKind.SEALING,
        key=f"{AlertKind.SEALING}:anchors",
        level=Level.ALARM if problem else Level.OK,
        title="The audit trail's seals are not anchored",
        summary=f"The anchor file cannot be read or written. {problem}",
        advice=(
            "Entries are sealed all the same, and the anchors that are missing follow once the "
            "file works. Look at the place and the rights of AUDIT_ANCHOR_FILE, and at its disk."
        ),
        needs=1,
    )
