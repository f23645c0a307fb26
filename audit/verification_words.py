"""What a verification says: lines for people, JSON for scripts, an exit code for both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from audit.findings import Severity
from audit.verification import Verdict, Verification

EXIT_CODES = {Verdict.CLEAN: 0, Verdict.BROKEN: 1, Verdict.NOT_ANCHORED: 3}
COLOURS = {Verdict.CLEAN: "green", Verdict.NOT_ANCHORED: "yellow", Verdict.BROKEN: "red"}
SEVERITY_COLOURS = {Severity.BROKEN: "red", Severity.WARNING: "yellow"}


def as_json(found: Verification) -> dict[str, Any]:
    return {
        "verdict": found.verdict.value,
        "exit_code": EXIT_CODES[found.verdict],
        "entries": found.n_entries,
        "leaves": found.n_leaves,
        "seals": found.n_seals,
        "pruned": found.n_pruned,
        "unsealed": found.n_unsealed,
        "head": {"no": found.head_no, "digest": found.head_digest},
        "anchored_to": found.anchored_to,
        "seconds": round(found.seconds, 3),
        "entries_per_second": round(found.entries_per_second),
        "broken": found.n_broken,
        "warnings": found.n_warnings,
        "findings": [
            {
                "severity": finding.severity.value,
                "place": finding.place.value,
                "key": finding.key,
                "where": finding.where,
                "what": finding.what,
            }
            for finding in found.findings
        ],
    }


def lines(found: Verification) -> Iterator[str]:
    """The verification as plain lines."""
    for finding in found.findings:
        yield f"{finding.severity.value}: {finding.where} {finding.what}."
    yield from _lines_after(found)


def show(found: Verification, console: Console) -> None:
    """The verification as a table and lines."""
    if found.findings:
        table = Table("", "Where", "What")
        for finding in found.findings:
            colour = SEVERITY_COLOURS[finding.severity]
            severity = f"[{colour}]{finding.severity.value}[/]"
            table.add_row(severity, escape(finding.where), escape(finding.what))
        console.print(table)
    *details, verdict = _lines_after(found)
    for line in details:
        console.print(escape(line), highlight=False)
    console.print(f"[{COLOURS[found.verdict]}]{escape(verdict)}[/]", highlight=False)


def _lines_after(found: Verification) -> Iterator[str]:
    n_more = found.n_broken + found.n_warnings - len(found.findings)
    if n_more:
        yield f"{n_more:,} more findings are not shown."
    yield (
        f"{found.n_entries:,} entries, {found.n_leaves:,} leaves, {found.n_seals:,} seals, "
        f"{found.n_pruned:,} entries pruned, {found.n_unsealed:,} not sealed yet."
    )
    if found.head_no:
        yield f"Head: seal {found.head_no}, {found.head_digest}."
    if found.anchored_to is not None:
        yield f"Anchored up to seal {found.anchored_to} of {found.head_no}."
    yield (
        f"{found.seconds:.1f} seconds, {found.entries_per_second:,.0f} entries a second; "
        f"{found.n_broken:,} broken, {found.n_warnings:,} warnings."
    )
    yield _verdict(found)


def _verdict(found: Verification) -> str:
    match found.verdict:
        case Verdict.BROKEN:
            return "BROKEN: the trail is not as it was sealed."
        case Verdict.NOT_ANCHORED:
            return (
                "Clean, but not anchored: no anchor was given that confirms a seal, so a trail "
                "that was cut, restored or sealed anew with its own key would look the same."
            )
        case Verdict.CLEAN:
            return "Clean and anchored."
