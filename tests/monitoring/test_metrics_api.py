"""`GET /metrics`: what Prometheus reads, always rising where it counts."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from monitoring.models import DriftReport, QualityPoint
from monitoring.serving import roll_up
from tests.expectations import one_entry, problem_of
from tests.factories import TrainedModels, make_key

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(api: Client) -> Samples:
    response = api.get("/metrics")
    assert response.status_code == 200, response.content
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"segmentation_{name}", tuple(sorted(labels.items()))]


def test_the_answer_is_prometheus_text_with_one_entry(trained: TrainedModels, api: Client) -> None:
    with one_entry(action="metrics.read", outcome="succeeded", status_code=200):
        response = api.get("/metrics", headers={"Accept": "application/openmetrics-text"})

    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(response.content.decode()))
    assert all(family.documentation for family in families)
    assert all(family.name.startswith("segmentation_") for family in families)
    names = {family.name for family in families}
    assert len(names) == len(families)


def test_without_the_scope_it_is_a_problem_in_json(trained: TrainedModels) -> None:
    _, secret = make_key(scopes=["predict"])

    response = Client(headers={"X-API-Key": secret, "Accept": "text/plain"}).get("/metrics")

    problem_of(response, status=403, code="scope-missing")


def test_calls_are_counted_and_never_fall(trained: TrainedModels, api: Client) -> None:
    seen: list[tuple[float, ...]] = []

    def look() -> None:
        samples = scraped(api)
        seen.append(
            (
                value(samples, "predict_requests_total", model_type="kmeans", version="1",
                      outcome="answered"),
                value(samples, "predict_customers_total", model_type="kmeans", version="1"),
                value(samples, "predict_requests_total", model_type="kmeans", version="none",
                      outcome="refused"),
                value(samples, "predict_latency_seconds_count", model_type="kmeans"),
                value(samples, "predict_latency_seconds_bucket", model_type="kmeans", le="16.384"),
                value(samples, "predict_latency_seconds_sum", model_type="kmeans"),
            )
        )  # fmt: skip

    api.post("/predict/kmeans", trained.records[:3], content_type="application/json")
    api.post("/predict/kmeans", [{}], content_type="application/json")
    look()
    roll_up(at=timezone.now() + timedelta(minutes=5))
    look()
    api.post("/predict/kmeans", trained.records[:2], content_type="application/json")
    look()

    assert seen[0] == seen[1]
    assert [row[:5] for row in seen[1:]] == [(1, 3, 1, 1, 1), (2, 5, 1, 2, 2)]
    assert 0 < seen[1][5] < seen[2][5]


def test_what_serves_and_how_well_is_told(trained: TrainedModels, api: Client) -> None:
    at = timezone.now()
    api.generic("POST", "/monitor/drift")
    QualityPoint.objects.create(
        version=trained.kmeans,
        report=DriftReport.objects.get(),
        measured_at=at,
        n_customers=100,
        silhouette=0.25,
        noise_share=0.0,
        shares={"7": 0.75, "8": 0.25},
        level="warning",
        sentence="-",
    )
    of_version = {"model_type": "kmeans", "version": "1"}

    samples = scraped(api)

    assert value(samples, "active_version", model_type="dbscan") == 1
    assert value(samples, "quality_silhouette", **of_version) == 0.25
    assert value(samples, "quality_level", **of_version, level="warning") == 1
    assert value(samples, "quality_level", **of_version, level="ok") == 0
    assert value(samples, "segment_share_ratio", **of_version, segment="7") == 0.75
    measured = value(samples, "quality_measured_timestamp_seconds", **of_version)
    assert abs(measured - at.timestamp()) < 1
    assert ("segmentation_quality_stability", tuple(sorted(of_version.items()))) not in samples
    assert value(samples, "alerts", kind="drift", state="firing") == 0
    assert value(samples, "training_jobs", state="succeeded") == 2
    assert value(samples, "notifications", channel="mail", state="queued") == 0
    assert ("segmentation_build_info", "version", settings.VERSION) in {
        (name, *label) for name, labels in samples for label in labels
    }


def test_the_last_drift_check_is_told(trained: TrainedModels, api: Client) -> None:
    api.generic("POST", "/monitor/drift")

    samples = scraped(api)

    verdicts = {
        dict(labels)["verdict"]: n
        for (name, labels), n in samples.items()
        if name == "segmentation_drift_verdict"
    }
    assert sum(verdicts.values()) == 1 and len(verdicts) == 4


def test_customers_that_somebody_sent_say_nothing_of_the_stored_ones(
    trained: TrainedModels, api: Client
) -> None:
    api.post("/monitor/drift", trained.records, content_type="application/json")

    samples = scraped(api)

    assert DriftReport.objects.get().source == "request"
    assert "segmentation_drift_verdict" not in {name for name, _ in samples}


def test_an_empty_installation_has_figures_too(db: None, api: Client) -> None:
    samples = scraped(api)

    assert value(samples, "training_jobs", state="failed") == 0
    assert value(samples, "predict_latency_seconds_count", model_type="kmeans") == 0


def test_the_queries_are_always_as_many(
    trained: TrainedModels, api: Client, django_assert_max_num_queries: object
) -> None:
    with django_assert_max_num_queries(14):  # type: ignore[operator]
        scraped(api)
