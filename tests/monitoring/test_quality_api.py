"""`GET /monitor/quality/{model_type}`: the series of one version, its training first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from access.scopes import Scope
from modelregistry.models import ModelVersion
from monitoring.models import QualityPoint
from tests.expectations import errors_of, one_entry, problem_of
from tests.factories import TrainedModels, make_client

AT = datetime(2026, 11, 1, 6, tzinfo=UTC)
# The key, the active version, its segments at training, the points, the audit entry.
N_QUERIES = 5


def make_points(version: ModelVersion, *, n_days: int) -> None:
    QualityPoint.objects.bulk_create(
        QualityPoint(
            version=version, measured_at=AT + timedelta(days=day), n_customers=200 + day,
            silhouette=0.5 - day / 100, silhouette_se=0.01, n_silhouette=200, noise_share=0.0,
            shares={"1": 0.25, "2": 0.75}, level="ok", sentence=f"Day {day}.",
        )
        for day in range(n_days)
    )  # fmt: skip


def test_before_any_check_there_is_training_alone(trained: TrainedModels, api: Client) -> None:
    with one_entry(action="quality.read", target_id="dbscan 1", n_items=1, outcome="succeeded"):
        body = api.get("/monitor/quality/dbscan").json()

    (point,) = body["points"]
    assert (body["model_type"], body["version"]) == ("dbscan", 1)
    assert (point["n_customers"], point["level"]) == (300, None)
    assert point["silhouette"] == trained.dbscan.metrics["silhouette"]
    assert {int(key) for key in point["shares"]} >= set(
        trained.dbscan.segments.values_list("segment_id", flat=True)
    )


def test_the_latest_checks_follow_training_oldest_first(
    trained: TrainedModels, api: Client
) -> None:
    make_points(trained.kmeans, n_days=5)

    points = api.get("/monitor/quality/kmeans?limit=3").json()["points"]

    assert [point["sentence"] for point in points[1:]] == ["Day 2.", "Day 3.", "Day 4."]
    assert points[0]["level"] is None
    assert points[-1] == {
        "measured_at": "2026-11-05T06:00:00Z",
        "n_customers": 204,
        "silhouette": 0.46,
        "silhouette_se": 0.01,
        "n_silhouette": 200,
        "davies_bouldin": None,
        "calinski_harabasz": None,
        "inertia_per_customer": None,
        "noise_share": 0.0,
        "stability": None,
        "shares": {"1": 0.25, "2": 0.75},
        "level": "ok",
        "sentence": "Day 4.",
    }


def test_a_version_that_is_named_shows_its_own_series(trained: TrainedModels, api: Client) -> None:
    make_points(trained.kmeans, n_days=2)

    assert len(api.get("/monitor/quality/kmeans?version=1").json()["points"]) == 3
    assert len(api.get("/monitor/quality/dbscan?version=1").json()["points"]) == 1


def test_the_queries_do_not_grow_with_the_points(
    trained: TrainedModels, django_assert_num_queries: Any
) -> None:
    client = make_client(scopes=[Scope.MODELS_READ])

    for _ in range(2):
        with django_assert_num_queries(N_QUERIES):
            assert client.get("/monitor/quality/kmeans").status_code == 200
        make_points(trained.kmeans, n_days=20)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("version", ""), ("version", "0"), ("version", "-1"), ("version", "1.0"),
        ("version", "latest"), ("version", "1" * 10), ("version", "\u0661"), ("version", "\0"),
        ("limit", "0"), ("limit", "1001"), ("limit", "many"), ("limit", "\u0663"),
        ("cursor", "very-secret"),
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused_and_not_echoed(
    trained: TrainedModels, api: Client, parameter: str, value: str
) -> None:
    with one_entry(action="quality.read", outcome="refused", status_code=400):
        response = api.get("/monitor/quality/kmeans", {parameter: value})

    body = problem_of(response, status=400, code="invalid-parameter")
    assert {pointer for pointer, _ in errors_of(body)} == {f"#/{parameter}"}
    assert "very-secret" not in response.text


def test_an_unknown_version_is_a_404(trained: TrainedModels, api: Client) -> None:
    problem_of(api.get("/monitor/quality/kmeans?version=7"), status=404, code="not-found")


def test_without_an_active_version_the_answer_is_503(db: None, api: Client) -> None:
    with one_entry(action="quality.read", outcome="failed", status_code=503):
        response = api.get("/monitor/quality/kmeans")

    problem_of(response, status=503, code="no-active-version")
