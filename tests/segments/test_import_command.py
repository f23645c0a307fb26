"""`manage.py import_customers`: what it did in a few lines, or one clear refusal."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from segments.models import Assignment, Customer, CustomerImport, ImportKind
from tests.expectations import one_entry
from tests.factories import TrainedModels, make_records


def run(*arguments: object) -> str:
    out = StringIO()
    call_command("import_customers", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_the_counts_are_said_and_recorded(db: None, tmp_path: Path) -> None:
    path = tmp_path / "customers.tsv"
    path.write_text("id\torders\na\t1\nb\t2\n")

    with one_entry(action="customers.imported", actor_kind="command", n_items=2):
        out = run(path)

    assert "2 customers created, 0 updated, 0 rejected." in out
    assert Customer.objects.count() == 2


def test_an_import_is_noted_however_it_ends(db: None, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("customer_id,orders\na,1\nb,2\n")
    bad.write_text("customer_id,orders\na,1\na,2\n")

    run(good)
    with pytest.raises(CommandError):
        run(bad)

    failed, succeeded = CustomerImport.objects.order_by("-pk")
    assert (succeeded.state, succeeded.file_name, succeeded.n_created) == (
        "succeeded", "good.csv", 2,
    )  # fmt: skip
    assert succeeded.kind == failed.kind == ImportKind.CUSTOMERS
    assert succeeded.imported_by_id == "import_customers" and succeeded.stored_at is not None
    assert (failed.state, failed.file_name, failed.stored_at) == ("failed", "bad.csv", None)
    assert failed.n_problems == 1 and failed.problems[0][:2] == [3, "customer_id"]


def test_a_table_without_an_id_gets_row_numbers_and_says_so(db: None, tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("orders,spend\n" + "".join(f"{n % 3},{n % 5}\n" for n in range(30)))

    out = run(path)

    assert "rows are numbered" in out
    assert Customer.objects.count() == 30


def test_the_id_column_can_be_named(db: None, tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("number,code,orders\n1,x,5\n2,y,6\n")

    run(path, "--id", "code")

    assert set(Customer.objects.values_list("pk", flat=True)) == {"x", "y"}
    with pytest.raises(CommandError, match="nothing"):
        run(path, "--id", "nothing")


def test_new_customers_get_their_segment_in_what_serves(
    trained: TrainedModels, tmp_path: Path
) -> None:
    columns = list(trained.records[0])
    rows = make_records(n_customers=5, random_state=12)
    path = tmp_path / "new.csv"
    lines = [",".join(columns)]
    for row in rows:
        row["customer_id"] = f"new-{row['customer_id']}"
        lines.append(",".join("" if row[c] is None else str(row[c]) for c in columns))
    path.write_text("\n".join(lines) + "\n")

    run(path)

    for version in (trained.kmeans, trained.dbscan):
        assigned = Assignment.objects.filter(
            version=version, customer__customer_id__startswith="new-"
        )
        assert assigned.count() == 5


def test_bad_rows_are_named_by_line_and_nothing_is_imported(db: None, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("customer_id,orders\na,1\nvery-secret,2,3\n")

    with pytest.raises(CommandError) as refusal:
        run(path)

    message = str(refusal.value)
    assert "Nothing was imported: 1 problems." in message or "1 problem" in message
    assert "line 3" in message and "--skip-bad-rows" in message
    assert "very-secret" not in message
    assert not Customer.objects.exists()

    out = run(path, "--skip-bad-rows")

    assert "1 customers created, 0 updated, 1 rejected." in out
    assert (tmp_path / "bad.csv.rejects.csv").exists()


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_what_cannot_be_read_is_one_clear_line(db: None, tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError) as refusal:
        run(tmp_path / name)

    assert "\n" not in str(refusal.value)
