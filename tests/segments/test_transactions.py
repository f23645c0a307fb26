"""RFM from raw transactions: columns, dates, bad rows, returns, and the real shops to the cent."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import random
import tracemalloc
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import trail
from audit.models import AuditEntry
from segments import purchases, transactions
from segments.customers import upsert_customers
from segments.models import Customer, CustomerImport
from segments.purchases import PurchaseTally, TotalTooLarge
from segments.table_problems import InvalidTable, UnreadableTable
from segments.transaction_columns import UntoldColumn
from segments.transaction_files import TransactionFile
from segments.transactions import RfmTable, import_transactions, rfm_table

HEADER = "customer_id,date,amount\n"


@pytest.fixture
def write(tmp_path: Path):
    def write_file(content: str | bytes, name: str = "sales.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def table_of(
    path: Path, *, as_of: date | None = None, skip_bad_rows: bool = False, **columns: str
) -> RfmTable:
    return rfm_table(TransactionFile(path, **columns), as_of=as_of, skip_bad_rows=skip_bad_rows)


def customers_of(table: RfmTable) -> dict[str, dict[str, int | float]]:
    return {key: values for batch in table.batches() for key, values in batch.items()}


def rfm(recency: int, frequency: int, monetary: float, tenure: int) -> dict[str, int | float]:
    return {
        "recency_days": recency,
        "frequency": frequency,
        "monetary": monetary,
        "tenure_days": tenure,
    }


def codes(path: Path, **columns: str) -> list[tuple[int, str | None, str]]:
    with pytest.raises(InvalidTable) as refused:
        table_of(path, **columns)
    return [(problem.line, problem.column, problem.code) for problem in refused.value.problems]


# What the attributes are


def test_a_hand_worked_shop(write):
    path = write(
        HEADER
        + "ann,2025-01-01,10.10\n"
        + "ann,2025-01-01,5.20\n"  # the same day: one purchase
        + "ann,2025-01-20,0.70\n"
        + "bob,2025-01-10,100\n"
        + "bob,2025-01-25,-30.5\n"  # a return: no purchase, and not the last one
    )

    table = table_of(path)

    assert table.as_of == date(2025, 1, 26)
    assert customers_of(table) == {"ann": rfm(6, 2, 16.0, 25), "bob": rfm(16, 1, 69.5, 16)}


def test_cents_add_up_exactly_where_floats_do_not(write):
    path = write(HEADER + "ann,2025-01-01,0.1\n" * 3 + "bob,2025-01-02,1234567890.01\n")

    table = table_of(path)

    assert sum([0.1] * 3) != 0.3
    assert customers_of(table)["ann"]["monetary"] == 0.3
    assert customers_of(table)["bob"]["monetary"] == 1234567890.01


def test_customers_without_a_purchase_are_left_out_and_counted(write):
    path = write(HEADER + "ann,2025-01-01,5\nbob,2025-01-02,-5\ncat,2025-01-03,0\n")

    table = table_of(path)

    assert table.ids == ["ann"]
    assert table.n_without_purchase == 2
    assert table.as_of == date(2025, 1, 4)


def test_returns_beyond_what_was_bought_leave_nothing_spent(write):
    path = write(HEADER + "ann,2025-01-01,5\nann,2025-01-02,-8\nbob,2025-01-02,5\n")

    table = table_of(path)

    assert customers_of(table)["ann"] == rfm(2, 1, 0.0, 2)
    assert table.n_given_back == 1


def test_invoices_tell_the_purchases_of_one_day_apart(write):
    path = write(
        "customer_id,date,amount,invoice\n"
        "ann,2025-01-01,1,A1\nann,2025-01-01,2,A1\nann,2025-01-01,3,A2\n"
        "ann,2025-01-02,-3,C2\nbob,2025-01-02,4,A1\n"
    )

    by_day = customers_of(table_of(path))
    by_invoice = customers_of(table_of(path, invoice_column="invoice"))

    assert by_day == {"ann": rfm(2, 1, 3.0, 2), "bob": rfm(1, 1, 4.0, 1)}
    assert by_invoice == {"ann": rfm(2, 2, 3.0, 2), "bob": rfm(1, 1, 4.0, 1)}


def test_transactions_after_the_day_are_left_out(write):
    path = write(HEADER + "ann,2025-01-01,1\nann,2025-01-05,2\nann,2025-01-06,4\nbob,2025-02-01,8")

    table = table_of(path, as_of=date(2025, 1, 5))

    assert customers_of(table) == {"ann": rfm(0, 2, 3.0, 4)}
    assert (table.n_transactions, table.n_later, table.n_without_purchase) == (2, 2, 0)


def test_a_day_before_all_purchases_is_refused(write):
    path = write(HEADER + "ann,2025-01-01,1\n")

    with pytest.raises(UnreadableTable, match="no customer has a purchase .* up to 2024-12-31"):
        table_of(path, as_of=date(2024, 12, 31))


def test_rows_without_a_customer_are_counted_and_set_no_day(write):
    path = write(HEADER + "ann,2025-01-01,1\n,2025-03-01,50\nNULL,someday,\n")
    file = TransactionFile(path)

    table = rfm_table(file)

    assert customers_of(table) == {"ann": rfm(1, 1, 1.0, 1)}
    assert (file.n_anonymous, file.n_bad_rows) == (2, 0)


# How dates, amounts and columns are told


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (["2025-01-02", "2025-01-31"], (2025, 1, 31)),
        (["2025-01-02 23:59:59", "2025-01-31T00:00:00+02:00"], (2025, 1, 31)),
        (["20250102", "20250131"], (2025, 1, 31)),
        (["02/01/2025", "31/01/2025"], (2025, 1, 31)),
        (["1/2/2025 8:26", "1/31/2025 9:05"], (2025, 1, 31)),
        (["02.01.2025", "31.01.2025"], (2025, 1, 31)),
        (["2025/01/02", "2025/01/31"], (2025, 1, 31)),
        (["01/02/2025", "03/02/2025"], (2025, 2, 3)),  # both would do: the day stands first
    ],
)
def test_the_format_of_dates_is_told_from_the_whole_column(write, days, expected):
    body = "".join(f"ann,{day},1\n" for day in days)

    table = table_of(write(HEADER + body))

    assert table.as_of == date.fromordinal(date(*expected).toordinal() + 1)


def test_a_format_told_far_down_holds_from_the_first_row(write):
    rows = "ann,01/02/2025,1\n" * 25_000 + "ann,01/13/2025,1\n"

    file = TransactionFile(write(HEADER + rows))

    assert customers_of(rfm_table(file))["ann"] == rfm(1, 2, 25_001.0, 12)
    assert file.notes == ["dates are read as MM/DD/YYYY"]


def test_a_doubtful_format_is_said(write):
    file = TransactionFile(write(HEADER + "ann,01/02/2025,1\n"))

    assert file.notes == [
        "dates are read as DD/MM/YYYY; MM/DD/YYYY would fit the whole column as well"
    ]


def test_windows_text_with_semicolons_and_decimal_commas(write):
    text = (
        "Kundennr;CustomerNo;Invoice Date;Total\n1;Zoë;31.01.2025;1.234,56\n2;Zoë;1.2.2025;0,44\n"
    )

    file = TransactionFile(write(text.encode("cp1252")))

    assert customers_of(rfm_table(file)) == {"Zoë": rfm(1, 2, 1235.0, 2)}
    assert len(file.notes) == 3


def test_gzip_and_parquet_give_what_the_text_gives(write, tmp_path):
    text = HEADER + "7,2025-01-01,1.5\n8,2025-01-03,2\n7,2025-01-04,-0.5\n"
    frame = pd.read_csv(StringIO(text), parse_dates=["date"])
    frame.to_parquet(tmp_path / "sales.parquet")

    tables = [
        table_of(write(text)),
        table_of(write(gzip.compress(text.encode()), "sales.csv.gz")),
        table_of(write(codecs.BOM_UTF16_LE + text.encode("utf-16-le"), "wide.csv")),
        table_of(tmp_path / "sales.parquet"),
    ]

    expected = {"7": rfm(4, 1, 1.0, 4), "8": rfm(2, 1, 2.0, 2)}
    assert [customers_of(table) for table in tables] == [expected] * 4


def test_a_customer_number_that_parquet_holds_as_a_float_is_no_fraction(tmp_path):
    frame = pd.DataFrame(
        {"CustomerID": [17850.0, np.nan], "InvoiceDate": ["2025-01-01"] * 2, "amount": [1, 2]}
    )
    frame.to_parquet(tmp_path / "sales.parquet")
    file = TransactionFile(tmp_path / "sales.parquet")

    table = rfm_table(file)

    assert (table.ids, file.n_anonymous) == (["17850"], 1)


@pytest.mark.parametrize(
    ("header", "role"),
    [
        ("who,date,amount", "customer"),
        ("id,date,amount", "customer"),  # the transaction's own
        ("client,user_id,date,amount", "customer"),
        ("customer_id,order_date,invoice_date,amount", "date"),
        ("customer_id,date,quantity,price", "amount"),
        ("customer_id,date,amount,total", "amount"),
    ],
)
def test_a_column_that_cannot_be_told_must_be_named(write, header, role):
    path = write(f"{header}\n{','.join(['1'] * len(header.split(',')))}\n")

    with pytest.raises(UntoldColumn) as refused:
        TransactionFile(path)

    assert refused.value.role == role


def test_named_columns_win_over_names(write):
    path = write("customer_id,household,date,amount,net\nann,h1,2025-01-01,5,4\n")

    table = table_of(path, customer_column="household", amount_column="net")

    assert customers_of(table) == {"h1": rfm(1, 1, 4.0, 1)}


def test_the_columns_that_are_named_must_be_there_and_differ(write):
    path = write(HEADER + "ann,2025-01-01,5\n")

    with pytest.raises(UntoldColumn, match="has no column net"):
        TransactionFile(path, amount_column="net")
    with pytest.raises(UntoldColumn, match="cannot be customer and invoice at once"):
        TransactionFile(path, customer_column="amount", invoice_column="amount")


# Bad rows and hostile files


def test_bad_rows_are_named_by_line_and_column(write):
    good = "ann,2025-01-01,1,A\n" * 100
    path = write(
        "customer_id,date,amount,no\n"
        + good
        + "ann,2025-02-30,1,A\nann,,1,A\nann,2025-01-01,one,A\nann,2025-01-01,,A\n"
        + f"ann,0001-01-01,1,A\nann,2025-01-01,1e12,A\n{'x' * 201},2025-01-01,1,A\n"
        + "ann,2025-01-01,1,\nann,2025-01-01,1\nbad\u202eid,never,-,\n"
    )

    found = codes(path, invoice_column="no")

    assert found == [
        (102, "date", "not-a-date"),
        (103, "date", "missing-date"),
        (104, "amount", "not-a-number"),
        (105, "amount", "missing-amount"),
        (106, "date", "out-of-range"),
        (107, "amount", "out-of-range"),
        (108, "customer_id", "too-long"),
        (109, "no", "missing-invoice"),
        (110, None, "wrong-field-count"),
        (111, "customer_id", "bad-text"),
        (111, "date", "not-a-date"),
        (111, "amount", "not-a-number"),
        (111, "no", "missing-invoice"),
    ]


def test_bad_rows_that_are_skipped_count_for_nothing(write):
    path = write(HEADER + "ann,2025-01-01,1\n" * 50 + "ann,2025-09-31,1\nbob,2025-05-05,x\n")
    file = TransactionFile(path)

    table = rfm_table(file, skip_bad_rows=True)

    assert customers_of(table) == {"ann": rfm(1, 1, 50.0, 1)}
    assert (file.n_bad_rows, file.n_problems, table.n_transactions) == (2, 2, 50)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (HEADER, "no rows"),
        (HEADER + "ann,2025-01-01,1,9\n", "none of the 1 rows"),
        (HEADER + "ann,soon,1\nann,later,1\n", "column date holds no dates"),
        (HEADER + "ann,,1\n", "column date holds no dates"),
        (HEADER + "ann,2025-01-01,$5\n", "column amount holds no amounts"),
        (HEADER + "ann,2025-01-01,true\n", "column amount holds no amounts"),
        (HEADER + "ann,2025-01-01,\n", "column amount holds no amounts"),
        (HEADER + ",2025-01-01,1\n", "column customer_id is empty"),
        (HEADER + "ann,2025-01-01,0\n", "no customer has a purchase"),
        (HEADER + '"ann,2025-01-01,1\n', "never closed"),
        (HEADER + "ann,2025-01-01,99999999999\n" * 9_100, "add up to more than"),
        ("a,a,date,amount\n1,1,2025-01-01,1\n", "all called a"),
        (b"PK\x03\x04" + bytes(100), "Excel"),
        (os.urandom(5_000), "binary|never closed|line end|no column"),
        (gzip.compress(HEADER.encode() * 99, mtime=0)[:-20], "ends too early"),
    ],
)
def test_a_file_that_is_no_table_of_transactions_is_refused(write, content, words):
    with pytest.raises(UnreadableTable, match=words):
        table_of(write(content), customer_column=None)


def test_a_file_that_changes_while_it_is_read_is_refused(write):
    path = write(HEADER + "ann,2025-01-01,1\n")
    file = TransactionFile(path)
    path.write_text(HEADER + "ann,2025-01-01,1000\n")

    with pytest.raises(UnreadableTable, match="changed while it was read"):
        rfm_table(file)


# Adding up


ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.integers(0, 20),
        st.integers(-10_000, 1_000_000),
        st.sampled_from(["i1", "i2", "i3"]),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 9), n_rows=st.integers(1, 5 * purchases.PAIRS_AT_ONCE))
def test_neither_order_nor_batches_nor_parts_change_the_totals(rows, seed, n_rows):
    shuffled = random.Random(seed).sample(rows, len(rows))

    def totals(rows: list[tuple[str, int, int, str]], size: int, n_rows: int) -> dict[str, Any]:
        with PurchaseTally(n_rows) as tally:
            for start in range(0, len(rows), size):
                ids, days, cents, occasions = zip(*rows[start : start + size], strict=True)
                tally.add(
                    ids, np.array(days), np.array(cents) / 100, np.array([*map(hash, occasions)])
                )
            found = tally.purchases()
        values = (found.first_days, found.last_days, found.n_purchases, found.units)
        return dict(zip(found.ids, zip(*map(np.ndarray.tolist, values), strict=True), strict=True))

    assert totals(rows, 7, 1) == totals(shuffled, 3, n_rows)


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 9))
def test_shuffling_the_rows_of_a_file_changes_nothing(tmp_path_factory, rows, seed):
    lines = [f"{key},2025-01-{day + 1:02},{cents / 100},{no}\n" for key, day, cents, no in rows] + [
        "z,2025-01-30,1,i1\n"
    ]
    shuffled = random.Random(seed).sample(lines, len(lines))
    path = tmp_path_factory.mktemp("rows") / "sales.csv"

    found = []
    for body in (lines, shuffled):
        path.write_text("customer_id,date,amount,no\n" + "".join(body))
        found.append(customers_of(table_of(path, invoice_column="no")))

    assert found[0] == found[1]


def test_sums_that_pass_the_64_bits_on_their_way_come_back_right():
    amounts = np.tile([9e10, -9e10], 20_000)
    amounts = np.sort(amounts)  # all returns first: far below -(2**63) units on the way

    with PurchaseTally(1) as tally:
        for part in np.split(np.append(amounts, [12.34] * 2), 2):
            tally.add(["a"] * len(part), np.ones(len(part), int), part, np.ones(len(part), int))
        found = tally.purchases()

    assert found.units.tolist() == [246_800]


def test_totals_beyond_the_64_bits_are_refused():
    with PurchaseTally(1) as tally:
        days = np.ones(10_000, int)
        tally.add(["a"] * 10_000, days, np.full(10_000, 1e11), days)

        with pytest.raises(TotalTooLarge):
            tally.purchases()


def test_memory_hardly_grows_with_the_rows(monkeypatch):
    monkeypatch.setattr(purchases, "PAIRS_AT_ONCE", 10_000)

    def peak(n_rows: int) -> int:
        tracemalloc.start()
        with PurchaseTally(n_rows) as tally:
            for start in range(0, n_rows, 1_000):
                numbers = np.arange(start, start + 1_000)
                tally.add([f"c{n % 50}" for n in numbers], numbers, np.ones(1_000), numbers)
            assert tally.purchases().n_purchases.sum() == n_rows
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    growth_per_row = (peak(200_000) - peak(20_000)) / 180_000

    assert growth_per_row < 4  # bytes; a pair alone has 16


# Real shops, against pandas


def pandas_rfm(frame: pd.DataFrame, occasion: str) -> dict[str, dict[str, int | float]]:
    """The same attributes, computed in one go by other means."""
    frame = frame.dropna(subset="customer_id")
    frame = frame.assign(day=frame["date"].dt.normalize())
    as_of = frame["day"].max() + pd.Timedelta(days=1)
    bought = frame[frame["amount"] > 0].groupby("customer_id")
    net = frame.groupby("customer_id")["amount"].sum().round(4).clip(lower=0)
    result = pd.DataFrame(
        {
            "recency_days": (as_of - bought["day"].max()).dt.days,
            "frequency": bought[occasion].nunique(),
            "monetary": net[bought["day"].max().index],
            "tenure_days": (as_of - bought["day"].min()).dt.days,
        }
    )
    return {str(key): values for key, values in result.to_dict(orient="index").items()}


def test_cdnow_agrees_with_pandas_to_the_cent_and_day(shared_data):
    path = shared_data / "cdnow_transactions.csv.gz"
    frame = pd.read_csv(path, parse_dates=["date"])

    table = table_of(path)

    assert customers_of(table) == pandas_rfm(frame.assign(day=frame["date"]), "day")
    assert len(table.ids) + table.n_without_purchase == 23_570
    assert table.as_of == date(1998, 7, 1)


@pytest.mark.parametrize(("invoice", "occasion"), [(None, "day"), ("invoice_no", "invoice_no")])
def test_online_retail_agrees_with_pandas_to_the_cent_and_day(shared_data, invoice, occasion):
    path = shared_data / "online_retail_invoices.csv.gz"
    frame = pd.read_csv(path, dtype={"customer_id": str}, parse_dates=["invoice_date"])
    frame = frame.rename(columns={"invoice_date": "date"})

    table = table_of(path, invoice_column=invoice)

    assert customers_of(table) == pandas_rfm(frame, occasion)
    assert len(table.ids) + table.n_without_purchase == 4_372
    assert table.as_of == date(2011, 12, 10)
    assert (table.n_without_purchase > 0, table.n_given_back > 0) == (True, True)


# Into the database


@pytest.mark.django_db
def test_importing_twice_gives_the_same_customers_and_keeps_other_attributes(write):
    upsert_customers({"ann": {"age": 40, "frequency": 9}}, at=trail.timezone.now())
    path = write(HEADER + "ann,2025-01-01,1\nbob,2025-01-02,2\n")
    by = trail.Actor.system("test")

    first = import_transactions(path, by=by)
    stored = dict(Customer.objects.values_list("customer_id", "attributes_json"))
    second = import_transactions(path, by=by)

    assert (first.n_created, first.n_updated) == (1, 1)
    assert (second.n_created, second.n_updated) == (0, 2)
    assert json.loads(stored["ann"]) == {"age": 40} | rfm(2, 1, 1.0, 2)
    assert dict(Customer.objects.values_list("customer_id", "attributes_json")) == stored


@pytest.mark.django_db
def test_an_import_leaves_one_entry_without_values(write):
    path = write(HEADER + "ann,2025-01-01,1\nbob,2025-01-02,-2\n,2025-01-02,3\n")

    import_transactions(path, by=trail.Actor.command("import_transactions"))

    entry = AuditEntry.objects.get()
    details = json.loads(entry.details)
    assert (entry.action, entry.target_type, entry.target_id, entry.n_items) == (
        "transactions.imported",
        "file",
        "sales.csv",
        1,
    )
    assert len(details.pop("sha256")) == 64
    assert details == {
        "as_of": "2025-01-03",
        "columns": {
            "amount": "amount",
            "customer": "customer_id",
            "date": "date",
            "invoice": None,
        },
        "n_anonymous": 1,
        "n_created": 1,
        "n_given_back": 0,
        "n_later": 0,
        "n_rejected": 0,
        "n_transactions": 2,
        "n_without_purchase": 1,
    }


@pytest.mark.django_db
def test_a_bad_row_imports_nothing_and_leaves_the_entry_of_a_refusal(write):
    path = write(HEADER + "ann,2025-01-01,1\n" * 50 + "bob,2025-99-01,1\n")

    with pytest.raises(CommandError, match=r"line 52, column date: not a date"):
        call_command("import_transactions", path)

    entry = AuditEntry.objects.get()
    assert (entry.action, entry.outcome, entry.target_id) == (
        "transactions.imported",
        "refused",
        "sales.csv",
    )
    details = json.loads(entry.details)
    assert (details["code"], details["n_problems"]) == ("invalid-table", 1)
    assert not Customer.objects.exists()


@pytest.mark.django_db
def test_storing_that_fails_half_way_stores_nothing(write, monkeypatch):
    monkeypatch.setattr(transactions.RfmTable, "batches", failing_batches)
    path = write(HEADER + "ann,2025-01-01,1\nbob,2025-01-01,1\n")

    with pytest.raises(ConnectionError):
        import_transactions(path, by=trail.Actor.system("test"))

    assert (Customer.objects.count(), AuditEntry.objects.count()) == (0, 0)


def failing_batches(table: RfmTable) -> Any:
    yield {table.ids[0]: {"frequency": 1}}
    raise ConnectionError("the disk is gone")


@pytest.mark.django_db
def test_the_command_says_what_it_chose_and_keeps_the_rejects(write):
    body = "ann,2025-01-01,1\n" * 50 + "ann,2025-02-01,-60\nbob,2025-01-01,?\n,2025-01-01,1\n"
    path = write(HEADER + body)
    out = StringIO()

    call_command("import_transactions", path, "--skip-bad-rows", stdout=out)

    noted = CustomerImport.objects.get()
    assert (noted.kind, noted.state, noted.n_created, noted.n_rejected) == (
        "transactions", "succeeded", 1, 1,
    )  # fmt: skip
    rejects = path.with_name("sales.csv.rejects.csv")
    assert out.getvalue().splitlines() == [
        "Customers are told by customer_id, purchases by the days of date, amounts by amount.",
        "As of 2025-02-02, the day after the last transaction.",
        "1 transactions without a customer left out.",
        "1 transactions rejected.",
        "1 customers returned as much as they bought, or more: monetary 0.",
        "51 transactions: 1 customers created, 0 updated.",
        f"The rejected rows are in {rejects}.",
    ]
    assert rejects.read_text().splitlines() == [
        "line,problem,customer_id,date,amount",
        "53,amount: not-a-number,bob,2025-01-01,?",
    ]


@pytest.mark.django_db
def test_the_command_names_the_option_that_is_missing(write):
    path = write("customer_id,date,units,price\nann,2025-01-01,1,2\n")

    with pytest.raises(CommandError, match="Name it with --amount COLUMN"):
        call_command("import_transactions", path)
    call_command(
        "import_transactions", path, "--amount=price", "--as-of=2025-01-01", stdout=StringIO()
    )

    assert Customer.objects.get().attributes == rfm(0, 1, 2.0, 0)


@pytest.mark.django_db
def test_a_day_that_is_none_is_refused(write):
    path = write(HEADER + "ann,2025-01-01,1\n")

    with pytest.raises(CommandError, match="tomorrow is no date"):
        call_command("import_transactions", path, "--as-of=tomorrow")


@pytest.mark.django_db
def test_customers_who_are_imported_have_segments_at_once(trained, write):
    path = write(HEADER + "customer-new,2025-01-01,1\n")
    n_before = Customer.objects.count()

    call_command("import_transactions", path, stdout=StringIO())

    assert Customer.objects.count() == n_before + 1
