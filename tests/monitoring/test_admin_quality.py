"""The quality page of a version: its series against training, and how it serves."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.urls import reverse
from django.utils import timezone

from access.figures import figure
from monitoring.models import QualityPoint, ServingHour, ServingMark
from monitoring.quality_page import MAX_POINTS, MAX_SEGMENTS, N_ROWS
from monitoring.serving import whole_hour
from segments.models import Segment
from tests.factories import TrainedModels
from tests.staff import staff

VIEW = "monitoring.view_qualitypoint"
AT = timezone.now()


def make_point(trained: TrainedModels, *, days_ago: int = 0, **fields: Any) -> QualityPoint:
    given = {
        "version": trained.kmeans,
        "measured_at": timezone.now() - timedelta(days=days_ago),
        "n_customers": 300,
        "silhouette": 0.4,
        "silhouette_se": 0.01,
        "noise_share": 0.0,
        "level": "ok",
        "sentence": "As at training.",
    }
    return QualityPoint.objects.create(**given | fields)


def url_of(trained: TrainedModels) -> str:
    return reverse("admin:monitoring_qualitypoint_version", args=[trained.kmeans.pk])


def test_each_figure_is_drawn_over_time_with_training_as_a_line(trained: TrainedModels) -> None:
    make_point(trained, days_ago=1, silhouette=0.5)
    make_point(trained)

    context = staff(VIEW).get(url_of(trained)).context

    silhouette = context["charts"][0]
    drawn, training, low, high = json.loads(silhouette.data)["datasets"]
    assert drawn["data"] == [0.5, 0.4]
    assert training["data"] == [round(trained.kmeans.metrics["silhouette"], 4)] * 2
    assert [round(value, 3) for value in low["data"] + high["data"]] == [0.48, 0.38, 0.52, 0.42]
    titles = [chart.title for chart in context["charts"]]
    assert titles == ["Silhouette", "Noise"]  # what was never measured is not drawn
    assert len(context["table"].rows) == 2


def test_shares_of_segments_start_at_training_and_sum_up_to_the_whole(
    trained: TrainedModels,
) -> None:
    extra = [
        Segment.objects.create(model_type="kmeans", name=f"Extra {n}", created_at=AT).pk
        for n in range(MAX_SEGMENTS)
    ]
    make_point(trained, shares={**{str(pk): 0.1 for pk in extra}, "-1": 0.2})

    shares = staff(VIEW).get(url_of(trained)).context["shares"]

    data = json.loads(shares.chart.data)
    assert data["labels"][0] == "training"
    names = [series["label"] for series in data["datasets"]]
    assert "no segment (noise)" in names and names[-1].endswith("smaller ones")
    for place in (0, 1):
        assert round(sum(series["data"][place] for series in data["datasets"])) == 100
    assert [row[0] for row in shares.table.rows] == data["labels"][::-1]
    drawn = [f"{series['data'][1]:.1f} %" for series in data["datasets"]]
    assert list(shares.table.rows[0][1:]) == drawn


def test_a_version_that_was_never_measured_says_so(trained: TrainedModels) -> None:
    page = staff(VIEW).get(url_of(trained)).content.decode()

    assert "It was not measured yet" in page
    assert "How it serves" not in page  # without the permission


def test_a_point_without_any_figure_is_shown(trained: TrainedModels) -> None:
    make_point(trained, silhouette=None, silhouette_se=None, level="unknown", sentence="Too few.")

    response = staff(VIEW).get(url_of(trained))

    assert "Too few." in response.content.decode()
    assert [chart.title for chart in response.context["charts"]] == ["Noise"]


def test_a_long_series_is_cut_with_a_constant_number_of_queries(
    trained: TrainedModels, django_assert_max_num_queries: Any
) -> None:
    for n in range(MAX_POINTS + 5):
        make_point(trained, days_ago=n)
    client = staff(VIEW)

    with django_assert_max_num_queries(14):
        context = client.get(url_of(trained)).context

    assert len(json.loads(context["charts"][0].data)["labels"]) == MAX_POINTS
    assert len(context["table"].rows) == N_ROWS
    assert len(context["older"].rows) == MAX_POINTS - N_ROWS
    assert context["n_more"] == 5


def test_names_of_segments_and_sentences_are_escaped(trained: TrainedModels) -> None:
    payload = '"><img src=x onerror=alert(1)>'
    segment = Segment.objects.create(model_type="kmeans", name=payload, created_at=AT)
    make_point(trained, shares={str(segment.pk): 1.0}, sentence=payload)

    assert payload not in staff(VIEW).get(url_of(trained)).content.decode()


def test_serving_figures_are_drawn_by_the_hour(trained: TrainedModels) -> None:
    ServingMark.objects.create(audit_id=10**9)
    hour = whole_hour(timezone.now()) - timedelta(hours=1)
    ServingHour.objects.create(
        model_type="kmeans",
        version_number=1,
        hour=hour,
        n_requests=4,
        n_customers=400,
        latency_ms_sum=40.0,
        latencies={"10.3747": 4},
    )
    ServingHour.objects.create(model_type="kmeans", version_number=0, hour=hour, n_failed=2)

    serving = staff(VIEW, "monitoring.view_servinghour").get(url_of(trained)).context["serving"]

    assert "answered 4 requests for 400 customers" in serving["words"]
    assert "2 failed" in serving["words"]
    requests, customers, errors, latency = (
        [series["data"][-2] for series in json.loads(chart.data)["datasets"]]
        for chart in serving["charts"]
    )
    assert (requests, customers, errors) == ([4], [400], [0, 2])
    assert all(9.9 < value < 10.4 for value in latency)
    (row,) = serving["table"].rows  # quiet hours are left out
    assert row[1:5] == ("4", "400", "0", "2")


def test_the_stability_of_training_is_on_both_pages_of_a_version(trained: TrainedModels) -> None:
    make_point(trained, stability=0.5)
    trained_at = figure(trained.kmeans.metrics["stability"])
    version = reverse("admin:modelregistry_modelversion_change", args=[trained.kmeans.pk])

    context = staff(VIEW, "modelregistry.view_modelversion").get(url_of(trained)).context

    assert ("Stability", figure(0.5), f"{trained_at} at training") in context["tiles"]
    page = staff("modelregistry.view_modelversion", name="bea").get(version).content.decode()
    assert f"<dt>Stability</dt><dd>{trained_at}" in page


def test_a_point_leads_to_the_page_of_its_version(trained: TrainedModels) -> None:
    point = make_point(trained)
    url = reverse("admin:monitoring_qualitypoint_change", args=[point.pk])

    assert staff(VIEW).get(url)["Location"] == url_of(trained)
    assert staff(name="bea").get(url_of(trained)).status_code == 403


def test_the_page_of_a_version_links_to_its_quality(trained: TrainedModels) -> None:
    version = reverse("admin:modelregistry_modelversion_change", args=[trained.kmeans.pk])
    sees = "modelregistry.view_modelversion"

    assert url_of(trained) in staff(sees, VIEW).get(version).content.decode()
    assert url_of(trained) not in staff(sees, name="bea").get(version).content.decode()
