"""What was done to a thing, or by somebody, newest first and a line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from audit import trail
from audit.entry_words import details_of, line_of
from audit.filters import fingerprint, matching
from audit.models import AuditEntry, Outcome
from audit.pages import BadCursor, page_of, place_of
from audit.reading import record_reading

N_LINES = 50
STYLES: Mapping[str, str] = {
    Outcome.SUCCEEDED: "good",
    Outcome.REFUSED: "warn",
    Outcome.FAILED: "bad",
}


@dataclass(frozen=True, slots=True)
class Line:
    entry: AuditEntry
    words: str
    style: str

    @property
    def who(self) -> str:
        return self.entry.actor_label or self.entry.actor_id or self.entry.actor_kind

    @property
    def what(self) -> str:
        return f"{self.entry.target_type.replace('_', ' ')} {self.entry.target_id}".strip()


@dataclass(frozen=True, slots=True)
class Timeline:
    """A page of lines; `older` and `newer` are cursors, or empty."""

    lines: list[Line]
    older: str
    newer: str


def read_timeline(filters: Mapping[str, str], *, cursor: str, by: trail.Actor) -> Timeline:
    """A page of the entries that fit the filters; that it was read is recorded.

    A cursor that is none leads to the newest page. To be called within a transaction.
    """
    own = fingerprint(filters)
    try:
        place = place_of(cursor, own) if cursor else None
    except BadCursor:
        place = None
    page = page_of(matching(filters), size=N_LINES, place=place)
    lines = [
        Line(entry, line_of(details_of(entry)), STYLES.get(entry.outcome, "plain"))
        for entry in page.entries
    ]
    record_reading(by=by, n_items=len(lines), filters=filters)
    return Timeline(
        lines,
        older=page.older.cursor(own) if page.older else "",
        newer=page.newer.cursor(own) if page.newer else "",
    )
