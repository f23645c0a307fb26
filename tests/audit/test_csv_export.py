"""The filtered log as a CSV file: all of it, safe in a spreadsheet, recorded before it leaves."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from audit import csv_export, trail
from audit.leaf import FIELDS
from audit.models import AuditEntry
from segments import views_export
from segments.spreadsheet_cells import safe_text
from tests.audit.no_entries import no_entries
from tests.expectations import one_entry
from tests.factories import BY
from tests.staff import staff

pytestmark = pytest.mark.django_db
VIEW = "audit.view_auditentry"
EXPORT = "/admin/audit/auditentry/export/"


@pytest.fixture
def entries() -> list[AuditEntry]:
    trail.record("tests.counted", by=trail.Actor("user", id="eve", label='=HYPERLINK("x")'))
    return [
        trail.record(
            "tests.acted", by=BY, target=("segment", n), details={"name": 'Ärzte, \n"x"'},
        )
        for n in range(7)
    ]  # fmt: skip


def rows_of(response: Any) -> list[dict[str, str]]:
    text = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_entry_of_the_list_is_in_the_file(
    entries: list[AuditEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_export, "CHUNK", 3)

    rows = rows_of(staff(VIEW).get(f"{EXPORT}?action=tests.acted"))

    assert [int(row["id"]) for row in rows] == [entry.pk for entry in reversed(entries)]
    assert rows[0].keys() == set(FIELDS)
    assert rows[0]["at"] == entries[-1].at.isoformat()
    assert json.loads(rows[0]["details"]) == {"name": 'Ärzte, \n"x"'}


def test_the_search_narrows_the_file_too(entries: list[AuditEntry]) -> None:
    assert [row["actor_id"] for row in rows_of(staff(VIEW).get(f"{EXPORT}?q=hyperlink"))] == ["eve"]


def test_no_cell_is_a_formula(entries: list[AuditEntry]) -> None:
    (row,) = rows_of(staff(VIEW).get(f"{EXPORT}?actor=eve"))

    assert row["actor_label"] == '\'=HYPERLINK("x")'


def test_the_entry_names_what_left(entries: list[AuditEntry]) -> None:
    client = staff(VIEW)
    with one_entry(action="audit.exported", n_items=7, actor_id="ann") as written:
        response = client.get(f"{EXPORT}?action=tests.acted")

    content = b"".join(response.streaming_content)
    details = json.loads(written[0].details)
    digest = hashlib.sha256(content)
    assert details == {
        "format": "csv",
        "filters": {"action": "tests.acted"},
        "n_bytes": len(content),
        "sha256": digest.hexdigest(),
    }
    encoded = base64.b64encode(digest.digest()).decode()
    assert response.headers["Repr-Digest"] == f"sha-256=:{encoded}:"
    assert response.headers["Content-Length"] == str(len(content))


@pytest.mark.django_db(transaction=True)
def test_nothing_leaves_when_the_entry_cannot_be_written(entries: list[AuditEntry]) -> None:
    client = staff(VIEW)
    client.raise_request_exception = False

    with no_entries():
        response = client.get(EXPORT)

    assert response.status_code >= 500
    assert b"tests.acted" not in response.content


def test_only_who_may_read_the_trail_exports_it(entries: list[AuditEntry]) -> None:
    assert staff().get(EXPORT).status_code == 403
    assert Client().get(EXPORT).status_code == 302


def test_a_query_that_makes_no_sense_exports_nothing(entries: list[AuditEntry]) -> None:
    response = staff(VIEW).get(f"{EXPORT}?at_from=yesterday")

    assert response.headers["Location"].endswith("?e=1")


def test_when_all_slots_are_taken_the_list_asks_to_wait(
    entries: list[AuditEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_export.slots, "acquire", lambda blocking: False)

    response = staff(VIEW).get(f"{EXPORT}?action=tests.acted", follow=True)

    assert "try again soon" in response.content.decode()
    assert len(response.context["cl"].result_list) == 7


def test_memory_does_not_grow_with_the_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times the entries, each with 10 kB of details, in less than twice the memory."""
    monkeypatch.setattr(csv_export, "CHUNK", 10)
    monkeypatch.setattr(csv_export, "MAX_IN_MEMORY", 1_000)
    peaks = []
    for n_more in (20, 180):
        for _ in range(n_more):
            trail.record("tests.acted", by=BY, details={"text": "x" * 10_000})
        tracemalloc.start()
        exported = csv_export.export_entries(
            AuditEntry.objects.filter(action="tests.acted"),
            phrase="", filters={}, safe_text=safe_text, directory=tmp_path, by=BY,
        )  # fmt: skip
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        exported.content.close()

    assert exported.n_entries == 200 and exported.n_bytes > 2_000_000
    assert peaks[1] < 2 * peaks[0]
