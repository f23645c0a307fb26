"""Entries whose moment is none, written past the triggers: every page is there without it."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from audit import append_only
from audit.models import AuditEntry
from audit.pages import NEWEST, page_of
from tests.staff import superuser

pytestmark = pytest.mark.django_db
AT = datetime(2026, 1, 5, 12, 0, 0, 999999, tzinfo=UTC)
ODD = {
    "sqlite": ["tomorrow", "2026-01-05 25:00:00", "2026-02-31 12:00:00", "2026-01-05", 5, b"\xff"],
    "postgresql": ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC"],
}


def add(n: int, at: datetime = AT) -> list[int]:
    entries = [
        AuditEntry(
            at=at - timedelta(days=day), action="tests.acted", target_type="t", target_id="1"
        )
        for day in range(n)
    ]
    for entry in entries:
        entry.insert()
    return [entry.pk for entry in entries]


def spoil(entry_id: int, at: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE audit_auditentry SET at = %s WHERE id = %s", [at, entry_id])


@pytest.fixture
def odd() -> list[int]:
    """Entries of moments that are none, one of each kind."""
    append_only.remove(connection)
    values = ODD[connection.vendor]
    ids = add(len(values))
    for entry_id, value in zip(ids, values, strict=True):
        spoil(entry_id, value)
    return ids


def test_readable_moments_are_read_as_they_are() -> None:
    moments = [
        AT,
        AT.replace(microsecond=0),
        NEWEST - timedelta(days=2),
        AT.replace(year=1, month=2),
    ]
    for at in moments:
        add(1, at)

    found = page_of(AuditEntry.objects.all(), size=9).entries

    assert [entry.at for entry in found] == sorted(moments, reverse=True)


@pytest.mark.parametrize("size", [1, 2, 50])
@pytest.mark.parametrize("phrase", ["", "acted"])
def test_pages_pass_over_them_and_lead_to_all_others(
    odd: list[int], size: int, phrase: str
) -> None:
    others = add(5)
    pages = [page_of(AuditEntry.objects.all(), size=size, phrase=phrase)]
    while pages[-1].older is not None and len(pages) < 20:
        place = pages[-1].older
        pages.append(page_of(AuditEntry.objects.all(), size=size, phrase=phrase, place=place))

    seen = [entry.pk for page in pages for entry in page.entries]
    assert [pk for pk in seen if pk in others] == others
    assert {e.pk for page in pages for e in page.entries if e.at is None} <= set(odd)
    assert len(pages) < 20


def test_the_pages_show_them(odd: list[int], api: Client) -> None:
    client = superuser()
    entries = reverse("admin:audit_auditentry_changelist")

    logs = api.get("/audit/logs").json()["results"]
    assert {row["id"] for row in logs if row["at"] is None} == set(odd)
    assert "unreadable" in client.get(entries).content.decode()
    for entry_id in odd:
        page = client.get(reverse("admin:audit_auditentry_change", args=[entry_id]))
        assert "unreadable" in page.content.decode()
    exported = client.get(reverse("admin:audit_auditentry_export")).getvalue().decode()
    rows = list(csv.DictReader(io.StringIO(exported)))
    assert {int(row["id"]) for row in rows if row["at"] == ""} == set(odd)
