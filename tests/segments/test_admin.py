"""Customers and segments in the admin: import, look, delete, rename."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from segments import uploads
from segments.customer_digests import customer_digest
from segments.erasure import ErasureConflict
from segments.models import Assignment, Customer, Segment
from tests.factories import TrainedModels, make_customers
from tests.staff import entries_after, last_entry_id, staff

VIEW, IMPORT, DELETE = (
    "segments.view_customer",
    "segments.import_customer",
    "segments.delete_customer",
)
SEE_SEGMENTS, RENAME = "segments.view_segment", "segments.change_segment"
IMPORT_URL = "/admin/segments/customer/import/"
GOOD = b"customer_id,age,city\na1,34,Ulm\na2,51,Bonn\na3,28,Ulm\n"
BAD = b"customer_id,age,city\na1,34,Ulm\n,51,Bonn\na1,28,Ulm\n"


def upload(client: Client, content: bytes, *, name: str = "crm.csv", **fields: str) -> object:
    file = SimpleUploadedFile(name, content, content_type="text/csv")
    return client.post(IMPORT_URL, {"file": file, **fields})


def page_of(model: str, key: object) -> str:
    return reverse(f"admin:segments_{model}_change", args=[key])


# -- importing ----------------------------------------------------------------------------------


def test_an_import_stores_the_customers_with_one_entry(db: None) -> None:
    client = staff(VIEW, IMPORT)
    before = last_entry_id()

    response = upload(client, GOOD)

    assert response.status_code == 200
    assert "3 customers created, 0 updated, 0 rejected" in response.content.decode()
    assert Customer.objects.get(pk="a2").attributes == {"age": 51, "city": "Bonn"}
    (entry,) = entries_after(before)
    assert (entry.action, entry.actor_id, entry.n_items) == ("customers.imported", "ann", 3)
    assert (entry.target_type, entry.target_id) == ("file", "crm.csv")


def test_imported_customers_get_their_segments_at_once(trained: TrainedModels) -> None:
    record = {**trained.records[0], "customer_id": "newcomer"}
    cells = ["" if value is None else str(value) for value in record.values()]
    table = ",".join(record) + "\n" + ",".join(cells) + "\n"

    upload(staff(VIEW, IMPORT), table.encode())

    versions = set(Assignment.objects.filter(customer="newcomer").values_list("version", flat=True))
    assert versions == {trained.kmeans.pk, trained.dbscan.pk}


def test_the_import_page_opens_without_a_complaint(db: None) -> None:
    response = staff(VIEW, IMPORT).get(IMPORT_URL)

    assert not response.context["form"].errors


def test_an_import_without_a_file_says_so(db: None) -> None:
    response = staff(VIEW, IMPORT).post(IMPORT_URL)

    assert response.context["form"].errors["file"]


def test_the_named_column_holds_the_ids(db: None) -> None:
    upload(staff(VIEW, IMPORT), b"mail,age\na@x,30\nb@x,40\n", id_column="mail")

    assert set(Customer.objects.values_list("pk", flat=True)) == {"a@x", "b@x"}


def test_bad_rows_are_shown_by_line_and_column_and_nothing_is_imported(db: None) -> None:
    before = last_entry_id()

    response = upload(staff(VIEW, IMPORT), BAD, id_column="customer_id")

    rows = [tuple(row) for row in response.context["problems"].rows]
    assert [(line, column) for line, column, _ in rows] == [
        ("3", "customer_id"),
        ("4", "customer_id"),
    ]
    assert "Nothing was imported: 2 problems" in response.content.decode()
    assert not Customer.objects.exists()
    (entry,) = entries_after(before)
    assert (entry.action, entry.outcome, entry.actor_id) == ("customers.imported", "refused", "ann")
    assert json.loads(entry.details)["n_problems"] == 2


def test_bad_rows_are_skipped_when_told_so_and_named(db: None) -> None:
    response = upload(staff(VIEW, IMPORT), BAD, id_column="customer_id", skip_bad_rows="on")

    assert "1 customer created, 0 updated, 2 rejected" in response.content.decode()
    assert [row[0] for row in response.context["rejected"].rows] == ["3", "4"]
    assert list(Customer.objects.values_list("pk", flat=True)) == ["a1"]


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 a workbook", b"\x00\x01\x02" * 50, b"customer_id\na1\n"]
)
def test_what_is_no_table_is_refused_in_words(db: None, content: bytes) -> None:
    response = upload(staff(VIEW, IMPORT), content, id_column="customer_id")

    assert response.status_code == 200
    assert response.context["form"].errors["file"]
    assert tempfile.gettempdir() not in str(response.context["form"].errors["file"])


def test_an_import_leaves_no_file_behind(
    db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client = staff(VIEW, IMPORT)

    upload(client, GOOD)
    upload(client, BAD, id_column="customer_id", skip_bad_rows="on")
    upload(client, b"PK\x03\x04")

    assert list(tmp_path.iterdir()) == []


def test_a_file_over_the_stated_size_is_refused_without_being_stored(
    db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOAD_BYTES", 1_000)
    monkeypatch.setattr("segments.admin.MAX_UPLOAD_BYTES", 1_000)
    created: list[str] = []
    monkeypatch.setattr(
        uploads.TemporaryFileUploadHandler, "new_file", lambda *args: created.append("file")
    )

    response = upload(staff(VIEW, IMPORT), GOOD * 100)

    assert "more than" in str(response.context["form"].errors["file"])
    assert not created and not Customer.objects.exists()


@pytest.mark.parametrize("permissions", [(), (VIEW,), (IMPORT,), (VIEW, DELETE)])
def test_importing_needs_its_permission(db: None, permissions: tuple[str, ...]) -> None:
    client = staff(*permissions)

    assert client.get(IMPORT_URL).status_code == 403
    assert upload(client, GOOD).status_code == 403
    assert not Customer.objects.exists()


def test_the_import_button_is_there_only_for_who_may_import(db: None) -> None:
    url = reverse("admin:segments_customer_changelist")

    assert IMPORT_URL in staff(VIEW, IMPORT, name="one").get(url).content.decode()
    assert IMPORT_URL not in staff(VIEW, name="two").get(url).content.decode()


# -- customers ----------------------------------------------------------------------------------


def test_a_customer_page_shows_attributes_and_segments(trained: TrainedModels) -> None:
    customer_id = trained.records[0]["customer_id"]

    response = staff(VIEW).get(page_of("customer", customer_id))

    page = response.content.decode()
    for name in Customer.objects.get(pk=customer_id).attributes:
        assert name in page
    versions = [str(row[0]) for row in response.context["assignments"].rows]
    assert versions == ["dbscan 1 (active)", "kmeans 1 (active)"]


def test_a_customer_is_found_by_the_beginning_of_the_id(db: None) -> None:
    records = make_customers(n_customers=30)
    wanted = records[7]["customer_id"]

    response = staff(VIEW).get(reverse("admin:segments_customer_changelist"), {"q": wanted})

    assert [row.pk for row in response.context["cl"].result_list] == [wanted]


def test_an_odd_id_has_a_page_too(db: None) -> None:
    upload(staff(VIEW, IMPORT, name="importer"), 'customer_id,age\n"ä/b_c?&<i>",3\nx,4\n'.encode())

    response = staff(VIEW).get(page_of("customer", "ä/b_c?&<i>".replace("/", "_2F")))

    listed = staff(VIEW, name="ben").get(reverse("admin:segments_customer_changelist"))
    assert "&lt;i&gt;" in listed.content.decode()
    assert response.status_code in (200, 302)


def test_deleting_a_customer_takes_its_assignments_and_leaves_one_entry(
    trained: TrainedModels,
) -> None:
    customer_id = trained.records[0]["customer_id"]
    before = last_entry_id()

    response = staff(VIEW, DELETE).post(
        reverse("admin:segments_customer_delete", args=[customer_id]), {"post": "yes"}
    )

    assert response.status_code == 302
    assert not Customer.objects.filter(pk=customer_id).exists()
    assert not Assignment.objects.filter(customer_id=customer_id).exists()
    (entry,) = entries_after(before)
    digest = customer_digest(customer_id, secret=settings.SECRET_KEY)
    assert (entry.action, entry.target_id) == ("customer.erased", digest)
    assert customer_id not in entry.details


def test_deleting_several_customers_leaves_one_entry(trained: TrainedModels) -> None:
    ids = [record["customer_id"] for record in trained.records[:3]]
    before = last_entry_id()

    staff(VIEW, DELETE).post(
        reverse("admin:segments_customer_changelist"),
        {"action": "delete_selected", "_selected_action": ids, "post": "yes"},
    )

    assert Customer.objects.count() == 297
    (entry,) = entries_after(before)
    assert (entry.action, entry.n_items) == ("customer.erased", 3)
    assert len(json.loads(entry.details)["customers"]) == 3
    assert not any(customer_id in entry.details for customer_id in ids)


def test_a_person_who_deletes_a_customer_reads_the_receipt(trained: TrainedModels) -> None:
    client = staff(VIEW, DELETE)
    url = reverse("admin:segments_customer_delete", args=[trained.records[5]["customer_id"]])

    page = client.post(url, {"post": "yes"}, follow=True).content.decode()

    assert "1 customers, 2 assignments" in page
    assert "Models rewritten without them: dbscan 1." in page


def test_a_person_is_told_why_nobody_was_erased(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ErasureConflict

    monkeypatch.setattr("segments.admin.erase", refuse)
    client = staff(VIEW, DELETE)
    customer_id = trained.records[5]["customer_id"]
    url = reverse("admin:segments_customer_delete", args=[customer_id])
    list_url = reverse("admin:segments_customer_changelist")
    chosen = {"action": "delete_selected", "_selected_action": [customer_id], "post": "yes"}

    for page in (
        client.post(url, {"post": "yes"}, follow=True),
        client.post(list_url, chosen, follow=True),
    ):
        assert "Nobody was erased." in page.content.decode()
    assert Customer.objects.filter(pk=customer_id).exists()


def test_a_deletion_that_cannot_be_recorded_does_not_happen(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the trail is gone")

    monkeypatch.setattr("audit.trail.record", fail)
    client = staff(VIEW, DELETE)
    ids = [record["customer_id"] for record in trained.records[:3]]

    with pytest.raises(RuntimeError):
        client.post(reverse("admin:segments_customer_delete", args=[ids[0]]), {"post": "yes"})
    with pytest.raises(RuntimeError):
        client.post(
            reverse("admin:segments_customer_changelist"),
            {"action": "delete_selected", "_selected_action": ids, "post": "yes"},
        )

    assert Customer.objects.count() == 300


def test_deleting_customers_needs_its_permission(trained: TrainedModels) -> None:
    client = staff(VIEW, IMPORT)
    customer_id = trained.records[0]["customer_id"]
    delete_url = reverse("admin:segments_customer_delete", args=[customer_id])

    one = client.post(delete_url, {"post": "yes"})
    client.post(
        reverse("admin:segments_customer_changelist"),
        {"action": "delete_selected", "_selected_action": [customer_id], "post": "yes"},
    )

    assert one.status_code == 403
    assert delete_url not in client.get(page_of("customer", customer_id)).content.decode()
    assert Customer.objects.count() == 300


# -- segments -----------------------------------------------------------------------------------


def segment_of(trained: TrainedModels, position: int = 0) -> Segment:
    return trained.kmeans.segments.select_related("segment").order_by("cluster")[position].segment


def test_the_list_shows_live_sizes_of_the_active_versions(trained: TrainedModels) -> None:
    segment = segment_of(trained)
    n_customers = Assignment.objects.filter(version=trained.kmeans, segment=segment).count()

    response = staff(SEE_SEGMENTS).get(reverse("admin:segments_segment_changelist"))

    sizes = {row.pk: row.n_customers for row in response.context["cl"].result_list}
    assert sizes[segment.pk] == n_customers


def test_renaming_keeps_the_old_name_in_one_entry(trained: TrainedModels) -> None:
    segment = segment_of(trained)
    client = staff(SEE_SEGMENTS, RENAME)
    before = last_entry_id()

    client.post(page_of("segment", segment.pk), {"name": "Loyal", "description": "They stay."})

    renamed = Segment.objects.get(pk=segment.pk)
    assert (renamed.name, renamed.description) == ("Loyal", "They stay.")
    (entry,) = entries_after(before)
    details = json.loads(entry.details)
    assert (entry.action, entry.target_id) == ("segment.renamed", str(segment.pk))
    assert details["changes"] == {
        "name": [segment.name, "Loyal"],
        "description": [None, "changed"],
    }


def test_a_new_description_is_no_new_name(trained: TrainedModels) -> None:
    segment = segment_of(trained)
    client = staff(SEE_SEGMENTS, RENAME)
    before = last_entry_id()

    for _ in range(2):  # the second time nothing changes, and nothing is recorded
        client.post(
            page_of("segment", segment.pk), {"name": segment.name, "description": "They stay."}
        )

    assert [entry.action for entry in entries_after(before)] == ["segment.described"]


@pytest.mark.parametrize("name", ["", "   ", "x" * 101])
def test_a_segment_needs_a_name(trained: TrainedModels, name: str) -> None:
    segment = segment_of(trained)

    response = staff(SEE_SEGMENTS, RENAME).post(page_of("segment", segment.pk), {"name": name})

    assert response.status_code == 200
    assert Segment.objects.get(pk=segment.pk).name == segment.name


def test_two_segments_of_a_version_are_not_called_the_same(trained: TrainedModels) -> None:
    one, other = segment_of(trained, 0), segment_of(trained, 1)

    response = staff(SEE_SEGMENTS, RENAME).post(
        page_of("segment", one.pk), {"name": other.name.upper()}
    )

    assert response.context["adminform"].form.errors["name"]
    assert Segment.objects.get(pk=one.pk).name == one.name


def test_renaming_needs_its_permission(trained: TrainedModels) -> None:
    segment = segment_of(trained)

    response = staff(SEE_SEGMENTS).post(page_of("segment", segment.pk), {"name": "Loyal"})

    assert response.status_code == 403
    assert Segment.objects.get(pk=segment.pk).name == segment.name


def test_the_admin_imports_neither_pandas_nor_scikit_learn() -> None:
    code = (
        "import django; django.setup(); import sys\n"
        "from django.urls import reverse; reverse('admin:index')\n"
        "sys.exit(str({'pandas', 'sklearn'} & set(sys.modules) or ''))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert result.stderr.strip() == ""
