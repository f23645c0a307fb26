"""`GET /model/status/{model_type}`: what serves, how it serves, and how its customers changed."""

from __future__ import annotations

import pytest
from django.test import Client

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
    latency = serving["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]


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
