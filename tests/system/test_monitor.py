"""Real monitors: two at once, one of them killed; one check a time it is due, and one mail."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.smtp_sink import smtp_sink
from tests.system.databases import database_url, databases
from tests.system.server import Installation, fill, make_installation
from tests.system.workers import command, waited_for

ORDER_MORE = """
import django; django.setup()
from django.utils import timezone
from segments.customers import upsert_customers
from segments.models import Customer
rows = {each.pk: {"orders": each.attributes["orders"] * 3 + 5} for each in Customer.objects.all()}
upsert_customers(rows, at=timezone.now())
"""
RESUME = "UPDATE monitoring_monitoringpolicy SET is_paused = ?"
CHECK_NOW = "UPDATE monitoring_monitoringpolicy SET last_started_at = NULL"


@pytest.fixture(params=databases("sqlite"))
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    with database_url(request.param) as url:
        yield make_installation(
            tmp_path,
            DATABASE_URL=url,
            SMTP_SERVER="127.0.0.1",
            SMTP_TLS="false",
            ALERT_EMAIL="team@example.com",
        )


def n_ended_checks(installation: Installation) -> int:
    """Runs of both model types that were stored and that the schedule knows to have ended."""
    ((n_reports,),) = installation.rows("SELECT count(*) FROM monitoring_driftreport")
    running = installation.rows("SELECT 1 FROM monitoring_monitoringpolicy WHERE last_error <> ''")
    return 0 if running else int(n_reports) // 2


def test_two_monitors_check_once_and_mail_once_though_one_is_killed(
    installation: Installation,
) -> None:
    fill(installation)
    installation.python("-c", ORDER_MORE)
    installation.rows(RESUME, False)
    with smtp_sink() as sink:
        installation.variables["SMTP_PORT"] = str(sink.port)
        with command(installation, "monitor") as one, command(installation, "monitor") as other:
            waited_for(lambda: sink.mails, "a mail", installation)
            waited_for(lambda: n_ended_checks(installation) == 1, "a check", installation)
            os.kill(one.pid, signal.SIGKILL)
            installation.rows(CHECK_NOW)
            waited_for(lambda: n_ended_checks(installation) == 2, "another check", installation)
            other.terminate()
            assert other.wait(20) == 0

    assert len(sink.mails) == 1
    verdicts = installation.rows("SELECT DISTINCT verdict, source FROM monitoring_driftreport")
    assert verdicts == [("drift", "stored")]
    assert installation.rows("SELECT state FROM monitoring_notification") == [("sent",)]
