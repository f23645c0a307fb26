"""Imports in the background: once, one at a time, all or nothing, and what lost ones leave."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from audit.models import AuditEntry
from modelregistry.artifacts import DamagedArtifact
from segments import import_files, import_runs
from segments.heartbeat import lost_after
from segments.import_files import DIRECTORY, plain_name
from segments.import_runs import (
    ABANDONED,
    LOST,
    WITHOUT_SEGMENTS,
    look_after_imports,
    run_queued_import,
)
from segments.imports import ImportConflict, cancel_import, notice_of, queue_import, receive
from segments.models import Customer, CustomerImport, ImportState
from tests.expectations import one_entry
from tests.factories import BY, TrainedModels, make_customers

GOOD = b"customer_id,age\na1,34\na2,51\na3,28\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path / DIRECTORY


def queued(content: bytes = GOOD, *, name: str = "crm.csv") -> CustomerImport:
    row = receive([content], name, by=BY)
    return queue_import(row.pk, id_column=None, columns=None, skip_bad_rows=False, by=BY)


def now_of(row: CustomerImport) -> CustomerImport:
    return CustomerImport.objects.get(pk=row.pk)


def running(row: CustomerImport, **fields: Any) -> CustomerImport:
    """As a process left it that is gone from another machine."""
    long_ago = timezone.now() - 2 * lost_after()
    fields = {"state": ImportState.RUNNING, "heartbeat_at": long_ago, "process": "", **fields}
    CustomerImport.objects.filter(pk=row.pk).update(**fields)
    return now_of(row)


def test_delivered_twice_it_runs_once(db: None) -> None:
    row = queued()
    run_queued_import(row.pk)
    n_entries = AuditEntry.objects.count()

    run_queued_import(row.pk)

    assert AuditEntry.objects.count() == n_entries
    assert Customer.objects.get(pk="a1").revision == 1


def test_two_imports_run_one_after_the_other(db: None) -> None:
    first, second = queued(), queued()
    running(first, heartbeat_at=timezone.now())

    run_queued_import(second.pk)

    assert now_of(second).state == ImportState.QUEUED
    assert notice_of(now_of(second), at=timezone.now()).startswith("It waits for import")
    running(first, state=ImportState.SUCCEEDED)
    CustomerImport.objects.filter(pk=second.pk).update(queued_at=timezone.now() - 2 * lost_after())
    look_after_imports()
    assert now_of(second).state == ImportState.SUCCEEDED


@pytest.mark.parametrize("step", ["checking", "about to store"])
def test_a_cancelled_import_stores_nothing(
    db: None, monkeypatch: pytest.MonkeyPatch, place: Path, step: str
) -> None:
    row = queued()
    report_of = import_runs._reporter

    def cancelling(own: Any) -> Callable[[float, str], None]:
        report = report_of(own)

        def watched(share: float, found: str) -> None:
            if found == step and now_of(row).cancel_requested_at is None:
                cancel_import(row.pk, by=BY)
            report(share, found)

        return watched

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("it went on to store")

    monkeypatch.setattr("segments.importing.upsert_encoded", fail)
    monkeypatch.setattr(import_runs, "_reporter", cancelling)
    monkeypatch.setattr(import_runs, "SECONDS_BETWEEN_REPORTS", 0)

    run_queued_import(row.pk)

    assert not Customer.objects.exists()
    assert (now_of(row).state, now_of(row).error) == ("cancelled", "Cancelled by tests.")
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert "customers.imported" not in actions and "customers.import_cancelled" in actions
    assert not list(place.iterdir())


def test_a_cancel_between_the_last_look_and_the_end_undoes_all(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = queued()
    stored = import_runs._stored

    def late(own: Any, result: Any) -> None:
        CustomerImport.objects.filter(pk=row.pk).update(cancel_requested_at=timezone.now())
        stored(own, result)

    monkeypatch.setattr(import_runs, "_stored", late)

    run_queued_import(row.pk)

    # The request itself was written in the transaction that was undone.
    assert now_of(row).state == ImportState.FAILED
    assert not Customer.objects.exists()


def test_what_is_stored_is_not_cancelled(db: None) -> None:
    row = running(queued(), stored_at=timezone.now())

    with pytest.raises(ImportConflict, match="its customers are stored"):
        cancel_import(row.pk, by=BY)


def test_a_lost_import_failed_and_its_file_is_gone(db: None, place: Path) -> None:
    row = running(queued())

    with one_entry(action="customers.import_failed", outcome="failed"):
        look_after_imports()

    assert (now_of(row).state, now_of(row).error) == ("failed", LOST)
    assert not list(place.iterdir())


def test_an_import_lost_after_it_stored_has_succeeded(db: None) -> None:
    row = running(queued(), stored_at=timezone.now())

    look_after_imports()

    assert (now_of(row).state, now_of(row).notes) == ("succeeded", [WITHOUT_SEGMENTS])


def test_an_import_whose_process_lives_is_not_lost(db: None) -> None:
    row = running(queued(), process=import_runs.this_process())

    look_after_imports()

    assert now_of(row).state == ImportState.RUNNING


def test_a_file_that_cannot_be_imported_says_where(db: None, place: Path) -> None:
    row = queued(GOOD + b"a1,9\n,7\n" + b"".join(b"b%d,1\n" % n for n in range(200)))

    with one_entry(action="customers.imported", outcome="refused", target_id="crm.csv"):
        run_queued_import(row.pk)

    found = now_of(row)
    assert (found.state, found.n_problems) == ("failed", 2)
    assert [problem[:2] for problem in found.problems] == [[5, "customer_id"], [6, "customer_id"]]
    assert not Customer.objects.exists() and not list(place.iterdir())


def test_a_gzip_bomb_is_refused(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_files, "MAX_UNPACKED_BYTES", 2_000)
    row = queued(gzip.compress(GOOD + b"".join(b"b%d,1\n" % n for n in range(1_000))), name="x.gz")

    run_queued_import(row.pk)

    assert now_of(row).state == ImportState.FAILED
    assert "unpacks to more" in now_of(row).error
    assert not Customer.objects.exists()


def test_the_unexpected_fails_the_import_and_is_raised(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("value a1 of a customer")

    monkeypatch.setattr("segments.importing.upsert_encoded", fail)
    row = queued()

    with pytest.raises(RuntimeError):
        run_queued_import(row.pk)

    assert now_of(row).error == "It failed unexpectedly (RuntimeError); the log says more."


def test_a_damaged_model_does_not_undo_the_import(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**kwargs: Any) -> None:
        raise DamagedArtifact("kmeans 1 is damaged")

    monkeypatch.setattr(import_runs, "assign_to_current_versions", fail)
    row = queued()

    run_queued_import(row.pk)

    assert now_of(row).state == ImportState.SUCCEEDED
    assert now_of(row).notes[-1].startswith("The customers have no segment yet")


def test_an_import_says_whom_no_version_could_assign(trained: TrainedModels) -> None:
    row = queued(b"customer_id,age\nlacks-all-else,40\n")

    run_queued_import(row.pk)

    assert f"not assigned by {trained.kmeans}" in " ".join(now_of(row).notes)
    assert now_of(row).notes[-1].endswith("since they lack a value that it needs: 1.")


def test_uploads_that_nobody_confirms_go_after_a_day(db: None, place: Path) -> None:
    row = receive([GOOD], "crm.csv", by=BY)
    look_after_imports()
    assert now_of(row).state == ImportState.UPLOADED
    CustomerImport.objects.update(uploaded_at=timezone.now() - timedelta(days=1, minutes=1))

    with one_entry(action="customers.import_cancelled", actor_id="watchdog"):
        look_after_imports()

    assert (now_of(row).state, now_of(row).error) == ("cancelled", ABANDONED)
    assert not list(place.iterdir())


def test_only_places_of_nobody_are_swept(
    db: None, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = receive([GOOD], "crm.csv", by=BY)
    (place / ("0" * 32)).mkdir()
    look_after_imports()
    assert len(list(place.iterdir())) == 2

    monkeypatch.setattr(import_files, "STRAY_AFTER_SECONDS", -1)
    look_after_imports()

    assert [each.name for each in place.iterdir()] == [row.upload]


def test_customers_that_are_stored_stay_when_an_import_fails(db: None) -> None:
    make_customers(n_customers=20)
    before = list(Customer.objects.order_by("pk").values())
    first = before[0]["customer_id"].encode()

    run_queued_import(queued(b"customer_id,age\n" + first + b",1\n" + first + b",2\nx,3\n").pk)

    assert list(Customer.objects.order_by("pk").values()) == before


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("crm.csv.gz", "crm.csv.gz"),
        ("C:\\own\\crm.csv", "crm.csv"),
        ("..", "upload"),
        ("\x00\x1b[31m.csv", "__[31m.csv"),
        ("", "upload"),
        (".csv", "csv"),
        ("ü" * 300 + ".csv", "ü" * 58 + ".csv"),
        ("x." + "y" * 300, "x" + "y" * 20),
    ],
)
def test_a_file_keeps_a_plain_name(name: str, kept: str) -> None:
    assert plain_name(name) == kept
