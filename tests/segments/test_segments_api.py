"""`GET /segments/{model_type}`: every customer once, page by page, in a stable order."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from segments.models import Assignment, Segment, VersionSegment
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import TrainedModels

MODEL_TYPES = ("kmeans", "dbscan")


def pages(client: Client, url: str) -> list[dict[str, Any]]:
    found = []
    while url:
        page = client.get(url).json()
        found.append(page)
        url = page["next"]
    return found


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("limit", [7, 150, 300, 1_000])
def test_the_pages_hold_every_customer_once_in_order(
    trained: TrainedModels, api: Client, model_type: str, limit: int
) -> None:
    found = pages(api, f"/segments/{model_type}?limit={limit}")

    ids = [row["customer_id"] for page in found for row in page["results"]]
    assert ids == sorted(record["customer_id"] for record in trained.records)
    assert [len(page["results"]) for page in found[:-1]] == [limit] * (len(found) - 1)
    assert {page["version"] for page in found} == {1}
    assert found[0]["previous"] is None


def test_previous_leads_back(trained: TrainedModels, api: Client) -> None:
    first = api.get("/segments/kmeans?limit=10").json()
    second = api.get(first["next"]).json()

    back = api.get(second["previous"]).json()

    assert back["results"] == first["results"]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_row_is_the_stored_assignment(
    trained: TrainedModels, api: Client, model_type: str
) -> None:
    row = api.get(f"/segments/{model_type}?limit=1").json()["results"][0]

    stored = Assignment.objects.select_related("segment").get(
        version=getattr(trained, model_type), customer_id=row["customer_id"]
    )
    assert row["segment"] == stored.segment_id
    assert row["segment_name"] == (stored.segment.name if stored.segment else None)
    assert row["distance"] == stored.distance
    assert row.get("status", "") == stored.status
    assert set(row) - {"status"} == {
        "customer_id", "segment", "segment_name", "distance", "assigned_at"
    }  # fmt: skip


def test_one_segment_is_listed_alone(trained: TrainedModels, api: Client) -> None:
    sizes = {}
    for row in trained.kmeans.segments.all():
        listed = pages(api, f"/segments/kmeans?limit=9&segment={row.segment_id}")
        rows = [entry for page in listed for entry in page["results"]]
        sizes[row.segment_id] = (len(rows), row.n_customers)
        assert {entry["segment"] for entry in rows} == {row.segment_id}

    assert all(n_listed == n_customers for n_listed, n_customers in sizes.values())
    assert sum(n for n, _ in sizes.values()) == len(trained.records)


def test_noise_is_listed_as_such(trained: TrainedModels, api: Client) -> None:
    rows = [row for page in pages(api, "/segments/dbscan?segment=noise") for row in page["results"]]

    expected = Assignment.objects.filter(version=trained.dbscan, status="noise").count()
    assert expected > 0
    assert len(rows) == expected
    assert {(row["segment"], row["status"]) for row in rows} == {(None, "noise")}


@pytest.mark.parametrize("path", ["", "/changes", "/export"])
def test_a_segment_that_the_model_type_never_had_is_not_found(
    trained: TrainedModels, api: Client, path: str
) -> None:
    others = VersionSegment.objects.filter(version=trained.dbscan).values_list("segment", flat=True)

    for segment in (others[0], 999999999999999999):
        answer = api.get(f"/segments/kmeans{path}?segment={segment}")

        problem_of(answer, status=404, code="not-found")


def test_a_segment_of_an_earlier_version_has_nobody(trained: TrainedModels, api: Client) -> None:
    retired = Segment.objects.create(model_type="kmeans", name="Retired", created_at=timezone.now())

    response = api.get(f"/segments/kmeans?segment={retired.pk}")

    assert (response.status_code, response.json()["results"]) == (200, [])


def test_a_reading_leaves_one_entry_with_its_count(trained: TrainedModels, api: Client) -> None:
    with one_entry(
        action="segments.listed", outcome="succeeded", status_code=200, n_items=12,
        target_type="model_version", target_id="kmeans 1",
    ):  # fmt: skip
        api.get("/segments/kmeans?limit=12")


def test_a_page_costs_the_same_at_any_depth(trained: TrainedModels, api: Client) -> None:
    first = api.get("/segments/kmeans?limit=50").json()
    counts = []
    for url in ("/segments/kmeans?limit=5", "/segments/kmeans?limit=300", first["next"]):
        with CaptureQueriesContext(connection) as queries:
            api.get(url)
        counts.append(len(queries))

    assert counts[0] == counts[1] == counts[2] <= 8


def cursor_of(**parts: str) -> str:
    return base64.b64encode(urlencode(parts).encode()).decode()


@pytest.mark.parametrize(
    ("parameter", "value", "code"),
    [
        ("limit", "0", "out-of-range"),
        ("limit", "1001", "out-of-range"),
        ("limit", "abc", "invalid"),
        ("limit", "-1", "invalid"),
        ("limit", "1.5", "invalid"),
        ("limit", "9999999", "invalid"),
        ("limit", "", "blank"),
        ("limit", "\0", "invalid"),
        ("segment", "abc", "invalid"),
        ("segment", "-1", "invalid"),
        ("segment", "1 OR 1=1", "invalid"),
        ("segment", "9" * 30, "invalid"),
        ("segment", "1\0", "null-characters-not-allowed"),
        ("cursor", "nonsense", "invalid-cursor"),
        ("cursor", "\u00fc", "invalid-cursor"),
        ("cursor", "\0", "null-characters-not-allowed"),
        ("cursor", "x" * 4_001, "max-length"),
        ("cursor", cursor_of(p="a\0b"), "invalid-cursor"),
        ("cursor", cursor_of(p="x" * 201), "invalid-cursor"),
        ("cursor", cursor_of(o="-1", p="a"), "invalid-cursor"),
        ("cursor", base64.b64encode(b"p=\xff").decode(), "invalid-cursor"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    trained: TrainedModels, api: Client, parameter: str, value: str, code: str
) -> None:
    with one_entry(action="segments.listed", outcome="refused", status_code=400):
        response = api.get("/segments/kmeans", {parameter: value})

    body = problem_of(response, status=400, code="invalid-parameter")
    pointers = errors_of(body)
    assert {pointer for pointer, _ in pointers} == {f"#/{parameter}"}
    assert code in {found for _, found in pointers}


def test_a_parameter_given_twice_is_refused(trained: TrainedModels, api: Client) -> None:
    body = problem_of(
        api.get("/segments/kmeans?segment=1&segment=2"), status=400, code="invalid-parameter"
    )

    assert errors_of(body)[0][0] == "#/segment"


@pytest.mark.parametrize("offset", ["0", "5", "1000", "9" * 40])
def test_an_offset_in_a_cursor_does_no_harm(
    trained: TrainedModels, api: Client, offset: str
) -> None:
    response = api.get("/segments/kmeans", {"cursor": cursor_of(o=offset, p="C-000010")})

    assert response.status_code in (200, 400)


def test_without_an_active_version_the_answer_is_503(db: None, api: Client) -> None:
    with one_entry(action="segments.listed", outcome="failed", status_code=503):
        response = api.get("/segments/dbscan")

    problem_of(response, status=503, code="no-active-version")


def test_an_unknown_model_type_is_a_404(db: None, api: Client) -> None:
    problem_of(api.get("/segments/lda"), status=404, code="not-found")
