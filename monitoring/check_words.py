"""What a run of checks says: one verdict, a table for people, JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitoring.drift_check import CheckRun
from monitoring.models import Alert, DriftReport, Notification, Verdict

FAILED = "failed"
EXIT_CODES = {
    FAILED: 1,
    Verdict.DRIFT.value: 3,
    Verdict.INSUFFICIENT_DATA.value: 4,
    Verdict.WARNING.value: 0,
    Verdict.OK.value: 0,
}
"""By verdict, the gravest first."""
COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.DRIFT: "red"}


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run with the alerts that are open after it and the messages that were tried."""

    run: CheckRun
    alerts: Sequence[Alert]
    deliveries: Sequence[Notification]

    @property
    def verdict(self) -> str:
        """The gravest of all."""
        found = {report.verdict for report in self.run.reports}
        if self.run.failures:
            found.add(FAILED)
        return next(verdict for verdict in EXIT_CODES if verdict in found)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def as_json(result: RunResult) -> dict[str, Any]:
    return {
        "verdict": result.verdict,
        "exit_code": result.exit_code,
        "reports": [_report_json(report) for report in result.run.reports],
        "failures": [
            {"model_type": each.model_type, "code": each.code, "detail": each.detail}
            for each in result.run.failures
        ],
        "alerts": [_alert_json(alert) for alert in result.alerts],
        "deliveries": [
            {
                "id": each.pk,
                "channel": each.channel,
                "state": each.state,
                "n_attempts": each.n_attempts,
                "error": each.error,
            }
            for each in result.deliveries
        ],
    }


def _report_json(report: DriftReport) -> dict[str, Any]:
    return {
        "id": report.pk,
        "model_type": report.model_type,
        "version": report.version.number,
        "verdict": report.verdict,
        "summary": report.summary,
        "source": report.source,
        "since": report.since.isoformat() if report.since else None,
        "n_reference": report.n_reference,
        "n_seen": report.n_seen,
        "n_current": report.n_current,
        "created_at": report.created_at.isoformat(),
        "report": report.report,
    }


def _alert_json(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.pk,
        "kind": alert.kind,
        "state": alert.state,
        "model_type": alert.model_type,
        "title": alert.title,
        "summary": alert.summary,
        "subjects": alert.subjects,
        "raised_at": alert.raised_at.isoformat(),
    }


def lines(result: RunResult) -> Iterator[str]:
    """The run as plain lines."""
    for report in result.run.reports:
        yield f"{report.version}: {report.get_verdict_display()}. {report.summary}"
        for check in report.report["findings"]:
            yield (
                f"  {_subject(check)} ({check['check']}): {check['sentence']} "
                f"adjusted p {check['p_adjusted']:.2g}, effect {check['effect']:+.3f}"
            )
    yield from _lines_after(result)


def _lines_after(result: RunResult) -> Iterator[str]:
    for failure in result.run.failures:
        yield f"{failure.model_type}: not checked. {failure.detail}"
    for alert in result.alerts:
        yield f"Alert {alert.pk}, {alert.state}: {alert.title}. {alert.advice}"
    for each in result.deliveries:
        error = f" {each.error}" if each.error else ""
        yield f"{each.get_channel_display()}: {each.get_state_display().lower()}.{error}"


def show(result: RunResult, console: Console) -> None:
    """The run as tables."""
    table = Table("Model", "Verdict", "Compared", "In short")
    for report in result.run.reports:
        verdict = Verdict(report.verdict)
        colour = COLOURS.get(verdict, "bold")
        of_all = f" of {report.n_seen:,}" if report.n_seen > report.n_current else ""
        table.add_row(
            str(report.version),
            f"[{colour}]{verdict.label}[/]",
            f"{report.n_current:,}{of_all}",
            escape(report.summary),
        )
    console.print(table)
    findings = Table("Model", "What", "Adjusted p", "Effect", "Floor", "Finding")
    for report in result.run.reports:
        for check in report.report["findings"]:
            findings.add_row(
                str(report.version),
                escape(_subject(check)),
                f"{check['p_adjusted']:.2g}",
                f"{check['effect']:+.3f}",
                f"{check['floor']:.3f}",
                escape(check["sentence"]),
            )
    if findings.row_count:
        console.print(findings)
    for line in _lines_after(result):
        console.print(escape(line), highlight=False)


def _subject(check: dict[str, Any]) -> str:
    return " × ".join(filter(None, (check["feature"] or "segments", check["other"])))
