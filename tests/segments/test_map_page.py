"""The map of a version: who is on it, where, by whom it may be seen, and what it says."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ml.clusterers import KMeansModel
from ml.segment_map import fit_plane
from modelregistry.activation import load
from modelregistry.models import ModelVersion
from segments.customer_sample import SampledCustomers
from segments.map_page import HEIGHT, WIDTH, SegmentMap, _sample_words, segment_map
from segments.models import Assignment, Customer
from tests.factories import TrainedModels, make_version


def map_of(version: ModelVersion, **options: Any) -> SegmentMap:
    rows = list(version.segments.select_related("segment"))
    model = load(version, directory=settings.MODEL_DIR)
    shown = segment_map(model, rows, **{"with_customers": True, "with_links": False, **options})
    assert shown is not None
    return shown


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_everybody_is_on_it_in_the_segment_they_are_assigned_to(
    trained: TrainedModels, model_type: str
) -> None:
    version: ModelVersion = getattr(trained, model_type)
    with CaptureQueriesContext(connection) as queries:
        load(version, directory=settings.MODEL_DIR)
    n_before = len(queries)

    with CaptureQueriesContext(connection) as queries:
        shown = map_of(version)

    assigned = Assignment.objects.filter(version=version)
    for each, row in zip(shown.segments, version.segments.all(), strict=True):
        assert each.n_shown == assigned.filter(segment=row.segment_id).count()
        assert each.path.count("M") == each.n_shown
        assert 0 <= each.x <= WIDTH and 0 <= each.y <= HEIGHT
    assert shown.n_noise == assigned.filter(segment=None).count()
    assert "All 300 stored customers" in shown.words[0]
    assert len(queries) <= n_before + 3
    assert len({(each.colour, each.shape) for each in shown.segments}) == len(shown.segments)


def test_every_point_lies_in_the_picture_and_up_is_up(trained: TrainedModels) -> None:
    shown = map_of(trained.kmeans)

    for each in shown.segments:
        for x, y in re.findall(r"M([\d.]+) ([\d.]+)", each.path):
            assert 0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT
    ordered = sorted(shown.segments, key=lambda each: float(each.up))
    assert [each.y for each in ordered] == sorted((each.y for each in ordered), reverse=True)


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_names_lead_away_from_the_other_centres_and_stay_in_the_picture(
    trained: TrainedModels, model_type: str
) -> None:
    version: ModelVersion = getattr(trained, model_type)
    names = ["Few", "A name as long as those may be"]
    for i, row in enumerate(version.segments.select_related("segment")):
        row.segment.name = names[i % 2]
        row.segment.save()

    for each in map_of(version).segments:
        end = each.label_x + 7 * len(each.label) * (1 if each.anchor == "start" else -1)
        assert 0 <= end <= WIDTH
        if each.name == "Few" and 40 < each.x < WIDTH - 40:
            assert (end < each.x) == (each.x <= WIDTH / 2)


def test_an_erased_customer_is_no_longer_on_it(trained: TrainedModels) -> None:
    Customer.objects.filter(pk__in=[r["customer_id"] for r in trained.records[:100]]).delete()

    assert sum(each.n_shown for each in map_of(trained.kmeans).segments) == 200


def test_who_may_not_see_customers_sees_the_centres_alone(trained: TrainedModels) -> None:
    shown = map_of(trained.kmeans, with_customers=False)

    assert len(shown.segments) == 4
    assert not any(each.path for each in shown.segments) and not shown.noise
    assert "centres of the segments alone" in shown.words[0]


def test_it_says_how_much_the_axes_show(trained: TrainedModels) -> None:
    model = load(trained.kmeans, directory=settings.MODEL_DIR)
    sizes = [row.n_customers for row in trained.kmeans.segments.all()]
    assert isinstance(model.clusters, KMeansModel)
    centres = model.clusters.centers
    plane = fit_plane(centres, np.array(sizes, dtype=float), np.zeros((0, centres.shape[1])))

    shown = map_of(trained.kmeans)

    assert f"They show {plane.between_shares.sum():.0%} of what tells" in shown.words[1]
    assert "may be far apart" in shown.words[2]
    assert [row[0] for row in shown.axes.rows] == ["Across, to the right", "Up"]


def test_customers_who_lack_values_are_counted_and_left_out(trained: TrainedModels) -> None:
    Customer.objects.filter(pk=trained.records[0]["customer_id"]).update(attributes_json="{}")

    shown = map_of(trained.kmeans)

    assert "1 more lacks values that the version needs and is not shown" in shown.words[0]
    assert sum(each.n_shown for each in shown.segments) == 299


def test_without_clusters_it_shows_noise_alone(trained: TrainedModels) -> None:
    dust = make_version(model_type="dbscan", parameters={"eps": 0.001, "min_samples": 50})

    shown = map_of(dust)

    assert shown.segments == [] and shown.n_noise == 300


@pytest.mark.parametrize(("n_beyond", "words"), [(1, "1 lies beyond"), (2, "2 lie beyond")])
def test_who_lies_beyond_the_map_is_counted_in_good_words(n_beyond: int, words: str) -> None:
    sample = SampledCustomers(["a", "b", "c"], [{}, {}, {}], True)

    assert words in _sample_words(sample, 0, n_beyond, with_customers=True)
