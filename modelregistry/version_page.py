"""One model version as a person reads it: its figures, features, doubts and service.

How k or eps was chosen is in `choice_page`, what became of the segments in `succession_page`, the
segments themselves in `segments.description_page`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from django.db.models import Q
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from access.figures import figure
from access.staff import Table
from modelregistry.choice_page import evidence_of
from modelregistry.models import Activation, ModelVersion
from segments.description_page import SHAKY, n_shaky
from segments.models import VersionSegment

MAX_MOVES = 50
"""Moves in the history, the newest first."""
GATE_WORDS = {True: "Passed.", False: "Breached.", None: "Not measured."}
MAX_LEVELS = 6
"""Levels of a category named in the table; the others are counted."""


def doubts(version: ModelVersion, rows: Sequence[VersionSegment]) -> Iterator[tuple[str, str]]:
    """What speaks against using it, the worst first: a style and a sentence each."""
    if version.failure:
        yield "bad", f"Its training failed: {version.failure}"
    if version.degenerate_reason:
        yield "bad", f"Degenerate: {version.degenerate_reason} It does not serve unless forced."
    evidence = evidence_of(version)
    if evidence is not None and evidence.is_doubtful:
        yield evidence.style, f"{evidence.label.capitalize()} of segments. {evidence.words}"
    if shaky := n_shaky(rows):
        yield (
            "warn",
            f"{shaky} of {len(rows)} segments {'is' if shaky == 1 else 'are'} shaky (stability "
            f"below {SHAKY}): other customers of the same kind may well not form them.",
        )


def parameters(version: ModelVersion) -> list[tuple[str, str]]:
    chosen = set((version.selection or {}).get("chosen", ()))
    return [
        (name, f"{figure(value)} (chosen)" if name in chosen else figure(value))
        for name, value in sorted(version.parameters.items())
    ]


def features_table(version: ModelVersion) -> Table:
    return Table(
        ["Feature", "Kind", "Transform", "Missing values", "Seen in training"],
        [
            (
                feature["name"],
                feature["kind"],
                "log1p, standardised" if feature["log"] else _transform(feature["kind"]),
                _missing(feature),
                _seen(feature, as_of_of(version)),
            )
            for feature in version.schema["features"]
        ],
    )


def _transform(kind: str) -> str:
    return {"category": "one column a level", "date": "days, standardised"}.get(
        kind, "standardised"
    )


def _missing(feature: Mapping[str, Any]) -> str:
    if not feature["imputed"]:
        return "an input error"
    return "a level of their own" if feature["kind"] == "category" else "imputed"


def _seen(feature: Mapping[str, Any], as_of: date) -> str:
    if feature["kind"] == "category":
        names = feature["levels"][:MAX_LEVELS]
        n_more = len(feature["levels"]) + len(feature["rare_levels"]) - len(names)
        return ", ".join(names) + (f" and {n_more:,} more" if n_more else "")
    if feature["kind"] == "boolean":
        return "no, yes"
    low, high = feature["low"], feature["high"]
    if feature["kind"] == "date":
        return f"{_day(high, as_of)} to {_day(low, as_of)}"
    return f"{figure(low)} to {figure(high)}"


def as_of_of(version: ModelVersion) -> date:
    return date.fromisoformat(version.schema["as_of"])


def _day(days_before: float, as_of: date) -> str:
    return (as_of - timedelta(days=days_before)).isoformat()


def omitted_table(version: ModelVersion) -> Table:
    return Table(
        ["Attribute", "Why it is no feature"],
        [(item["name"], item["reason"]) for item in version.schema["omitted"]],
        empty="Every attribute is a feature.",
    )


def ledger_table(version: ModelVersion) -> Table:
    """Each time the version began or ceased to serve, the newest first; one query."""
    moves = (
        Activation.objects.filter(Q(to_version=version) | Q(from_version=version))
        .select_related("from_version", "to_version")
        .order_by("-activated_at", "-id")[:MAX_MOVES]
    )
    return Table(
        ["When", "What", "By", "Reason", "Gates"],
        [
            (
                move.activated_at.strftime("%d %b %Y %H:%M"),
                _what(move, version),
                move.activated_by,
                move.reason,
                _gates(move),
            )
            for move in moves
        ],
        empty="It never served.",
    )


def _what(move: Activation, version: ModelVersion) -> SafeString:
    if move.to_version_id == version.pk:
        words, style = "began to serve", "good"
        beside = f"in place of {move.from_version}" if move.from_version else "the first to serve"
    else:
        words, style, beside = "ceased to serve", "plain", f"{move.to_version} took its place"
    # A rollback is forced by its nature: it served before.
    how = ", by a rollback" if move.is_rollback else ", forced" if move.forced else ""
    label = '<span class="seg-label seg-label-{}">{}</span><small>{}{}</small>'
    return format_html(label, style, words, beside, how)


def _gates(move: Activation) -> SafeString | str:
    """What each gate found, as it was recorded with the move."""
    sentences = [
        (GATE_WORDS[gate.get("passed")], gate.get("sentence", "")) for gate in move.gates or ()
    ]
    if not sentences:
        return "none was checked"
    return format_html_join("", "<small><strong>{}</strong> {}</small>", sentences)
