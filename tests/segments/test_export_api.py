"""`GET /segments/{model_type}/export`: every customer once, all recorded before a byte leaves."""

from __future__ import annotations

import base64
import csv
import gc
import hashlib
import io
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.core.signals import request_finished
from django.db import DatabaseError, close_old_connections, connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit import trail
from segments import export, views_export
from segments.customers import upsert_customers
from segments.models import Assignment, Customer, Segment
from segments.spreadsheet_cells import safe_text
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import TrainedModels

FORMATS = ("csv", "ndjson", "parquet")
COLUMNS = ["customer_id", "segment", "segment_name", "distance", "status", "assigned_at"]
FORMULAS = [
    "=1+1", "=cmd|'/C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1",
    "\u2003-1", "\u200b=1", "\ufeff=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", " \t@x", "\tx",
]  # fmt: skip


@pytest.fixture(autouse=True)
def all_slots_are_free_again() -> Iterator[None]:
    before = views_export.slots._value
    yield
    if views_export.slots._value != before:
        gc.collect()
    assert views_export.slots._value == before


def exported(client: Client, model_type: str = "kmeans", **query: Any) -> bytes:
    response = client.get(f"/segments/{model_type}/export", query)
    assert response.status_code == 200, response.content
    content = response.getvalue()
    assert response.headers["Content-Length"] == str(len(content))
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert response.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    return content


def close(response: HttpResponse) -> None:
    """As a server does in the end; the test's own connection stays open."""
    request_finished.disconnect(close_old_connections)
    response.close()
    request_finished.connect(close_old_connections)


def rows_in(content: bytes, form: str) -> list[dict[str, Any]]:
    """The rows of a file with the types that JSON would have."""
    if form == "ndjson":
        return [json.loads(line) for line in content.splitlines()]
    if form == "parquet":
        rows = pq.read_table(io.BytesIO(content)).to_pylist()
        return [{**row, "assigned_at": row["assigned_at"].isoformat()} for row in rows]
    kinds = {"segment": int, "distance": float}
    return [
        {name: kinds.get(name, str)(text) if text else None for name, text in row.items()}
        for row in csv.DictReader(io.StringIO(content.decode(), newline=""))
    ]


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("chunk", [100, 299])
def test_a_file_holds_what_the_pages_hold(
    trained: TrainedModels, api: Client, monkeypatch: pytest.MonkeyPatch, model_type: str,
    form: str, chunk: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(export, "CHUNK", chunk)
    listed = api.get(f"/segments/{model_type}?limit=1000").json()["results"]

    rows = rows_in(exported(api, model_type, format=form), form)

    assert len(rows) == len(listed) == 300
    for row, shown in zip(rows, listed, strict=True):
        assert list(row) == COLUMNS
        at = datetime.fromisoformat(shown["assigned_at"])
        assert datetime.fromisoformat(row.pop("assigned_at")) == at
        assert row == {"status": None, **{k: v for k, v in shown.items() if k != "assigned_at"}}


@pytest.mark.parametrize(
    ("form", "media_type"),
    [
        ("csv", "text/csv; charset=utf-8; header=present"),
        ("ndjson", "application/x-ndjson"),
        ("parquet", "application/vnd.apache.parquet"),
    ],
)
def test_the_answer_names_the_file_and_the_version(
    trained: TrainedModels, api: Client, form: str, media_type: str
) -> None:
    for method in (api.get, api.head):
        response = method(f"/segments/dbscan/export?format={form}", headers={"Accept": media_type})

        assert response.status_code == 200
        assert response.headers["Content-Type"] == media_type
        name = f"segments-dbscan-1.{form}"
        assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'
        assert response.headers["X-Model-Version"] == "dbscan 1"
        assert response.headers["Cache-Control"] == "no-store"
        close(response)


def test_a_parquet_file_names_its_version(trained: TrainedModels, api: Client) -> None:
    metadata = pq.read_metadata(io.BytesIO(exported(api, format="parquet"))).metadata

    assert (metadata[b"model_type"], metadata[b"version"]) == (b"kmeans", b"1")


@pytest.mark.parametrize("form", FORMATS)
def test_one_segment_or_noise_is_exported_alone(
    trained: TrainedModels, api: Client, form: str
) -> None:
    segment = trained.dbscan.segments.all()[0].segment_id
    for asked, expected, name in [
        (segment, segment, f"segments-dbscan-1-segment-{segment}.{form}"),
        ("noise", None, f"segments-dbscan-1-noise.{form}"),
    ]:
        rows = rows_in(exported(api, "dbscan", format=form, segment=asked), form)

        stored = Assignment.objects.filter(version=trained.dbscan, segment=expected)
        assert len(rows) == stored.count()
        assert {row["segment"] for row in rows} <= {expected}
        response = api.head(f"/segments/dbscan/export?format={form}&segment={asked}")
        assert name in response.headers["Content-Disposition"]


@pytest.mark.parametrize("form", FORMATS)
def test_an_infinite_distance_and_odd_text_survive(
    trained: TrainedModels, api: Client, form: str
) -> None:
    odd = 'a,"b"\r\nc;é🙂\u2028'
    upsert_customers({odd: {"orders": 1}}, at=timezone.now())
    Assignment.objects.create(
        version=trained.kmeans, customer_id=odd, distance=float("inf"), assigned_at=timezone.now(),
        customer_revision=1,
    )  # fmt: skip

    (row,) = [row for row in rows_in(exported(api, format=form), form) if row["customer_id"] == odd]

    assert row["distance"] is None


def test_a_csv_file_is_rfc_4180_in_utf_8_without_a_mark(
    trained: TrainedModels, api: Client
) -> None:
    content = exported(api)

    assert content.startswith(b"customer_id,segment,segment_name,distance,status,assigned_at\r\n")
    assert content.count(b"\r\n") == content.count(b"\n") == 301


def test_no_cell_of_a_csv_file_is_a_formula(trained: TrainedModels, api: Client) -> None:
    upsert_customers({text: {"orders": 1} for text in FORMULAS}, at=timezone.now())
    Assignment.objects.bulk_create(
        Assignment(
            version=trained.kmeans, customer_id=text, distance=-0.5, assigned_at=timezone.now(),
            customer_revision=1,
        )
        for text in FORMULAS
    )  # fmt: skip
    Segment.objects.update(name="=HYPERLINK(A1)")

    as_csv = {row["customer_id"]: row for row in rows_in(exported(api), "csv")}
    as_json = {row["customer_id"]: row for row in rows_in(exported(api, format="ndjson"), "ndjson")}

    assert {f"'{text}" for text in FORMULAS} <= as_csv.keys()
    assert set(FORMULAS) <= as_json.keys()
    live = re.compile(r"[\s\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
    assert not [row for row in as_csv.values() if live.match(row["customer_id"])]
    assert {row["segment_name"] for row in as_csv.values()} == {None, "'=HYPERLINK(A1)"}
    assert as_csv["'=1+1"]["distance"] == -0.5


@pytest.mark.parametrize("text", ["'", "'=1+1", "''=1", "'plain", "=1+1", "@x"])
def test_without_the_first_quote_the_text_is_as_it_was(text: str) -> None:
    assert safe_text(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a", "a=1", "a'b", " a-b", "1-2", "é=", "\u200ba"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert safe_text(text) == text


def test_one_entry_names_exactly_what_left(trained: TrainedModels, api: Client) -> None:
    with one_entry(
        action="segments.exported", outcome="succeeded", status_code=200, n_items=300,
        target_type="model_version", target_id="kmeans 1",
    ) as entries:  # fmt: skip
        content = exported(api)

    assert json.loads(entries[0].details) == {
        "format": "csv",
        "segment": None,
        "n_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_asking_for_the_head_exports_nothing(
    trained: TrainedModels, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_export, "export_segments", None)

    with one_entry(action="segments.exported", outcome="succeeded", n_items=0) as entries:
        response = api.head("/segments/kmeans/export")

    assert response.getvalue() == b""
    assert "Content-Length" not in response.headers
    assert json.loads(entries[0].details)["method"] == "HEAD"


def test_without_an_entry_nothing_is_sent(
    trained: TrainedModels, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("full")

    monkeypatch.setattr(trail, "record", broken)

    response = api.get("/segments/kmeans/export")

    problem_of(response, status=503, code="audit-unavailable")


def test_a_failure_while_reading_is_an_answer_and_no_short_file(
    trained: TrainedModels, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: Any) -> Iterator[Any]:
        yield [("C", 1, "name", 1.0, None, timezone.now())]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_chunks", failing)
    api.raise_request_exception = False

    with one_entry(action="segments.exported", outcome="failed", status_code=500):
        response = api.get("/segments/kmeans/export")

    problem_of(response, status=500, code="internal-error")


class FailingFile(io.BytesIO):
    """The disk gives the first block and no other."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise OSError("disk")
        return super().read(size)


def test_a_failure_while_sending_reaches_the_server() -> None:
    """Which then cuts the connection, short of the Content-Length."""
    assert views_export.slots.acquire(blocking=False)
    download = views_export.Download(FailingFile(b"x" * 2 * views_export.BLOCK_BYTES))
    blocks = iter(download)

    assert len(next(blocks)) == views_export.BLOCK_BYTES
    with pytest.raises(OSError, match="disk"):
        next(blocks)

    download.close()
    download.close()  # frees the slot once


def test_too_many_at_once_are_sent_away(trained: TrainedModels, api: Client) -> None:
    under_way = [api.get("/segments/kmeans/export") for _ in range(views_export.slots._value)]
    assert {response.status_code for response in under_way} == {200}
    assert len(under_way) == 2  # of eight threads

    with one_entry(action="segments.exported", outcome="failed", status_code=503):
        response = api.get("/segments/kmeans/export")
    assert response.headers["Retry-After"] == "10"
    problem_of(response, status=503, code="exports-busy")
    assert api.head("/segments/kmeans/export").status_code == 200

    assert under_way.pop().getvalue()
    assert exported(api)
    close(under_way.pop())  # read or not


def test_what_nobody_reads_or_closes_frees_its_slot(trained: TrainedModels, api: Client) -> None:
    before = views_export.slots._value
    response = api.get("/segments/kmeans/export")
    assert (response.status_code, views_export.slots._value) == (200, before - 1)

    del response
    gc.collect()

    assert views_export.slots._value == before


@pytest.mark.parametrize("form", FORMATS)
def test_no_query_stays_open_while_a_client_reads(
    trained: TrainedModels, api: Client, form: str
) -> None:
    response = api.get(f"/segments/kmeans/export?format={form}")

    with CaptureQueriesContext(connection) as queries:
        assert response.getvalue()

    assert len(queries) == 0


@pytest.mark.parametrize("form", FORMATS)
def test_a_large_file_is_kept_on_disk_and_goes_with_the_answer(
    trained: TrainedModels, api: Client, monkeypatch: pytest.MonkeyPatch, form: str, settings: Any
) -> None:
    whole = exported(api, format=form)
    monkeypatch.setattr(export, "MAX_IN_MEMORY", 1_000)
    before = sorted(settings.DATA_DIR.iterdir())

    assert exported(api, format=form) == whole
    assert sorted(settings.DATA_DIR.iterdir()) == before


@pytest.mark.parametrize("form", FORMATS)
def test_nobody_is_a_file_too(trained: TrainedModels, api: Client, form: str) -> None:
    Customer.objects.all().delete()

    assert rows_in(exported(api, format=form), form) == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"format": "xlsx"}, "invalid-choice"),
        ({"format": ""}, "invalid-choice"),
        ({"segment": "x"}, "invalid"),
        ({"segment": "1\0"}, "null-characters-not-allowed"),
        ({"limit": "1"}, "invalid-parameter"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    trained: TrainedModels, api: Client, query: dict[str, str], code: str
) -> None:
    for method in (api.get, api.head):
        with one_entry(action="segments.exported", outcome="refused", status_code=400):
            response = method("/segments/kmeans/export", query)

    body = problem_of(
        api.get("/segments/kmeans/export", query), status=400, code="invalid-parameter"
    )
    assert response.status_code == 400
    assert (f"#/{next(iter(query))}", code) in errors_of(body)


def test_without_an_active_version_the_answer_is_503(db: None, api: Client) -> None:
    problem_of(api.get("/segments/dbscan/export"), status=503, code="no-active-version")
    assert api.head("/segments/dbscan/export").status_code == 503
