"""`GET /model/status/{model_type}`: what serves, how it serves, and how its customers changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from monitoring.models import Alert, QualityPoint
from tests.expectations import one_entry, problem_of
from tests.factories import TrainedModels, make_records


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_the_status_describes_what_serves(
    trained: TrainedModels, api: Client, model_type: str
) -> None:
    with one_entry(action="model.status_read", outcome="succeeded", status_code=200):
        body = api.get(f"/model/status/{model_type}").json()

    version = getattr(trained, model_type)
    assert (body["model_type"], body["active"]["version"]) == (model_type, 1)
    assert body["active"]["state"] == "active"
    assert body["activated_at"]
    rows = {row["segment"]: row for row in body["segments"]}
    assert set(rows) == set(version.segments.values_list("segment_id", flat=True))
    assert all(row["segment_name"] and row["medians"] for row in rows.values())
    assert {row["fate"] for row in rows.values()} == {"new"}
    assert {key: row["rule"] for key, row in rows.items()} == {
        row.segment_id: row.rule["text"] for row in version.segments.all()
    }
    assert body["serving"]["n_requests"] == body["serving"]["n_customers"] == 0
    assert body["serving"]["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    assert body["last_drift"] is None


def test_a_version_without_rules_is_shown_too(trained: TrainedModels, api: Client) -> None:
    trained.kmeans.segments.update(rule=None)

    segments = api.get("/model/status/kmeans").json()["segments"]

    assert {row["rule"] for row in segments} == {None}


def test_serving_figures_count_what_was_answered_refused_and_failed(
    trained: TrainedModels, api: Client
) -> None:
    for n in (1, 3):
        api.post("/predict/kmeans", trained.records[:n], content_type="application/json")
    api.post("/predict/kmeans", [{}], content_type="application/json")
    api.post("/predict/dbscan", trained.records[:50], content_type="application/json")

    serving = api.get("/model/status/kmeans").json()["serving"]

    assert (serving["n_requests"], serving["n_customers"]) == (2, 4)
    assert (serving["n_refused"], serving["n_failed"]) == (1, 0)
    assert serving["customers_per_minute"] == pytest.approx(
        2 * serving["requests_per_minute"], abs=0.002
    )
    latency = serving["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]


def test_the_quality_is_shown_beside_that_of_training(trained: TrainedModels, api: Client) -> None:
    at = timezone.now()
    for days, level in ((2, "ok"), (1, "alarm")):
        QualityPoint.objects.create(
            version=trained.kmeans,
            measured_at=at - timedelta(days=days),
            n_customers=100,
            silhouette=0.25,
            noise_share=0.0,
            shares={"1": 1.0},
            level=level,
            sentence=f"{level}.",
        )

    quality = api.get("/model/status/kmeans").json()["quality"]

    training = quality["training"]
    for name in ("silhouette", "stability"):
        assert training[name] == trained.kmeans.metrics[name] is not None
    assert sum(training["shares"].values()) == pytest.approx(1.0)
    assert [point["level"] for point in quality["series"]] == ["ok", "alarm"]
    assert quality["latest"] == quality["series"][-1]


def test_only_the_open_alerts_of_the_model_are_shown(trained: TrainedModels, api: Client) -> None:
    now = timezone.now()
    for key, model_type, state in (
        ("a", "kmeans", "firing"),
        ("b", "kmeans", "resolved"),
        ("c", "dbscan", "firing"),
    ):
        Alert.objects.create(
            kind="quality",
            key=key,
            model_type=model_type,
            state=state,
            title=key,
            raised_at=now,
            last_seen_at=now,
            resolved_at=now if state == "resolved" else None,
        )

    alerts = api.get("/model/status/kmeans").json()["open_alerts"]

    assert [(alert["title"], alert["state"]) for alert in alerts] == [("a", "firing")]


def test_the_queries_do_not_grow_with_points_calls_and_alerts(
    trained: TrainedModels, api: Client, django_assert_max_num_queries: Any
) -> None:
    for _ in range(10):
        api.post("/predict/kmeans", trained.records[:1], content_type="application/json")

    with django_assert_max_num_queries(16):
        api.get("/model/status/kmeans")


def test_the_last_drift_report_is_shown(trained: TrainedModels, api: Client) -> None:
    current = make_records(n_customers=100, random_state=8)
    api.generic("POST", "/monitor/drift")
    last = api.post("/monitor/drift", current, content_type="application/json").json()

    shown = api.get("/model/status/kmeans").json()["last_drift"]

    assert (shown["id"], shown["verdict"], shown["n_current"]) == (last["id"], "ok", 100)


def test_without_an_active_version_the_answer_is_503(db: None, api: Client) -> None:
    with one_entry(action="model.status_read", outcome="failed", status_code=503):
        response = api.get("/model/status/kmeans")

    problem_of(response, status=503, code="no-active-version")


def test_an_unknown_model_type_is_a_404(db: None, api: Client) -> None:
    problem_of(api.get("/model/status/lda"), status=404, code="not-found")
