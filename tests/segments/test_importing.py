"""An import is whole or not at all, and leaves one entry with its counts and digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from django.db import connection

from segments.demo_shop import demo_customers, write_demo_customers
from segments.erasure_words import Words
from segments.importing import import_customers
from segments.models import Customer
from segments.table_problems import InvalidTable, UnreadableTable
from tests.expectations import one_entry
from tests.factories import BY

pytestmark = pytest.mark.django_db

BAD = "customer_id,orders\na,1\nb,2,3\nc,4\na,5\nd,6\n"


def test_the_file_s_customers_are_stored_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "demo.csv"
    write_demo_customers(path, n_customers=50, random_state=3)
    shares: list[float] = []

    with one_entry(action="customers.imported", target_id="demo.csv", n_items=50) as entries:
        result = import_customers(path, by=BY, on_progress=lambda share, step: shares.append(share))

    assert (result.n_created, result.n_updated, result.n_rejected) == (50, 0, 0)
    assert result.id_column == "customer_id"
    details = json.loads(entries[0].details)
    assert details["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)
    for record in demo_customers(50, 3):
        stored = Customer.objects.get(pk=record.pop("customer_id")).attributes
        assert stored == record


def test_who_vanishes_by_an_import_is_forgotten_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[str] = []

    def forget(ids: list[str], words: Words) -> int:
        forgotten.extend(ids)
        return 7

    monkeypatch.setattr("monitoring.drift_check.forget_customers", forget)
    places = {"drift_inputs": "monitoring.drift_check.forget_customers"}
    path = tmp_path / "customers.csv"
    path.write_text("customer_id,orders\na,1\nb,2\nc,3\n")
    import_customers(path, by=BY, elsewhere=places)
    path.write_text("customer_id,orders\nb,7\nd,8\n")

    with one_entry(action="customers.imported") as entries:
        import_customers(path, by=BY, replaces_all=True, elsewhere=places)

    assert forgotten == ["a", "c"]
    details = json.loads(entries[0].details)
    assert (details["n_vanished"], details["forgotten"]) == (2, {"drift_inputs": 7})


def test_importing_again_updates(tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("customer_id,orders\na,1\nb,2\n")
    import_customers(path, by=BY)
    path.write_text("customer_id,orders\nb,7\nc,8\n")

    result = import_customers(path, by=BY)

    assert (result.n_created, result.n_updated) == (1, 1)
    assert {c.pk: c.attributes["orders"] for c in Customer.objects.all()} == {
        "a": 1, "b": 7, "c": 8
    }  # fmt: skip


def test_one_bad_row_refuses_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(BAD)

    with (
        one_entry(action="customers.imported", outcome="refused", target_id="bad.csv") as entries,
        pytest.raises(InvalidTable) as refusal,
    ):
        import_customers(path, by=BY)

    assert {problem.line for problem in refusal.value.problems} == {3, 5}
    assert not Customer.objects.exists()
    details = json.loads(entries[0].details)
    assert (details["code"], details["n_problems"]) == ("invalid-table", 2)
    assert details["problem_codes"] == sorted({p.code for p in refusal.value.problems})


def test_bad_rows_can_be_skipped_into_a_file(tmp_path: Path) -> None:
    path, rejects = tmp_path / "bad.csv", tmp_path / "rejects.csv"
    path.write_text(BAD)

    with one_entry(action="customers.imported", n_items=3) as entries:
        result = import_customers(path, by=BY, skip_bad_rows=True, rejects=rejects)

    assert (result.n_created, result.n_rejected, result.rejects) == (3, 2, rejects)
    assert json.loads(entries[0].details)["n_rejected"] == 2
    assert {c.pk: c.attributes["orders"] for c in Customer.objects.all()} == {
        "a": 1, "c": 4, "d": 6
    }  # fmt: skip
    assert len(rejects.read_text().splitlines()) == 3


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 workbook", b"\x1f\x8b broken"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)

    with (
        one_entry(action="customers.imported", outcome="refused", target_id="file.csv") as entries,
        pytest.raises(UnreadableTable, match="file.csv"),
    ):
        import_customers(path, by=BY)

    assert json.loads(entries[0].details) == {"code": "unreadable-table"}
    assert not Customer.objects.exists()


def test_row_numbers_never_overwrite_the_customers_of_another_file(tmp_path: Path) -> None:
    numbered, other = tmp_path / "numbered.csv", tmp_path / "other.csv"
    numbered.write_text("orders,spend\n1,2.5\n2,3.5\n")
    other.write_text("orders,spend\n7,9.5\n8,8.5\n")
    import_customers(numbered, by=BY)

    with pytest.raises(UnreadableTable, match="no id column"):
        import_customers(other, by=BY)

    assert Customer.objects.get(pk="1").attributes == {"orders": 1, "spend": 2.5}


def test_who_has_a_column_of_ids_that_is_not_taken_is_told_why(tmp_path: Path) -> None:
    stored, gaps = tmp_path / "stored.csv", tmp_path / "gaps.csv"
    stored.write_text("id,orders\na,1\nb,2\n")
    gaps.write_text("id,orders\na,1\n,2\n")
    import_customers(stored, by=BY)

    with pytest.raises(UnreadableTable, match="id is not taken as the id: .* name the column"):
        import_customers(gaps, by=BY)


def test_the_same_numbered_file_may_come_again(tmp_path: Path) -> None:
    path = tmp_path / "numbered.csv"
    path.write_text("orders,spend\n1,2.5\n2,3.5\n")
    import_customers(path, by=BY)

    result = import_customers(path, by=BY)

    assert (result.n_created, result.n_updated) == (0, 2)


def test_a_refused_file_is_not_the_one_imported_last(tmp_path: Path) -> None:
    path, refused = tmp_path / "numbered.csv", tmp_path / "refused.csv"
    path.write_text("orders,spend\n1,2.5\n2,3.5\n")
    refused.write_bytes(b"")
    import_customers(path, by=BY)
    with pytest.raises(UnreadableTable):
        import_customers(refused, by=BY)

    result = import_customers(path, by=BY)

    assert (result.n_created, result.n_updated) == (0, 2)


@pytest.mark.django_db(transaction=True)
def test_nobody_waits_for_the_reading_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "demo.csv"
    write_demo_customers(path, n_customers=50, random_state=3)
    steps: dict[str, set[bool]] = {}

    def watch(share: float, step: str) -> None:
        steps.setdefault(step, set()).add(connection.in_atomic_block)

    import_customers(path, by=BY, on_progress=watch)

    before = dict.fromkeys(("checking", "reading", "about to store"), {False})
    assert steps == {**before, "storing": {True}}
