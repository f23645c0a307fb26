"""An entry's details as people read them: what changed, and the other facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.models import AuditEntry

MAX_LINE = 300
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Change:
    field: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.field}: {self.before} → {self.after}"


def details_of(entry: AuditEntry) -> dict[str, Any]:
    """The details; of a text that is no JSON object, which nothing here writes, that text."""
    try:
        found = json.loads(entry.details)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"unreadable": entry.details}


def changes_in(details: Mapping[str, Any]) -> list[Change]:
    """`{"changes": {field: [before, after]}}`, field by field."""
    changes = details.get("changes")
    if not isinstance(changes, dict):
        return []
    return [
        Change(_name(field), shown(pair[0]), shown(pair[1]))
        for field, pair in changes.items()
        if isinstance(pair, list) and len(pair) == 2
    ]


def facts_in(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What `changes_in` does not tell."""
    told = bool(changes_in(details))
    return [
        (_name(name), shown(value))
        for name, value in details.items()
        if not (told and name == "changes")
    ]


def line_of(details: Mapping[str, Any]) -> str:
    """The changes in one line, or else the plain facts; cut where it gets long."""
    changes = changes_in(details)
    if changes:
        words = "; ".join(map(str, changes))
    else:
        words = "; ".join(
            f"{_name(name)}: {shown(value)}"
            for name, value in details.items()
            if not isinstance(value, (dict, list)) and name not in ("method", "path")
        )
    return words if len(words) <= MAX_LINE else words[: MAX_LINE - 1] + "…"


def shown(value: Any) -> str:
    """A value of details as text; lists and objects as lines of a few words each."""
    if value is None or value == "" or value == [] or value == {}:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(each, (dict, list)) for each in value):
        return ", ".join(map(shown, value))
    if isinstance(value, dict) and not any(isinstance(v, (dict, list)) for v in value.values()):
        return ", ".join(f"{_name(name)} {shown(each)}" for name, each in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _name(field: str) -> str:
    return field.replace("_", " ")
