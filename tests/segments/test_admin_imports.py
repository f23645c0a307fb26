"""Importing in the admin: upload, look, choose columns, confirm, watch, cancel."""

from __future__ import annotations

import gzip
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from ml.features import FeatureSchema, Kind
from segments import uploads
from segments.import_files import DIRECTORY
from segments.import_runs import run_queued_import
from segments.models import Assignment, Customer, CustomerImport, ImportState
from tests.expectations import one_entry
from tests.factories import TrainedModels
from tests.staff import entries_after, last_entry_id, staff

VIEW, IMPORT, SEE = (
    "segments.view_customer",
    "segments.import_customer",
    "segments.view_customerimport",
)
IMPORT_URL = "/admin/segments/customer/import/"
GOOD = b"customer_id,age,city\na1,34,Ulm\na2,51,Bonn\na3,28,Ulm\n"
BAD = b"customer_id,age,city\na1,34,Ulm\n,51,Bonn\na1,28,Ulm\n"


@pytest.fixture(autouse=True)
def uploads_elsewhere(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path / DIRECTORY


def upload(client: Client, content: bytes, *, name: str = "crm.csv") -> Any:
    file = SimpleUploadedFile(name, content, content_type="text/csv")
    return client.post(IMPORT_URL, {"file": file})


def uploaded(client: Client, content: bytes = GOOD, *, name: str = "crm.csv") -> CustomerImport:
    response = upload(client, content, name=name)
    assert response.status_code == 302, response.context["form"].errors
    return CustomerImport.objects.latest("id")


def address(page: str, row: CustomerImport) -> str:
    return reverse(f"admin:segments_customerimport_{page}", args=[row.pk])


def confirm(
    client: Client, row: CustomerImport, *, button: str = "import", **chosen: str | None
) -> Any:
    """Send the form as it was shown, but for what was chosen; None is an empty box."""
    form = client.get(address("look", row)).context["form"]
    sent = {field.name: field.value() for field in form} | chosen | {button: "yes"}
    sent = {name: "on" if value is True else value for name, value in sent.items() if value}
    return client.post(address("look", row), sent)


def imported(client: Client, content: bytes, **chosen: str | None) -> CustomerImport:
    """Upload, confirm, and do what the worker does."""
    row = uploaded(client, content)
    assert confirm(client, row, **chosen).status_code == 302
    run_queued_import(row.pk)
    row.refresh_from_db()
    return row


# -- the first step -----------------------------------------------------------------------------


def test_an_upload_lies_in_a_place_for_its_owner_alone(db: None, uploads_elsewhere: Path) -> None:
    client = staff(VIEW, IMPORT)

    with one_entry(action="customers.file_uploaded", actor_id="ann"):
        row = uploaded(client, name="..\\..\\\u202epass wd.csv")

    [place] = uploads_elsewhere.iterdir()
    [file] = place.iterdir()
    assert file.read_bytes() == GOOD
    assert (file.name, row.file_name) == ("pass wd.csv", "pass wd.csv")
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (uploads_elsewhere, place, file)]
    assert modes == [0o700, 0o700, 0o600]
    assert not Customer.objects.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 a workbook",
        b"\x00\x01\x02" * 50,
        b"customer_id,age\n",
        b"x" * 600_000,
        b"\n".join([b",".join(b"c%d" % i for i in range(2_000))] * 3),
        b"PAR1 that is none",
        gzip.compress(GOOD, mtime=0)[:20],
    ],
)
def test_what_is_no_table_is_refused_in_words_and_not_kept(
    db: None, content: bytes, uploads_elsewhere: Path
) -> None:
    client = staff(VIEW, IMPORT)
    before = last_entry_id()

    response = upload(client, content)

    [words] = response.context["form"].errors["file"]
    assert str(uploads_elsewhere.parent) not in words
    assert not CustomerImport.objects.exists()
    assert not uploads_elsewhere.exists() or not list(uploads_elsewhere.iterdir())
    outcomes = [(entry.action, entry.outcome) for entry in entries_after(before)]
    assert outcomes in ([("customers.file_uploaded", "refused")], [])  # Django refuses b"" itself
    assert bool(outcomes) == bool(content)


def test_a_file_over_the_stated_size_is_refused_without_being_stored(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOAD_BYTES", 1_000)
    monkeypatch.setattr("segments.admin_imports.MAX_UPLOAD_BYTES", 1_000)
    created: list[str] = []
    monkeypatch.setattr(
        uploads.TemporaryFileUploadHandler, "new_file", lambda *args: created.append("file")
    )

    response = upload(staff(VIEW, IMPORT), GOOD * 100)

    assert "more than" in str(response.context["form"].errors["file"])
    assert not created and not CustomerImport.objects.exists()


def test_no_more_files_wait_than_stated(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segments.imports.MAX_UPLOADED", 1)
    client = staff(VIEW, IMPORT)
    uploaded(client)

    response = upload(client, GOOD)

    assert "wait to be looked at" in str(response.context["form"].errors["file"])
    assert CustomerImport.objects.count() == 1


def test_the_import_page_opens_without_a_complaint(db: None) -> None:
    response = staff(VIEW, IMPORT).get(IMPORT_URL)

    assert not response.context["form"].errors


# -- the second step ----------------------------------------------------------------------------


def test_a_look_shows_the_first_rows_and_imports_nothing(db: None) -> None:
    client = staff(VIEW, IMPORT)
    row = uploaded(client)
    before = last_entry_id()

    response = client.get(address("look", row))
    confirm(client, row, button="look", keep_2=None)

    rows = response.context["first_rows"].rows
    assert rows[0] == ("a1", "34", "Ulm") and len(rows) == 3
    assert "3 would be created, 0 updated" in response.context["would"]
    kinds = [column["kind"] for column in response.context["mapping"]]
    assert kinds == ["id", "number", "text"]
    assert not Customer.objects.exists() and not entries_after(before)
    row.refresh_from_db()
    assert row.state == ImportState.UPLOADED


def table_of(records: list[dict[str, Any]]) -> bytes:
    lines = [",".join(records[0])]
    lines += [",".join("" if v is None else str(v) for v in row.values()) for row in records]
    return ("\n".join(lines) + "\n").encode()


def looked_at(client: Client, content: bytes, **chosen: str | None) -> Any:
    return confirm(client, uploaded(client, content), button="look", **chosen).context


def test_a_look_says_what_active_versions_would_lack(trained: TrainedModels) -> None:
    client = staff(VIEW, IMPORT)
    features = FeatureSchema.from_dict(trained.kmeans.schema).features
    needed = [f.name for f in features if not f.imputed]
    new = [{**each, "customer_id": f"n{i}"} for i, each in enumerate(trained.records[:20])]

    whole = looked_at(client, table_of(new))
    bare = looked_at(client, GOOD, name_1="a", name_2="b")
    known_id = trained.records[0]["customer_id"]
    known = looked_at(client, table_of([{"customer_id": known_id, "x": 1}]))
    some = looked_at(client, table_of([{"customer_id": key, "x": 1} for key in ("n1", known_id)]))

    assert whole["needs"] == known["needs"] == []
    assert bare["needs"][1].startswith(f"kmeans 1 needs {needed[0]}, ")
    assert bare["needs"][1].endswith("does not have: its customers get no segment from it.")
    assert "known ones keep what is stored of them" in some["needs"][1]


def test_a_look_says_which_column_a_version_cannot_read(trained: TrainedModels) -> None:
    client = staff(VIEW, IMPORT)
    features = FeatureSchema.from_dict(trained.kmeans.schema).features
    name = next(f.name for f in features if f.kind is Kind.NUMBER and not f.imputed)
    new = [{**each, "customer_id": f"n{i}"} for i, each in enumerate(trained.records[:20])]

    words = looked_at(client, table_of([{**each, name: "many"} for each in new]))["needs"]
    gone = looked_at(client, table_of([{**each, name: None} for each in new]))["needs"]

    assert (
        f"kmeans 1 needs {name} as numbers, but this file has text there: "
        "customers of the file get no segment from it."
    ) in words
    assert any(f"needs {name} as numbers, but this file has no values there" in w for w in gone)


@pytest.mark.parametrize(
    ("rows", "words"),
    [(b"a1,34\n", "The only row was looked at."), (b"a1,3\na2,4\n", "All 2 rows were looked at.")],
)
def test_what_was_looked_at_is_said_in_good_words(db: None, rows: bytes, words: str) -> None:
    client = staff(VIEW, IMPORT)

    assert looked_at(client, b"customer_id,age\n" + rows)["looked_at"] == words


def test_a_confirmed_import_stores_the_customers_and_removes_the_file(
    db: None, uploads_elsewhere: Path
) -> None:
    client = staff(VIEW, IMPORT)
    row = uploaded(client)

    with one_entry(action="customers.import_queued", actor_id="ann", target_id=str(row.pk)):
        confirm(client, row)
    with one_entry(action="customers.imported", n_items=3, target_id="crm.csv") as entries:
        run_queued_import(row.pk)

    assert entries[0].actor_label == "worker, for ann"
    row.refresh_from_db()
    assert (row.state, row.n_created, row.id_column) == ("succeeded", 3, "customer_id")
    assert Customer.objects.get(pk="a2").attributes == {"age": 51, "city": "Bonn"}
    assert list(uploads_elsewhere.iterdir()) == []
    assert "3" in client.get(address("change", row)).content.decode()


def test_columns_are_renamed_and_left_out(db: None) -> None:
    row = imported(
        staff(VIEW, IMPORT),
        b"mail,Alter,secret,x\na@x,30,s1,1\nb@x,40,s2,2\n",
        id_column="0",
        name_1="age",
        keep_2=None,
    )

    assert (row.state, row.columns) == ("succeeded", ["mail", "age", None, "x"])
    assert Customer.objects.get(pk="a@x").attributes == {"age": 30, "x": 1}


def test_headers_that_nobody_could_import_are_mended_by_choosing(db: None) -> None:
    client = staff(VIEW, IMPORT)
    content = b",id,age,age\n0,a1,34,1\n1,a2,51,2\n"
    row = uploaded(client, content)

    response = confirm(client, row)
    assert "has no name" in response.context["seen"].error
    mended = confirm(client, row, id_column="1", keep_0=None, name_3="visits")

    assert mended.status_code == 302
    run_queued_import(row.pk)
    assert Customer.objects.get(pk="a2").attributes == {"age": 51, "visits": 2}


def test_bad_rows_are_named_before_anything_is_imported(db: None) -> None:
    client = staff(VIEW, IMPORT)
    row = uploaded(client, BAD)

    response = confirm(client, row, id_column="0")

    problems = [(line, column) for line, column, _ in response.context["problems"].rows]
    assert problems == [("3", "customer_id"), ("4", "customer_id")]
    [error] = response.context["form"].non_field_errors()
    assert error.startswith("2 of the rows looked at are bad")
    one_bad = confirm(client, uploaded(client, GOOD + b"a1,3,Ulm\n"), id_column="0")
    [error] = one_bad.context["form"].non_field_errors()
    assert error.startswith("1 of the rows looked at is bad")
    row.refresh_from_db()
    assert row.state == ImportState.UPLOADED


def test_bad_rows_are_left_out_when_told_so_and_named(db: None) -> None:
    client = staff(VIEW, IMPORT)

    row = imported(client, BAD, id_column="0", skip_bad_rows="on")

    assert (row.state, row.n_created, row.n_rejected) == ("succeeded", 1, 2)
    shown = client.get(address("change", row)).context["problems"].rows
    assert [line for line, _, _ in shown] == ["3", "4"]


def test_the_column_of_ids_cannot_be_left_out(db: None) -> None:
    client = staff(VIEW, IMPORT)

    response = confirm(client, uploaded(client), keep_0=None)

    assert response.context["form"].errors["id_column"]


def test_row_numbers_do_not_overwrite_customers(db: None) -> None:
    client = staff(VIEW, IMPORT)
    imported(client, GOOD)
    row = uploaded(client, b"age,city\n1,Ulm\n2,Bonn\n")

    response = confirm(client, row)

    assert "could be the ids of customers" in response.context["seen"].error


def test_an_import_is_confirmed_once(db: None) -> None:
    client = staff(VIEW, IMPORT)
    row = uploaded(client)
    confirm(client, row)
    before = last_entry_id()

    response = client.post(address("look", row), {"import": "yes"})

    assert response.url == address("change", row)
    assert not entries_after(before)


def test_imported_customers_get_their_segments(trained: TrainedModels) -> None:
    record = {**trained.records[0], "customer_id": "newcomer"}
    cells = ["" if value is None else str(value) for value in record.values()]
    table = ",".join(record) + "\n" + ",".join(cells) + "\n"

    imported(staff(VIEW, IMPORT), table.encode())

    versions = set(Assignment.objects.filter(customer="newcomer").values_list("version", flat=True))
    assert versions == {trained.kmeans.pk, trained.dbscan.pk}


# -- cancelling and permissions -----------------------------------------------------------------


def test_a_discarded_file_is_removed(
    db: None, uploads_elsewhere: Path, django_capture_on_commit_callbacks: Any
) -> None:
    client = staff(VIEW, IMPORT)
    row = uploaded(client)

    with (
        django_capture_on_commit_callbacks(execute=True),
        one_entry(action="customers.import_cancelled", actor_id="ann"),
    ):
        client.post(address("cancel", row))

    row.refresh_from_db()
    assert (row.state, row.error) == ("cancelled", "Cancelled by ann.")
    assert list(uploads_elsewhere.iterdir()) == []
    again = client.post(address("cancel", row))
    assert "cannot be cancelled: it is cancelled" in again.content.decode()
    assert client.get(address("cancel", row)).headers["Location"] == address("change", row)


@pytest.mark.parametrize("permissions", [(), (VIEW,), (IMPORT,), (VIEW, SEE)])
def test_importing_needs_its_permission(db: None, permissions: tuple[str, ...]) -> None:
    row = uploaded(staff(VIEW, IMPORT))
    client = staff(*permissions, name="ben")
    before = last_entry_id()

    answers = [
        client.get(IMPORT_URL),
        upload(client, GOOD),
        client.get(address("look", row)),
        client.post(address("look", row), {"import": "yes"}),
        client.post(address("cancel", row)),
    ]

    assert [answer.status_code for answer in answers] == [403] * 5
    row.refresh_from_db()
    assert row.state == ImportState.UPLOADED
    assert {entry.action for entry in entries_after(before)} == {"admin.refused"}


def test_nobody_else_looks_into_an_uploaded_file(db: None) -> None:
    row = uploaded(staff(VIEW, IMPORT))
    other = staff(VIEW, IMPORT, name="ben")

    assert other.get(address("look", row)).status_code == 403
    assert other.get(address("change", row)).status_code == 200


def test_who_sees_imports_changes_none(db: None) -> None:
    row = uploaded(staff(VIEW, IMPORT))
    viewer = staff(SEE, name="ben")

    page = viewer.get(address("change", row)).content.decode()

    assert viewer.get(reverse("admin:segments_customerimport_changelist")).status_code == 200
    assert address("cancel", row) not in page and address("look", row) not in page
    assert viewer.post(address("change", row)).status_code == 403
    assert staff(VIEW, name="eve").get(address("change", row)).status_code == 403


def test_what_is_kept_of_an_import_holds_no_value(db: None) -> None:
    content = b"customer_id,age\nann@x,7\nbob@x,x9x\nbob@x,8\n" + b"".join(
        b"c%d,5\n" % n for n in range(60)
    )
    row = imported(staff(VIEW, IMPORT), content, id_column="0", skip_bad_rows="on")

    kept = json.dumps(CustomerImport.objects.filter(pk=row.pk).values()[0], default=str)
    written = " ".join(entry.details + entry.target_id for entry in entries_after(0))
    assert row.n_rejected == 2
    for value in ("ann@x", "bob@x", "x9x"):
        assert value not in kept + written
