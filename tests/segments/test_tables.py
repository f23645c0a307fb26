"""Reading customer tables: formats, kinds, ids, bad rows, hostile files."""

import codecs
import csv
import datetime as dt
import gzip
import io
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segments import delimited_files
from segments.table_columns import MISSING_TOKENS
from segments.tables import CustomerTable, InvalidTable, UnreadableTable, open_table


@pytest.fixture
def write(tmp_path: Path):
    def write_table(content: str | bytes, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_table


def rows_of(table: CustomerTable, size: int = 10_000) -> dict[str, dict[str, object]]:
    return {key: values for batch in table.batches(size) for key, values in batch}


def column(table: CustomerTable, name: str) -> list[object]:
    return [values[name] for values in rows_of(table).values()]


def codes(table: CustomerTable) -> list[tuple[int, str | None, str]]:
    return [(problem.line, problem.column, problem.code) for problem in table.problems]


# Formats


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_delimiter_encoding_and_line_ends_are_told(write, delimiter, encoding, line_end):
    lines = [["customer_id", "town", "note"], ["a", "Zürich", f'"x{delimiter}y"'], ["b", "Öre", ""]]
    text = line_end.join(map(delimiter.join, lines))

    table = open_table(write(text.encode(encoding)))

    assert (table.info.encoding, table.info.delimiter) == (encoding, delimiter)
    assert rows_of(table) == {
        "a": {"town": "Zürich", "note": f"x{delimiter}y"},
        "b": {"town": "Öre", "note": None},
    }


def test_big_endian_utf_16_is_read(write):
    content = codecs.BOM_UTF16_BE + "id,town\n1,Bergen\n2,Åre\n".encode("utf-16-be")

    table = open_table(write(content))

    assert column(table, "town") == ["Bergen", "Åre"]


def test_one_wrong_byte_far_down_makes_the_file_windows_1252(write):
    body = "".join(f"{n},plain\n" for n in range(20_000))

    table = open_table(write(f"id,town\n{body}x,".encode() + b"Malm\xf6\n"))

    assert table.info.encoding == "cp1252"
    assert rows_of(table)["x"] == {"town": "Malmö"}
    assert "the text is not UTF-8: it is read as Windows-1252" in table.info.notes


def test_gzip_is_told_by_its_content(write):
    packed = gzip.compress(b"id,age\n1,30\n2,40\n")

    by_name, by_content = open_table(write(packed, "t.csv.gz")), open_table(write(packed, "t.csv"))

    assert rows_of(by_name) == rows_of(by_content) == {"1": {"age": 30}, "2": {"age": 40}}


def test_blank_lines_are_no_rows_and_lines_are_still_counted(write):
    table = open_table(write("\n\nid,age\n1,30\n\n   \n2,40,9\n\n3,50\n"))

    assert codes(table) == [(7, None, "wrong-field-count")]
    assert table.info.n_rows == 3
    assert list(rows_of(table)) == ["1", "3"]


def test_lines_are_right_after_line_ends_inside_quotes(write):
    table = open_table(write('id,note,age\n1,"a\nb\r\nc",5\n2,x,5\n3,y,5\n4,z,5\n5,z,oops\n'))

    assert codes(table) == [(8, "age", "not-a-number")]
    assert rows_of(table)["1"]["note"] == "a\nb\r\nc"


CELLS = st.text(
    st.one_of(st.sampled_from('",;\t|\n\r x'), st.characters(codec="utf-8", categories=["L", "N"])),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12),
    delimiter=st.sampled_from(",;\t|"),
    size=st.integers(1, 5),
)
def test_what_csv_writes_comes_back(tmp_path_factory, rows, delimiter, size):
    path = tmp_path_factory.mktemp("round") / "table.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerow(["customer_id", "first", "second", "third"])
        # Two fixed cells: a text that keeps its column text, and one that shows the delimiter.
        writer.writerow(["zero", "text", "text", "text"])
        writer.writerows([f"c{n}", *row, "."] for n, row in enumerate(rows))

    table = open_table(path)

    read = list(rows_of(table, size).items())[1:]
    assert table.info.delimiter == delimiter
    if table.info.kinds["first"] == table.info.kinds["second"] == "text":
        assert read == [
            (f"c{n}", {"first": as_read(a), "second": as_read(b), "third": "."})
            for n, (a, b) in enumerate(rows)
        ]


def as_read(text: str) -> str | None:
    return None if text.strip() in MISSING_TOKENS else text.strip()


# Kinds and values


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-2", "+3"], "number", [1, -2, 3]),
        (["1", "2.5", "1e3"], "number", [1.0, 2.5, 1000.0]),
        ([".5", "5.", "0"], "number", [0.5, 5.0, 0.0]),
        (["x", ".5", "y"], "text", ["x", ".5", "y"]),
        (["TRUE", "false", "True", ""], "boolean", [True, False, True, None]),
        (["0", "1", "1"], "number", [0, 1, 1]),
        (["00123", "00004", "01234"], "text", ["00123", "00004", "01234"]),
        (["01234", "98765", "10115"], "text", ["01234", "98765", "10115"]),
        (["0", "10", "200"], "number", [0, 10, 200]),
        (["0.5", "0.25", "0"], "number", [0.5, 0.25, 0.0]),
        (["NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "#N/A", " ", "7"], "number",
         [None] * 10 + [7]),
        (["", "NA", "null"], "text", [None] * 3),
        (["2024-01-05", "2024-02-06"], "text", ["2024-01-05", "2024-02-06"]),
        (["04-09-2012", "08-03-2014"], "text", ["04-09-2012", "08-03-2014"]),
        (["  padded ", "\u00a0hard\u00a0"], "text", ["padded", "hard"]),
        (["١٢", "1_000", "0x1f"], "text", ["١٢", "1_000", "0x1f"]),
        (["4111111111111111", "4222222222222222"], "text",
         ["4111111111111111", "4222222222222222"]),
        (["1000000000000000", "-1e15"], "number", [1e15, -1e15]),
    ],
)  # fmt: skip
def test_kind_follows_from_the_whole_column(write, cells, kind, values):
    lines = "".join(f"c{n},{cell}\n" for n, cell in enumerate(cells))

    table = open_table(write(f"customer_id,a\n{lines}"))

    assert table.info.kinds["a"] == kind
    assert column(table, "a") == values
    assert list(map(type, column(table, "a"))) == list(map(type, values))


def test_whole_numbers_stay_whole_only_if_the_whole_column_is(write):
    lines = "".join(f"c{n},{n}\n" for n in range(30))

    table = open_table(write(f"customer_id,a\n{lines}last,0.5\n"))

    values = [values["a"] for batch in table.batches(5) for _, values in batch]
    assert set(map(type, values)) == {float}


@pytest.mark.parametrize(
    ("n_good", "n_bad", "kind"),
    [(4, 1, "number"), (3, 1, "text"), (12, 3, "number"), (12, 4, "text"), (95, 5, "number"),
     (94, 6, "text"), (950, 50, "number"), (949, 51, "text")],
)  # fmt: skip
def test_column_of_numbers_bears_a_few_bad_cells(write, n_good, n_bad, kind):
    cells = ["5"] * n_good + ["five"] * n_bad
    table = open_table(write("id,a\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells))))

    assert table.info.kinds["a"] == kind
    assert table.n_problems == table.n_bad_rows == (n_bad if kind == "number" else 0)
    assert len(rows_of(table)) == (n_good if kind == "number" else n_good + n_bad)


@pytest.mark.parametrize("cell", ["inf", "Infinity", "1e999", "1e16", "9" * 400, "9" * 5000])
def test_endless_and_huge_numbers_are_bad_cells(write, cell):
    good = "".join(f"{n},{n}\n" for n in range(20))

    table = open_table(write(f"id,a\n{good}x,{cell}\n"))

    expected = "not-a-number" if cell[0] in "iI" else "out-of-range"
    assert codes(table) == [(22, "a", expected)]
    assert cell not in table.problems[0].detail


def test_decimal_comma_and_points_between_thousands(write):
    table = open_table(
        write("id;a;b;c;d\n1;1.234,56;3;1.234;0.5\n2;-0,5;4;2.000;1.25\n3;7;5;999;3\n")
    )

    rows = rows_of(table)
    assert rows["1"] == {"a": 1234.56, "b": 3, "c": 1234.0, "d": 0.5}
    assert rows["2"] == {"a": -0.5, "b": 4, "c": 2000.0, "d": 1.25}
    assert rows["3"] == {"a": 7.0, "b": 5, "c": 999.0, "d": 3.0}
    assert isinstance(rows["1"]["b"], int)


def test_a_point_is_a_decimal_point_where_no_comma_says_otherwise(write):
    table = open_table(write("id;a\n1;1.234\n2;2.000\n"))

    assert column(table, "a") == [1.234, 2.0]


@pytest.mark.parametrize(
    ("text", "code"),
    [("x" * 1001, "too-long"), ("a\x00b", "bad-text"), ("a\x1bb", "bad-text"),
     ("a\u202eb", "bad-text"), ("a\u2066b", "bad-text"), ("a\u200bb", "bad-text")],
)  # fmt: skip
def test_text_that_hides_something_is_a_bad_cell(write, text, code):
    table = open_table(write(f"id,note\n1,fine\n2,{text}\n3,fine\n"))

    assert codes(table) == [(3, "note", code)]
    assert list(rows_of(table)) == ["1", "3"]


def test_lawful_text_is_kept(write):
    text = "x" * 1000 + "\n"

    table = open_table(write(f"id,note\n1,\"{text}\"\n2,=cmd|' /C calc'!A0\n3,<b>\u00e9\u4e2d\n"))

    assert column(table, "note") == ["x" * 1000, "=cmd|' /C calc'!A0", "<b>\u00e9\u4e2d"]


# Ids and bad rows


@pytest.mark.parametrize(
    "name",
    ["customer_id", "CustomerID", "Client Id", "user-id", "ID", "Customer No.", "account_id"],
)
def test_id_column_is_told_by_its_name(write, name):
    table = open_table(write(f"age,{name}\n30,0001\n40,0002\n"))

    assert table.info.id_column == name
    assert rows_of(table) == {"0001": {"age": 30}, "0002": {"age": 40}}


def test_a_likely_id_column_that_repeats_is_no_id(write):
    table = open_table(write("age,user_id\n30,7\n40,8\n50,7\n"))

    assert table.info.id_column is None
    assert table.info.notes == (
        "user_id is not taken as the id: line 4 repeats that of line 2",
        "no id column: rows are numbered 1 to 3",
    )
    assert rows_of(table)["3"] == {"age": 50, "user_id": 7}


FLAWS = {"missing-id": "", "duplicate-id": "c0", "bad-text": "c\u200b{}"}


@pytest.mark.parametrize(("code", "cell"), FLAWS.items())
@pytest.mark.parametrize("name", ["id", "CustomerID", "client_number"])
@pytest.mark.parametrize("size", [7, 10_000])
def test_a_few_flawed_cells_make_bad_rows_and_no_other_ids(
    write, monkeypatch, code, cell, name, size
):
    monkeypatch.setattr("segments.tables.BATCH_ROWS", size)
    cells = [f"c{n}" for n in range(95)] + [cell.format(n) for n in range(5)]
    table = open_table(write(f"{name},age\n" + "".join(f"{cell},30\n" for cell in cells)))

    assert table.info.id_column == name
    assert codes(table) == [(line, name, code) for line in range(97, 102)]
    assert list(rows_of(table)) == cells[:95]
    assert table.info.notes == ()


@pytest.mark.parametrize(
    ("n_good", "n_missing", "is_id"),
    [(4, 1, True), (3, 1, False), (12, 3, True), (12, 4, False), (950, 50, True), (949, 51, False)],
)
def test_an_id_column_bears_as_many_flaws_as_a_column_of_numbers(write, n_good, n_missing, is_id):
    cells = [""] * n_missing + [f"c{n}" for n in range(n_good)]
    table = open_table(write("id,age\n" + "".join(f"{cell},30\n" for cell in cells)))

    assert table.info.id_column == ("id" if is_id else None)
    assert table.n_bad_rows == (n_missing if is_id else 0)
    assert bool(table.info.notes) is not is_id


def test_a_few_flawed_cells_of_a_typed_id_column_make_bad_rows(tmp_path):
    ids = pa.array([float(n) for n in range(17)] + [None, 2.5, 3.0])
    table = open_table(write_parquet(tmp_path / "t.parquet", id=ids, age=pa.array([30] * 20)))

    assert [code for _, _, code in codes(table)] == ["missing-id", "bad-id", "duplicate-id"]
    assert list(rows_of(table)) == [str(n) for n in range(17)]


def test_the_better_named_of_two_id_columns_is_taken(write):
    table = open_table(write("id,customer_id\n1,a\n2,b\n"))

    assert table.info.id_column == "customer_id"


def test_given_id_column_is_used_as_it_is(write):
    table = open_table(write("id,card\n1,007\n2,008\n3,\n4,007\n5,NA\n"), id_column="card")

    assert codes(table) == [
        (4, "card", "missing-id"),
        (5, "card", "duplicate-id"),
        (6, "card", "missing-id"),
    ]
    assert table.problems[1].detail == "repeats the id of line 2"
    assert rows_of(table) == {"007": {"id": 1}, "008": {"id": 2}}


def test_customer_id_is_the_id_even_if_it_repeats(write):
    table = open_table(write("customer_id,age\na,1\na,2\nb,3\n"))

    assert codes(table) == [(3, "customer_id", "duplicate-id")]


def test_duplicates_are_found_across_batches(write, monkeypatch):
    monkeypatch.setattr("segments.tables.BATCH_ROWS", 2)
    table = open_table(write("customer_id,age\na,1\nb,2\nc,3\na,4\nc,5\na,6\n"))

    assert [problem.detail for problem in table.problems] == [
        "repeats the id of line 2",
        "repeats the id of line 4",
        "repeats the id of line 2",
    ]
    assert list(rows_of(table, size=1)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("bad_id", "code"), [("x" * 201, "too-long"), ('"a\nb"', "bad-text"), ("..", "bad-id")]
)
def test_long_and_broken_ids_are_bad(write, bad_id, code):
    table = open_table(write(f"customer_id,age\n1,5\n{bad_id},5\n"))

    assert codes(table) == [(3, "customer_id", code)]


def test_rows_without_an_id_column_keep_their_number_when_others_are_bad(write):
    table = open_table(write("age,town\n1,a\n2,b,c\n3,d\n"))

    assert rows_of(table) == {"1": {"age": 1, "town": "a"}, "3": {"age": 3, "town": "d"}}


def test_problems_are_counted_beyond_those_kept(write):
    lines = "".join(f"{n},1\n" if n % 2 else f"{n}\n" for n in range(500))

    table = open_table(write(f"id,age\n{lines}"))

    assert (len(table.problems), table.n_problems, table.n_bad_rows) == (100, 250, 250)
    with pytest.raises(InvalidTable, match="250 problems in the table; first: line 2"):
        table.require_no_problems()


def test_rejects_are_the_bad_rows_as_they_stand(write, tmp_path):
    bad = ' 2 ;five;"a;\nb"\n3;6\n4;7;1;9\n1;8;\n'
    good = "".join(f"x{n};1;t\n" for n in range(30))
    table = open_table(write(f"id;age;n\n1;5;t\n{bad}{good}"), id_column="id")

    n_rows = table.write_rejects(tmp_path / "rejects.csv")

    with (tmp_path / "rejects.csv").open(newline="") as file:
        rows = list(csv.reader(file, delimiter=";"))
    assert n_rows == table.n_bad_rows == 4
    assert rows == [
        ["line", "problem", "id", "age", "n"],
        ["3", "age: not-a-number", "2 ", "five", "a;\nb"],
        ["5", "wrong-field-count", "3", "6"],
        ["6", "wrong-field-count", "4", "7", "1", "9"],
        ["7", "id: duplicate-id", "1", "8", ""],
    ]
    assert sorted(os.listdir(tmp_path)) == ["rejects.csv", "table.csv"]


def test_rejects_never_overwrite_the_table(write):
    path = write("id,age\n1,5\n2\n")

    with pytest.raises(ValueError, match="is the table itself"):
        open_table(path).write_rejects(path)


MESSY_CELLS = st.sampled_from(
    ["1", "2", "2.5", "x", "", "1e999", "true", "a\u202e", "007", "9" * 30]
)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.lists(MESSY_CELLS, min_size=2, max_size=4), min_size=1, max_size=40),
    size=st.integers(1, 7),
)
def test_every_row_is_either_good_or_rejected(tmp_path_factory, rows, size):
    folder = tmp_path_factory.mktemp("messy")
    text = "customer_id,a,b\n0,1,2\n" + "".join(",".join(row) + "\n" for row in rows)
    (folder / "table.csv").write_text(text)

    table = open_table(folder / "table.csv")

    n_rejected = table.write_rejects(folder / "rejects.csv")
    good = [row for batch in table.batches(size) for row in batch]
    assert len(good) + n_rejected == table.info.n_rows == len(rows) + 1
    assert n_rejected == table.n_bad_rows <= table.n_problems
    assert len({key for key, _ in good}) == len(good)
    kinds = {"number": int | float, "boolean": bool, "text": str}
    for _, attributes in good:
        for name, value in attributes.items():
            assert value is None or isinstance(value, kinds[table.info.kinds[name]])


# Hostile files


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"", "t.csv", "is empty"),
        (b"\n\n", "t.csv", "is empty"),
        (b"id,age\n", "t.csv", "a header and no rows"),
        (b"id,age\n1\n2\n", "t.csv", "none of the 2 rows has 2 fields"),
        (b"id,age,age\n1,2,3\n", "t.csv", "columns 2, 3 are all called age"),
        (b",age\n1,2\n", "t.csv", "column 1 of 2 has no name"),
        (b"id\n1\n2\n", "t.csv", "no column besides the ids"),
        (b"id," + b"x" * 201 + b"\n1,2\n", "t.csv", "column 2 is over 200 characters"),
        (b"id,a\x07b\n1,2\n", "t.csv", "name of column 2 holds"),
        (b'id,"a\n1,2\n', "t.csv", "quote left open"),
        (",".join(f"c{n}" for n in range(1002)).encode() + b"\n", "t.csv", "1,000 at most"),
        (b'id,a\n1,2\n2,"open\n3,4\n', "t.csv", "line 3: a quoted field begins here"),
        (b'id,a\n1,2\n2,"' + b"x" * 200_000 + b"\n", "t.csv", "line 3: a quoted field begins"),
        (b"PK\x03\x04" + bytes(100), "t.csv", "Excel workbook"),
        (bytes(range(256)) * 20, "t.csv", "binary file"),
        ("id,a\n1,2\n".encode("utf-16-le") * 9, "t.csv", "binary file"),
        (codecs.BOM_UTF8 + b"id,a\n1,\xff\n", "t.csv", "not valid UTF-8"),
        (b"id,a\n1,\xff\x81\n", "t.csv", "neither UTF-8 nor Windows-1252"),
        (b"id,a\n1,2\n", "t.csv.gz", "no gzip file"),
        (gzip.compress(b"id,a\n" + os.urandom(90_000).hex().encode())[:-500], "t.csv.gz", "early"),
        (gzip.compress(b"id,a\n1,2\n" * 99, mtime=0)[:-8] + bytes(8), "t.csv.gz", "damaged"),
        (b"id,a\n1,2\n", "t.parquet", "no Parquet file"),
        (b"PAR1" + bytes(50), "t.parquet", "not a sound Parquet file"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused_in_one_line(write, content, name, words):
    path = write(content, name)

    with pytest.raises(UnreadableTable) as caught:
        open_table(path)

    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_directories_pipes_and_absent_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    for name, words in [("", "is a directory"), ("pipe", "device or pipe"), ("no", "no such file")]:
        with pytest.raises(UnreadableTable, match=words):
            open_table(tmp_path / name)


def test_file_without_permission_is_refused(write, monkeypatch):
    path = write("id,age\n1,2\n")

    def refuse(*args: object, **kwargs: object) -> None:  # a superuser may read any file
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(UnreadableTable, match="no permission"):
        open_table(path)


def test_endless_line_is_refused_before_it_is_read_whole(write, monkeypatch):
    monkeypatch.setattr(delimited_files, "MAX_LINE_BYTES", 1024**2)

    with pytest.raises(UnreadableTable, match="line over 1 MB"):
        open_table(write(gzip.compress(b"id,a\n1," + b"x" * 4 * 1024**2), "t.csv.gz"))


def test_absent_id_column_names_the_near_one(write):
    path = write("CustomerID,age\n1,2\n")

    with pytest.raises(UnreadableTable, match="did you mean CustomerID.*It has: CustomerID, age"):
        open_table(path, id_column="customerid")


def test_customer_id_beside_another_id_column_is_refused(write):
    path = write("customer_id,card\n1,2\n")

    with pytest.raises(UnreadableTable, match="column customer_id beside the id column card"):
        open_table(path, id_column="card")


def test_file_changed_after_the_check_is_not_read_on(write):
    path = write("id,age\n1,2\n")
    table = open_table(path)

    path.write_text("id,age\n1,2\n2,oops\n")

    with pytest.raises(UnreadableTable, match="changed after it was checked"):
        list(table.batches())


def test_progress_rises_to_the_size_of_the_file(write, monkeypatch):
    monkeypatch.setattr("segments.tables.BATCH_ROWS", 1000)
    path = write("id,age\n" + "".join(f"{n},{n}\n" for n in range(50_000)) + "oops\n")
    seen: list[tuple[int, int]] = []

    open_table(path, on_progress=lambda done, total: seen.append((done, total)))

    size = path.stat().st_size
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {size} and seen[-1] == (size, size)
    assert len(seen) > 50


# Parquet


def write_parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_values_become_scalars(tmp_path):
    moment = dt.datetime(2024, 5, 6, 7, 8, 9)
    path = write_parquet(
        tmp_path / "t.parquet",
        customer_id=pa.array([1, 2, 3]),
        visits=pa.array([1, None, 3]),
        share=pa.array([0.5, float("nan"), None]),
        active=pa.array([True, None, False]),
        day=pa.array([dt.date(2024, 5, 6), None, dt.date(2020, 1, 1)]),
        at=pa.array([moment, None, moment]).cast(pa.timestamp("ns")),
        hour=pa.array([dt.time(7, 8), None, dt.time(9)], pa.time64("ns")),
        spend=pa.array([Decimal("12.50"), None, Decimal("0.10")]),
        points=pa.array([Decimal("12"), None, Decimal("7")]),
        town=pa.array(["Åre", " ", "NA"]).dictionary_encode(),
        nothing=pa.nulls(3),
    )

    table = open_table(path)

    assert list(table.info.kinds.values()) == [
        "text", "number", "number", "boolean", "text", "text", "text", "number", "number", "text",
        "text",
    ]  # fmt: skip
    assert (table.info.encoding, table.info.delimiter, table.info.n_rows) == (None, None, 3)
    assert table.n_problems == 0
    assert rows_of(table, size=2) == {
        "1": {"visits": 1, "share": 0.5, "active": True, "day": "2024-05-06",
              "at": "2024-05-06T07:08:09", "hour": "07:08:00", "spend": 12.5, "points": 12,
              "town": "Åre", "nothing": None},
        "2": dict.fromkeys(table.info.columns[1:]),
        "3": {"visits": 3, "share": None, "active": False, "day": "2020-01-01",
              "at": "2024-05-06T07:08:09", "hour": "09:00:00", "spend": 0.1, "points": 7,
              "town": "NA", "nothing": None},
    }  # fmt: skip
    assert type(rows_of(table)["1"]["points"]) is int


def test_parquet_rows_are_checked_and_rejected_too(tmp_path):
    path = write_parquet(
        tmp_path / "t.parquet",
        card=pa.array([1.0, 2.0, None, 1.0, 2.5]),
        size=pa.array([1.0, float("inf"), 1.0, 1.0, 1.0]),
        note=pa.array(["fine", "a\x00", "fine", "x" * 1001, "fine"]),
    )

    table = open_table(path, id_column="card")

    assert codes(table) == [
        (2, "size", "out-of-range"),
        (2, "note", "bad-text"),
        (3, "card", "missing-id"),
        (4, "note", "too-long"),
        (4, "card", "duplicate-id"),
        (5, "card", "bad-id"),
    ]
    assert (table.n_problems, table.n_bad_rows) == (6, 4)
    assert list(rows_of(table)) == ["1"]
    assert table.write_rejects(tmp_path / "rejects.csv") == 4


@pytest.mark.parametrize(
    ("column_values", "words"),
    [([[1], [2]], "column odd holds list<"), ([b"a", b"b"], "column odd holds binary")],
)
def test_nested_and_binary_parquet_columns_are_refused(tmp_path, column_values, words):
    path = write_parquet(tmp_path / "t.parquet", id=pa.array([1, 2]), odd=pa.array(column_values))

    with pytest.raises(UnreadableTable, match=words):
        open_table(path)


def test_parquet_without_rows_and_cut_short_are_refused(tmp_path):
    empty = write_parquet(tmp_path / "empty.parquet", id=pa.array([], pa.int64()), a=pa.nulls(0))
    whole = write_parquet(tmp_path / "cut.parquet", id=pa.array([1, 2]), a=pa.array([1, 2]))
    whole.write_bytes(whole.read_bytes()[:-20])

    with pytest.raises(UnreadableTable, match="no rows"):
        open_table(empty)
    with pytest.raises(UnreadableTable, match="not a sound Parquet file"):
        open_table(whole)


# Real tables, and what reading costs


@pytest.mark.parametrize(
    ("name", "id_column", "n_rows", "kinds", "first"),
    [
        ("mall_customers.csv", "CustomerID", 200, {"Genre": "text", "Age": "number"},
         ("0001", "Age", 19)),
        ("marketing_campaign.csv", "ID", 2240, {"Dt_Customer": "text", "Income": "number"},
         ("5524", "Dt_Customer", "04-09-2012")),
        ("online_shoppers.csv", None, 12330, {"Weekend": "boolean", "Month": "text"},
         ("1", "Weekend", False)),
    ],
)  # fmt: skip
def test_real_tables_open_without_a_problem(shared_data, name, id_column, n_rows, kinds, first):
    table = open_table(shared_data / name)

    rows = [row for batch in table.batches(1000) for row in batch]
    customer_id, attribute, value = first
    assert (table.info.id_column, table.info.n_rows, table.n_problems) == (id_column, n_rows, 0)
    assert len(rows) == n_rows
    assert {column: table.info.kinds[column] for column in kinds} == kinds
    assert rows[0][0] == customer_id and rows[0][1][attribute] == value


def test_real_incomes_keep_their_gaps(shared_data):
    incomes = column(open_table(shared_data / "marketing_campaign.csv"), "Income")

    assert incomes.count(None) == 24
    assert sum(value for value in incomes if value is not None) == 115_779_909


def test_real_numbers_equal_those_of_the_csv_module(shared_data):
    table = open_table(shared_data / "online_shoppers.csv")

    with (shared_data / "online_shoppers.csv").open(newline="") as file:
        expected = [float(row["ExitRates"]) for row in csv.DictReader(file)]
    assert column(table, "ExitRates") == expected


def test_memory_stays_flat_over_a_long_file(tmp_path):
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as packed:
        packed.write(b"a,b,c\n" + b"1,some text,2.5\n" * 400_000)
    (tmp_path / "long.csv.gz").write_bytes(buffer.getvalue())
    code = (
        "import sys, resource; from segments.tables import open_table\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); table = open_table(sys.argv[1])\n"
        "assert sum(map(len, table.batches())) == 400_000\n"
        "assert 'pyarrow' not in sys.modules and 'pandas' not in sys.modules\n"
        "print(peak() - before)"
    )

    output = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "long.csv.gz")],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip

    assert int(output.stdout) < 40 * 1024  # kB; the rows themselves would take ten times as much
