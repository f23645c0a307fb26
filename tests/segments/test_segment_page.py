"""The page of a segment: its life over the versions, and what the list tells of it."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from modelregistry.models import ActiveModel, ModelVersion
from segments.models import Segment
from tests.factories import TrainedModels, make_active, make_version
from tests.staff import entries_after, last_entry_id, staff

SEE, RENAME = "segments.view_segment", "segments.change_segment"
SEE_VERSIONS = "modelregistry.view_modelversion"
LIST = "/admin/segments/segment/"


def url_of(segment: Segment) -> str:
    return reverse("admin:segments_segment_change", args=[segment.pk])


def page_of(segment: Segment, *permissions: str, name: str = "ann") -> str:
    return staff(SEE, *permissions, name=name).get(url_of(segment)).content.decode()


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def first_of(version: ModelVersion) -> Segment:
    return version.segments.select_related("segment")[0].segment


def chart_of(page: str) -> Any:
    found = re.search(r'data-value="([^"]*)"', page)
    return json.loads(html.unescape(found[1])) if found else None


def test_a_serving_segment_tells_its_share_and_its_description(trained: TrainedModels) -> None:
    row = trained.kmeans.segments.select_related("segment")[0]
    page = text_of(page_of(row.segment))

    assert f"It serves: kmeans 1 has it, with {row.share:.1%} of the customers." in page
    assert f"kmeans 1 active {_day(trained.kmeans)}" in page
    assert f"new – {row.n_customers} {row.share:.1%}" in page
    assert "As kmeans 1 describes it" in page
    assert row.distinguishing[0]["words"] in page
    assert row.rule["text"] in page


def _day(version: ModelVersion) -> str:
    return f"{version.activations.earliest('activated_at').activated_at:%d %b %Y}"


def test_its_life_runs_over_all_versions_that_have_it(trained: TrainedModels) -> None:
    again = make_version()
    segment = first_of(trained.kmeans)
    own = segment.versions.get(version=again)
    page = page_of(segment, SEE_VERSIONS)

    assert f"kmeans 2 candidate – kept {own.match_score:.2f}" in text_of(page)
    assert reverse("admin:modelregistry_modelversion_change", args=[again.pk]) in page
    chart = chart_of(page)
    assert chart["labels"] == ["kmeans 1", "kmeans 2"]
    assert chart["datasets"][0]["data"] == [
        round(100 * segment.versions.get(version=version).share, 1)
        for version in (trained.kmeans, again)
    ]


def test_one_version_makes_no_chart(trained: TrainedModels) -> None:
    assert chart_of(page_of(first_of(trained.kmeans))) is None


def test_a_segment_that_the_serving_version_ended_is_retired(trained: TrainedModels) -> None:
    make_version()  # a newer candidate that has it is not what the page describes
    coarser = make_version(parameters={"n_clusters": 2})
    assert coarser.identity is not None
    segment = Segment.objects.get(pk=coarser.identity["retired"][0])
    before = text_of(page_of(segment, name="before"))

    make_active(version=coarser)
    after = text_of(page_of(segment, name="after"))

    assert "It serves: kmeans 1 has it" in before
    assert "kmeans 3 candidate – retired" in before
    assert f"It is retired: kmeans 3 went on without it on {_day(coarser)}." in after
    assert "As kmeans 1 describes it" in after


def test_a_segment_of_candidates_only_never_served(trained: TrainedModels) -> None:
    finer = make_version(parameters={"n_clusters": 6})
    newborn = finer.segments.exclude(segment__versions__version=trained.kmeans)[0].segment

    assert "It never served: only candidates have it." in text_of(page_of(newborn))


def test_a_segment_whose_version_is_no_longer_pointed_at_does_not_serve(
    trained: TrainedModels,
) -> None:
    coarser = make_version(parameters={"n_clusters": 2})  # a candidate retires nothing yet
    assert coarser.identity is not None
    segment = Segment.objects.get(pk=coarser.identity["retired"][0])
    ActiveModel.objects.filter(model_type="kmeans").update(active=None)

    page = text_of(page_of(segment))

    assert "It does not serve now." in page
    assert "kmeans 1 retired" in page


def test_versions_are_linked_only_for_who_may_see_them(trained: TrainedModels) -> None:
    url = reverse("admin:modelregistry_modelversion_change", args=[trained.kmeans.pk])
    segment = first_of(trained.kmeans)

    assert url in page_of(segment, SEE_VERSIONS, name="one")
    assert url not in page_of(segment, name="two")


def test_a_segment_of_no_version_has_a_page(trained: TrainedModels) -> None:
    segment = Segment.objects.create(
        model_type="kmeans", name="Alone", created_at=trained.kmeans.trained_at
    )

    page = text_of(page_of(segment))

    assert "No version has this segment." in page
    assert "describes it" not in page


def test_a_row_from_before_descriptions_is_shown_as_it_is(trained: TrainedModels) -> None:
    trained.kmeans.segments.update(
        features=[], distinguishing=[], rule=None, stability=None, low_confidence_share=None
    )

    page = text_of(page_of(first_of(trained.kmeans)))

    assert "Trained before segments were described." in page


def test_a_hostile_name_is_text(trained: TrainedModels) -> None:
    segment = first_of(trained.kmeans)
    evil = "<script>alert(1)</script>"
    Segment.objects.filter(pk=segment.pk).update(name=evil, description=evil)

    assert evil not in page_of(segment, RENAME, SEE_VERSIONS)


def test_the_queries_do_not_grow_with_the_versions(trained: TrainedModels) -> None:
    segment = first_of(trained.kmeans)
    client = staff(SEE, SEE_VERSIONS)
    client.get(url_of(segment))
    with CaptureQueriesContext(connection) as few:
        client.get(url_of(segment))
    for _ in range(2):
        make_version()

    with CaptureQueriesContext(connection) as many:
        page = client.get(url_of(segment)).content.decode()

    assert "kmeans 3" in page
    assert len(many) == len(few)


def test_a_name_that_is_refused_keeps_the_life_on_the_page(trained: TrainedModels) -> None:
    segment = first_of(trained.kmeans)
    before = last_entry_id()

    response = staff(SEE, RENAME).post(url_of(segment), {"name": ""})

    assert response.context["adminform"].form.errors["name"]
    assert "It serves: kmeans 1" in response.content.decode()
    assert entries_after(before) == []


def test_the_list_tells_stability_and_state_without_a_query_a_row(trained: TrainedModels) -> None:
    client = staff(SEE)
    client.get(LIST)
    with CaptureQueriesContext(connection) as few:
        client.get(LIST)
    finer = make_version(parameters={"n_clusters": 6})
    stable = trained.kmeans.segments.first()
    assert stable is not None

    with CaptureQueriesContext(connection) as many:
        page = text_of(client.get(LIST).content.decode())

    assert f"{stable.stability:.2f} active" in page
    assert finer.segments.count() > trained.kmeans.segments.count()
    assert "– – – candidate" in page
    assert len(many) == len(few)


def test_the_list_calls_a_segment_retired_once_it_has_served(trained: TrainedModels) -> None:
    coarser = make_version(parameters={"n_clusters": 2})
    make_active(version=coarser)

    assert text_of(staff(SEE).get(LIST).content.decode()).count("– – – retired") == 2
