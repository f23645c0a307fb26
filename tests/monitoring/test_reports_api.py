"""`GET /monitor/drift` and `GET /monitor/drift/{id}`: past reports, in short and one whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from access.scopes import Scope
from monitoring.models import Alert, AlertKind, DriftInput, DriftReport
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import TrainedModels, make_client

AT = datetime(2026, 11, 1, 6, tzinfo=UTC)
NO_ONE = 10**9
# The key, the page with its findings, the audit entry.
N_QUERIES_OF_A_PAGE = 3
# Besides, for one report: its alerts, and whether its input is kept.
N_QUERIES_OF_A_REPORT = N_QUERIES_OF_A_PAGE + 2


def make_report(trained: TrainedModels, *, day: int = 0, **fields: Any) -> DriftReport:
    model_type = fields.setdefault("model_type", "kmeans")
    sentences = fields.pop("sentences", [])
    return DriftReport.objects.create(
        version=getattr(trained, model_type),
        verdict=fields.pop("verdict", "ok"),
        summary="None of 45 checks shows drift.",
        source=fields.pop("source", "stored"),
        n_reference=300,
        n_seen=210,
        n_current=200,
        threshold=0.05,
        arguments={"random_state": 0},
        report={"findings": [{"sentence": text} for text in sentences], "checks": [{}] * 45},
        created_at=AT + timedelta(days=day),
        created_by="tests",
        **fields,
    )


def ids(body: dict[str, Any]) -> list[int]:
    return [row["id"] for row in body["results"]]


@pytest.fixture
def reports(trained: TrainedModels) -> Sequence[DriftReport]:
    """Seven daily reports of k-means, the last with drift, then one of DBSCAN."""
    return [
        *(make_report(trained, day=day) for day in range(5)),
        make_report(trained, day=5, verdict="warning", source="file"),
        make_report(
            trained, day=6, verdict="drift", source="request", since=AT, sentences=["age: up"]
        ),
        make_report(trained, day=7, model_type="dbscan"),
    ]


def test_reports_come_newest_first_with_their_findings_as_sentences(
    reports: Sequence[DriftReport], api: Client
) -> None:
    with one_entry(action="drift.listed", n_items=2, outcome="succeeded"):
        body = api.get("/monitor/drift?limit=2").json()

    assert ids(body) == [reports[-1].pk, reports[-2].pk]
    assert body["results"][1] == {
        "id": reports[-2].pk,
        "model_type": "kmeans",
        "version": 1,
        "verdict": "drift",
        "summary": "None of 45 checks shows drift.",
        "source": "request",
        "since": "2026-11-01T06:00:00Z",
        "threshold": 0.05,
        "n_reference": 300,
        "n_seen": 210,
        "n_current": 200,
        "created_at": "2026-11-07T06:00:00Z",
        "created_by": "tests",
        "findings": ["age: up"],
    }
    assert (body["results"][0]["since"], body["results"][0]["findings"]) == (None, [])


def test_without_reports_the_page_is_empty(trained: TrainedModels, api: Client) -> None:
    body = api.get("/monitor/drift").json()

    assert body == {"next": None, "previous": None, "results": []}


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("model_type=dbscan", [7]),
        ("verdict=drift", [6]),
        ("verdict=insufficient_data", []),
        ("source=file", [5]),
        ("model_type=kmeans&source=stored", [4, 3, 2, 1, 0]),
        ("since=2026-11-06T06:00:00Z", [7, 6, 5]),
        ("until=2026-11-02T06:00:00Z", [0]),
        ("since=2026-11-03&until=2026-11-05", [3, 2]),
    ],
)
def test_filters_narrow_since_inclusive_and_until_exclusive(
    reports: Sequence[DriftReport], api: Client, query: str, kept: list[int]
) -> None:
    assert ids(api.get(f"/monitor/drift?{query}").json()) == [reports[n].pk for n in kept]


def test_pages_stay_as_they_were_while_new_reports_come(
    trained: TrainedModels, reports: Sequence[DriftReport], api: Client
) -> None:
    seen: list[int] = []
    url = "/monitor/drift?limit=3&model_type=kmeans"
    while url:
        page = api.get(url).json()
        seen += ids(page)
        url = page["next"]
        make_report(trained, day=-1)

    assert seen == [report.pk for report in reversed(reports[:7])]


def test_a_page_leads_back_to_the_one_before(reports: Sequence[DriftReport], api: Client) -> None:
    first = api.get("/monitor/drift?limit=3").json()
    second = api.get(first["next"]).json()

    assert api.get(second["previous"]).json()["results"] == first["results"]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("limit", "0"), ("limit", "1001"), ("limit", "-1"), ("limit", "٣"), ("limit", ""),
        ("cursor", "nonsense"), ("cursor", "cD1hYmM="), ("cursor", "\0"), ("cursor", "x" * 1001),
        ("model_type", "lda"), ("model_type", ""), ("verdict", "fine"), ("verdict", "OK"),
        ("source", "very-secret"), ("source", "\0"), ("since", "yesterday"),
        ("since", "2026-02-31"), ("until", "9999-12-31T23:59:59-23:59"), ("until", ""),
        ("order_by", "report"), ("version", "1"),
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused_and_not_echoed(
    db: None, api: Client, parameter: str, value: str
) -> None:
    with one_entry(action="drift.listed", outcome="refused", status_code=400):
        response = api.get("/monitor/drift", {parameter: value})

    body = problem_of(response, status=400, code="invalid-parameter")
    assert {pointer for pointer, _ in errors_of(body)} == {f"#/{parameter}"}
    assert "very-secret" not in response.text


def test_a_list_costs_the_same_however_long_it_is(
    trained: TrainedModels, reports: Sequence[DriftReport], django_assert_num_queries: Any
) -> None:
    client = make_client(scopes=[Scope.DRIFT_READ])

    for limit in (1, 100):
        with django_assert_num_queries(N_QUERIES_OF_A_PAGE) as queries:
            assert client.get(f"/monitor/drift?limit={limit}").status_code == 200
        listing = next(query["sql"] for query in queries if "n_seen" in query["sql"])
        assert '"arguments"' not in listing


def test_one_report_is_whole_with_its_alerts(
    reports: Sequence[DriftReport], api: Client, django_assert_num_queries: Any
) -> None:
    report = reports[6]
    alert = Alert.objects.create(
        kind=AlertKind.DRIFT, key="drift kmeans", report=report, raised_at=AT, last_seen_at=AT
    )
    DriftInput.objects.create(report=report, content=b"columns", n_rows=200)
    client = make_client(scopes=[Scope.DRIFT_READ])

    with django_assert_num_queries(N_QUERIES_OF_A_REPORT):
        body = client.get(f"/monitor/drift/{report.pk}").json()

    listed = api.get("/monitor/drift?verdict=drift").json()["results"][0]
    del listed["findings"]
    assert {key: body[key] for key in listed} == listed
    assert body["report"] == report.report
    assert (body["alerts"], body["can_be_recomputed"]) == ([alert.pk], True)


def test_reading_a_report_is_recorded(trained: TrainedModels, api: Client) -> None:
    report = make_report(trained)

    with one_entry(action="drift.read", target_type="drift_report", target_id=str(report.pk)):
        api.get(f"/monitor/drift/{report.pk}")


@pytest.mark.parametrize("n_erased", [None, 1])
def test_a_report_whose_customers_are_gone_cannot_be_recomputed(
    trained: TrainedModels, api: Client, n_erased: int | None
) -> None:
    report = make_report(trained)
    if n_erased is not None:
        DriftInput.objects.create(report=report, content=b"", n_rows=199, n_erased=n_erased)

    body = api.get(f"/monitor/drift/{report.pk}").json()

    assert (body["can_be_recomputed"], body["alerts"]) == (False, [])


@pytest.mark.parametrize("report_id", [NO_ONE, 2**63, 10**40])
def test_an_unknown_report_is_a_404(db: None, api: Client, report_id: int) -> None:
    with one_entry(
        action="drift.read", target_id=str(report_id), outcome="refused", status_code=404
    ):
        response = api.get(f"/monitor/drift/{report_id}")

    problem_of(response, status=404, code="not-found")
