"""A customer's page: attributes, segments, and why it is in those that serve."""

from __future__ import annotations

from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from modelregistry.activation import load
from modelregistry.models import ActiveModel
from segments.customers import upsert_customers
from segments.models import Assignment, Customer, Segment
from tests.factories import TrainedModels, make_customers, make_version
from tests.staff import staff

VIEW, SEE_SEGMENTS = "segments.view_customer", "segments.view_segment"


def page_of(customer_id: str, client: Client | None = None) -> Any:
    url = reverse("admin:segments_customer_change", args=[customer_id])
    response = (client or staff(VIEW)).get(url)
    assert response.status_code == 200
    return response


def words_of(response: Any) -> str:
    return " ".join(unescape(response.content.decode()).split())


def whys(response: Any) -> dict[str, Any]:
    return {why.version.model_type: why for why in response.context["whys"]}


def change(customer_id: str, **attributes: Any) -> None:
    upsert_customers({customer_id: attributes}, at=timezone.now())


def first_in(model_type: str, trained: TrainedModels, **fields: Any) -> str:
    version = getattr(trained, model_type)
    found = Assignment.objects.filter(version=version, **fields).order_by("customer_id").first()
    assert found is not None
    return found.customer_id


def test_the_page_says_why_for_each_version_that_serves(trained: TrainedModels) -> None:
    customer_id = first_in("dbscan", trained, status="core")

    response = page_of(customer_id)

    found = whys(response)
    assert list(found) == ["dbscan", "kmeans"]
    for model_type, why in found.items():
        assigned = Assignment.objects.select_related("segment").get(
            version=getattr(trained, model_type), customer=customer_id
        )
        facts = {name: str(value) for name, value in why.facts}
        assert assigned.segment is not None
        assert assigned.segment.name in facts["Segment"]
        assert assigned.segment.name not in facts["Next nearest"]
        assert facts["Assigned"] == assigned.assigned_at.strftime("%d %b %Y %H:%M")
        assert why.gap
        assert why.warning == ""
        assert 0 < len(why.bars) <= 6
    assert "many customers are much like this one" in words_of(response)


def test_the_distances_to_both_segments_are_told(trained: TrainedModels, settings: Any) -> None:
    customer_id = trained.records[0]["customer_id"]
    model = load(trained.kmeans, directory=settings.MODEL_DIR)
    row = model.encoder.encode_records([trained.records[0]])
    near, next_one = np.sort(np.linalg.norm(row - model.clusters.arrays()["centers"], axis=1))[:2]

    found = whys(page_of(customer_id))

    assert f"is {near:.2f} away, that of the next {next_one:.2f}." in found["kmeans"].gap


def test_the_table_has_what_the_bars_show(trained: TrainedModels) -> None:
    customer_id = trained.records[0]["customer_id"]

    why = whys(page_of(customer_id))["kmeans"]

    names = [row[0] for row in why.figures.rows]
    assert [bar.feature for bar in why.bars] == names[:6]
    shares = [float(row[1].rstrip("%")) for row in why.figures.rows]
    assert sum(map(abs, shares)) == pytest.approx(100, abs=1)
    for bar, share in zip(why.bars, shares, strict=False):
        assert bar.size == f"{share:+.0f}%" or abs(float(bar.size.rstrip("%")) - share) <= 0.6
        assert 0 <= bar.start <= bar.start + bar.width <= 100.01
        assert bar.start == pytest.approx(bar.zero if share > 0 else bar.zero - bar.width, abs=0.02)


def test_noise_is_told_how_far_it_is(trained: TrainedModels) -> None:
    customer_id = first_in("dbscan", trained, status="noise")

    response = page_of(customer_id)

    why = whys(response)["dbscan"]
    assert ("Segment", "no segment (noise)") in why.facts
    assert "within 2.00" in why.gap
    assert "too few customers are like this one" in words_of(response)


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "orders is missing"), ("many", "orders is no usable number")],
)
def test_a_customer_who_cannot_be_assigned_is_told_which_value_it_lacks(
    trained: TrainedModels, value: Any, words: str
) -> None:
    record = {name: v for name, v in trained.records[0].items() if name != "customer_id"}
    change("incomplete", **record | {"orders": value})

    found = whys(page_of("incomplete"))

    for why in found.values():
        assert why.facts == [("Segment", "not assigned")]
        assert words in why.warning
        assert not why.bars


def test_an_assignment_of_earlier_attributes_is_told_as_such(trained: TrainedModels) -> None:
    customer_id = trained.records[0]["customer_id"]
    other = next(
        record for record in trained.records
        if Assignment.objects.get(
            version=trained.kmeans, customer=record["customer_id"]
        ).segment_id != Assignment.objects.get(
            version=trained.kmeans, customer=customer_id
        ).segment_id
    )  # fmt: skip
    change(customer_id, **{k: v for k, v in other.items() if k != "customer_id"})

    why = whys(page_of(customer_id))["kmeans"]

    new_name = Assignment.objects.get(
        version=trained.kmeans, customer=other["customer_id"]
    ).segment.name  # type: ignore[union-attr]  # no noise in K-means
    assert "changed after it was assigned" in why.warning
    assert new_name in unescape(str(why.warning))
    assert new_name not in unescape(str(dict(why.facts)["Segment"]))


def test_a_stored_customer_who_now_lacks_a_value_keeps_the_old_segment_in_sight(
    trained: TrainedModels,
) -> None:
    customer_id = trained.records[0]["customer_id"]
    change(customer_id, orders=None)

    why = whys(page_of(customer_id))["kmeans"]

    assert "orders is missing" in why.warning
    assert "earlier attributes" in why.warning
    assert [name for name, _ in why.facts] == ["Segment", "Assigned"]


def test_a_customer_nobody_assigned_yet_is_told_where_it_belongs(trained: TrainedModels) -> None:
    record = {name: v for name, v in trained.records[0].items() if name != "customer_id"}
    change("fresh", **record)

    why = whys(page_of("fresh"))["kmeans"]

    assert ("Segment", "not assigned") in why.facts
    assert "not assigned yet" in why.warning
    assert why.bars


def test_a_damaged_artifact_leaves_the_page_with_what_is_stored(
    trained: TrainedModels, settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_DIR = tmp_path
    customer_id = trained.records[0]["customer_id"]

    found = whys(page_of(customer_id))

    for why in found.values():
        assert trained.kmeans.artifact in why.warning or trained.dbscan.artifact in why.warning
        assert [name for name, _ in why.facts][0] == "Segment"
        assert not why.bars


def test_without_a_version_that_serves_the_page_says_so(db: None) -> None:
    customer_id = make_customers(n_customers=30)[0]["customer_id"]

    response = page_of(customer_id)

    assert response.context["whys"] == []
    assert "No version serves yet" in words_of(response)


def test_the_only_segment_is_compared_with_nothing(trained: TrainedModels) -> None:
    make_version(model_type="dbscan", parameters={"eps": 50.0, "min_samples": 5}, active=True)

    why = whys(page_of(trained.records[0]["customer_id"]))["dbscan"]

    assert ("Next nearest", "none") in why.facts
    assert "no other segment" in why.gap
    assert (why.bars, why.figures) == ([], None)


def test_noise_of_a_version_without_segments_has_no_distance_and_no_confidence(
    trained: TrainedModels,
) -> None:
    version = make_version(
        model_type="dbscan", parameters={"eps": 1e-6, "min_samples": 8}, active=True
    )

    response = page_of(trained.records[0]["customer_id"])

    why = whys(response)["dbscan"]
    assert not version.segments.exists()
    assert ("Confidence", "–") in why.facts
    assert ("Next nearest", "none") in why.facts
    assert "no segment to compare it with" in why.gap
    rows = {str(row[0]): row for row in response.context["assignments"].rows}
    assert rows[f"{version} (active)"][-1] == "–"
    assert float(rows[str(trained.dbscan)][-1]) >= 0


def test_assignments_of_earlier_attributes_are_marked(trained: TrainedModels) -> None:
    customer_id = trained.records[0]["customer_id"]
    before = page_of(customer_id)
    change(customer_id, orders=7)
    version = make_version()

    after = page_of(customer_id, staff(VIEW, name="later"))

    def marked(response: Any) -> dict[str, bool]:
        rows = response.context["assignments"].rows
        return {str(row[0]): "before the last change" in row[3] for row in rows}

    assert not any(marked(before).values())
    assert marked(after) == {
        str(version): False,
        f"{trained.kmeans} (active)": True,
        f"{trained.dbscan} (active)": True,
    }


def test_a_version_whose_medians_are_unknown_is_explained_too(trained: TrainedModels) -> None:
    trained.kmeans.segments.update(medians={}, features=[], rule=None)

    why = whys(page_of(trained.records[0]["customer_id"]))["kmeans"]

    assert {cell for row in why.figures.rows for cell in row[4:]} == {"–"}


def test_values_and_names_are_shown_as_text(trained: TrainedModels) -> None:
    customer_id = trained.records[0]["customer_id"]
    Segment.objects.update(name="<b>bold</b>")
    change(customer_id, channel="<script>alert(1)</script>")

    page = page_of(customer_id).content.decode()

    assert "<script>alert" not in page
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page


def test_segments_are_links_for_who_may_see_them(trained: TrainedModels) -> None:
    customer_id = trained.records[0]["customer_id"]
    url = reverse("admin:segments_segment_changelist")

    allowed = page_of(customer_id, staff(VIEW, SEE_SEGMENTS, name="may"))
    others = page_of(customer_id, staff(VIEW, name="may-not"))

    def links(response: Any) -> bool:
        return any(url in str(value) for _, value in whys(response)["kmeans"].facts)

    assert links(allowed)
    assert not links(others)


def test_the_page_has_no_script_or_style_of_its_own(trained: TrainedModels) -> None:
    page = page_of(trained.records[0]["customer_id"]).content.decode()

    articles = page[page.index("<article") : page.rindex("</article>")]
    assert "style=" not in articles
    assert "<script" not in articles


def test_the_queries_do_not_grow_with_the_customers(trained: TrainedModels) -> None:
    customer_id, client = trained.records[0]["customer_id"], staff(VIEW)
    counts = []
    for n_customers in (0, 400):
        if n_customers:
            make_customers(n_customers=n_customers, random_state=3)
        with CaptureQueriesContext(connection) as queries:
            page_of(customer_id, client)
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_a_version_that_no_longer_serves_is_not_explained(trained: TrainedModels) -> None:
    ActiveModel.objects.filter(model_type="dbscan").update(active=None)

    response = page_of(trained.records[0]["customer_id"])

    assert list(whys(response)) == ["kmeans"]
    assert len(response.context["assignments"].rows) == 2
    assert Customer.objects.count() == len(trained.records)
