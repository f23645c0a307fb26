"""The mail that goes out when customers have drifted. A dead mail server delays nothing else."""

from __future__ import annotations

import logging
import smtplib
from datetime import datetime

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone
from django_q.tasks import async_task

from monitoring.models import DriftReport

logger = logging.getLogger(__name__)


def mail_later(report: DriftReport) -> None:
    """Have the worker mail a committed report: who asked for it does not wait for SMTP."""
    transaction.on_commit(lambda: async_task("monitoring.mail.mail_stored_report", report.pk))


def mail_stored_report(report_id: int) -> bool:
    """Mail a report unless it went out already. Whether it is out now."""
    report = DriftReport.objects.select_related("version").get(pk=report_id)
    return report.mailed_at is not None or mail_report(report, at=timezone.now())


def mail_report(report: DriftReport, *, at: datetime) -> bool:
    """Send the report to ALERT_EMAIL; the outcome is kept on it. Whether it went out."""
    if not settings.EMAIL_HOST or not settings.ALERT_EMAIL:
        report.mail_error = "SMTP_SERVER or ALERT_EMAIL is not set."
    else:
        try:
            message(report).send()
            report.mailed_at, report.mail_error = at, ""
        except (smtplib.SMTPException, OSError) as error:
            report.mail_error = f"{type(error).__name__}: {error}"[:500]
            logger.warning("The drift mail was not sent: %s", report.mail_error)
    report.save(update_fields=["mailed_at", "mail_error"])
    return not report.mail_error


def message(report: DriftReport) -> EmailMessage:
    lines = [
        report.summary,
        "",
        f"Model: {report.version}",
        f"Customers compared: {report.n_current:,} with a reference of {report.n_reference:,}",
        f"Family-wise significance level: {report.threshold}",
        "",
        "What changed:",
        *(f"- {sentence}" for sentence in drifted_sentences(report)),
        "",
        f"The whole report is number {report.pk} in the admin, under Monitoring.",
    ]
    return EmailMessage(
        subject=f"Drift: {report.version}",
        body="\n".join(lines),
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[address.strip() for address in settings.ALERT_EMAIL.split(",") if address.strip()],
    )


def drifted_sentences(report: DriftReport) -> list[str]:
    return [finding["sentence"] for finding in report.report["findings"]] or [report.summary]
