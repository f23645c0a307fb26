"""What a verification finds: where something does not fit, what it is, and how grave.

A *broken* finding is evidence that something was changed, removed or forged. A *warning* has
innocent causes too, a clock that was set back for one, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

MAX_SHOWN = 100
"""Findings that are kept; the others are counted."""


class Severity(StrEnum):
    BROKEN = "broken"
    WARNING = "warning"


class Place(StrEnum):
    ENTRY = "entry"
    LEAF = "leaf"
    SEAL = "seal"
    ANCHOR = "anchor"
    TRIGGERS = "triggers"
    SEQUENCE = "sequence"
    DATABASE = "database"


NAMES = {
    Place.LEAF: "leaf of entry",
    Place.ANCHOR: "anchor line",
    Place.SEQUENCE: "sequence of ids",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`key` is the entry's id (of a leaf: its entry's), the seal's number or the anchor's line.

    It is None where there is no number to name.
    """

    severity: Severity
    place: Place
    key: int | None
    what: str

    @property
    def where(self) -> str:
        name = NAMES.get(self.place, self.place.value)
        return name if self.key is None else f"{name} {self.key}"


@dataclass(slots=True)
class Findings:
    """The first of them, broken ones before warnings, and how many there are."""

    n_broken: int = 0
    n_warnings: int = 0
    _broken: list[Finding] = field(default_factory=list)
    _warnings: list[Finding] = field(default_factory=list)

    def broken(self, place: Place, key: object, what: str) -> None:
        self.n_broken += 1
        if len(self._broken) < MAX_SHOWN:
            self._broken.append(Finding(Severity.BROKEN, place, _number(key), what))

    def warning(self, place: Place, key: object, what: str) -> None:
        self.n_warnings += 1
        if len(self._warnings) < MAX_SHOWN:
            self._warnings.append(Finding(Severity.WARNING, place, _number(key), what))

    @property
    def shown(self) -> list[Finding]:
        return (self._broken + self._warnings)[:MAX_SHOWN]


def _number(key: object) -> int | None:
    return key if type(key) is int else None


def shortened(value: object, *, at_most: int = 40) -> str:
    """A value of a damaged or forged row, fit to be shown in one line."""
    text = ascii(value)
    return text if len(text) <= at_most else text[:at_most] + "…"
