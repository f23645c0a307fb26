"""`manage.py bootstrap`: the same file under another id column, and a database that is shut."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from segmentation_project.management.commands import bootstrap
from segments.importing import import_customers
from segments.models import Customer
from tests.factories import BY

TABLE = "number,code,orders\n1,x,5\n2,y,6\n3,z,7\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "own.csv"
    path.write_text(TABLE)
    return path


def load(path: Path, id_column: str | None) -> str:
    """The step of the command that stores the customers; what it says."""
    out = io.StringIO()
    bootstrap.Command(stdout=out).load_customers(path, id_column)
    return out.getvalue()


def stored_ids() -> set[str]:
    return set(Customer.objects.values_list("pk", flat=True))


@pytest.mark.parametrize("again", [None, "code"])
def test_the_same_file_under_the_same_ids_changes_nothing(
    db: None, table: Path, again: str | None
) -> None:
    load(table, "code")
    Customer.objects.filter(pk="x").delete()

    said = load(table, again)

    assert "was imported last" in said
    assert stored_ids() == {"y", "z"}


@pytest.mark.parametrize(
    ("first", "second", "ids"),
    [("number", "code", {"x", "y", "z"}), (None, "code", {"x", "y", "z"}),
     ("code", "number", {"1", "2", "3"})],
)  # fmt: skip
def test_the_same_file_under_other_ids_takes_its_own_place(
    db: None, table: Path, first: str | None, second: str, ids: set[str]
) -> None:
    load(table, first)

    said = load(table, second)

    assert stored_ids() == ids
    assert f"The ids are now those of {second}" in said
    assert "trained anew" in said
    assert "was imported last" in load(table, second)


def test_other_ids_never_take_the_place_of_customers_from_elsewhere(
    db: None, table: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("customer_id,orders\na,1\n")
    import_customers(other, by=BY)
    load(table, "number")

    said = load(table, "code")

    assert stored_ids() == {"a", "1", "2", "3", "x", "y", "z"}
    assert "join" in said


def test_a_column_that_is_not_there_is_refused_and_the_customers_stay(
    db: None, table: Path
) -> None:
    load(table, "number")

    with pytest.raises(CommandError, match="has no column nonsense") as refusal:
        load(table, "nonsense")

    assert len(str(refusal.value).splitlines()) == 1
    assert stored_ids() == {"1", "2", "3"}
    assert "was imported last" in load(table, None)


@pytest.mark.parametrize(
    ("vendor", "named"), [("sqlite", "DB_PATH (shop.db)"), ("postgresql", "DATABASE_URL")]
)
def test_a_database_that_cannot_be_opened_is_one_line_without_its_password(
    monkeypatch: pytest.MonkeyPatch, vendor: str, named: str
) -> None:
    def refuse() -> None:
        raise OperationalError("no entry\n for hunter-2")

    monkeypatch.setattr(connection, "vendor", vendor)
    monkeypatch.setattr(connection, "ensure_connection", refuse)
    monkeypatch.setitem(connection.settings_dict, "NAME", "shop.db")
    monkeypatch.setitem(connection.settings_dict, "PASSWORD", "hunter-2")

    with pytest.raises(CommandError) as refusal:
        call_command("bootstrap")

    assert str(refusal.value) == (
        f"The database that {named} names cannot be opened: no entry for ***"
    )
