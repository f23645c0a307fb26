"""Drift since the training of one version, as its page tells it: the last checks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from modelregistry.models import ModelVersion
from monitoring.models import DriftReport, Verdict
from monitoring.report_page import VERDICT_STYLES

N_SHOWN = 12
"""Checks in the series, the newest first."""
SENTENCES = {
    Verdict.OK: "Today's customers are still those of the training.",
    Verdict.WARNING: "Customers may have changed since the training.",
    Verdict.DRIFT: "Customers have changed since the training.",
    Verdict.INSUFFICIENT_DATA: "Too few customers came to say whether they changed.",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One drift report in short."""

    pk: int
    verdict: str
    style: str
    summary: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class VersionDrift:
    """`checks` is empty if the version was never checked; `is_longer` says that there are more."""

    sentence: str
    checks: list[Check]
    is_longer: bool


def version_drift(version: ModelVersion) -> VersionDrift:
    """One query, however many checks there were."""
    reports = list(
        DriftReport.objects.filter(version=version)
        .only("verdict", "summary", "created_at")
        .order_by("-created_at", "-id")[: N_SHOWN + 1]
    )
    checks = [
        Check(
            report.pk,
            report.get_verdict_display(),
            VERDICT_STYLES[Verdict(report.verdict)],
            report.summary,
            report.created_at,
        )
        for report in reports[:N_SHOWN]
    ]
    sentence = SENTENCES[Verdict(reports[0].verdict)] if reports else ""
    return VersionDrift(sentence, checks, len(reports) > N_SHOWN)
