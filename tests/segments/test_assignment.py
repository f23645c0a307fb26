"""Everybody is assigned as predict would say; changed customers anew, erased ones not at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from modelregistry.activation import load
from segments import assignment
from segments.assignment import (
    SegmentLabels,
    assign_stored_customers,
    assign_to_active_versions,
    unassigned,
    write_assignments,
)
from segments.customers import upsert_customers
from segments.models import Assignment, Customer, VersionSegment
from tests.factories import TrainedModels, make_version

MODEL_TYPES = ("kmeans", "dbscan")


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_stored_segment_is_the_predicted_one(trained: TrainedModels, model_type: str) -> None:
    version = getattr(trained, model_type)
    model = load(version, directory=settings.MODEL_DIR)
    prediction = model.clusters.predict(model.encoder.encode_records(trained.records))
    ids = SegmentLabels.of(version).ids

    stored = {row.customer_id: row for row in Assignment.objects.filter(version=version)}

    rows = [stored[record["customer_id"]] for record in trained.records]
    assert [row.segment_id for row in rows] == [ids[c] for c in prediction.labels.tolist()]
    np.testing.assert_allclose(
        [row.distance for row in rows], prediction.distances, rtol=1e-12, atol=1e-12
    )
    assert [row.status for row in rows] == list(prediction.status or [""] * len(rows))


def test_a_changed_customer_is_assigned_anew_and_nobody_else(trained: TrainedModels) -> None:
    record = trained.records[0]
    now = timezone.now()
    upsert_customers({record["customer_id"]: {"orders": 500, "total_spend": 90_000}}, at=now)
    assert [c.pk for c in unassigned(trained.kmeans)] == [record["customer_id"]]
    before = dict(
        Assignment.objects.filter(version=trained.kmeans).values_list("customer_id", "assigned_at")
    )

    assign_to_active_versions(directory=settings.MODEL_DIR)

    after = dict(
        Assignment.objects.filter(version=trained.kmeans).values_list("customer_id", "assigned_at")
    )
    assert {key for key in after if after[key] != before[key]} == {record["customer_id"]}
    assert not unassigned(trained.kmeans).exists()
    assert not unassigned(trained.dbscan).exists()


def test_many_chunks_assign_as_one(trained: TrainedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(
        Assignment.objects.filter(version=trained.kmeans)
        .order_by("customer_id")
        .values_list("customer_id", "segment_id")
    )
    Assignment.objects.filter(version=trained.kmeans).delete()
    monkeypatch.setattr(assignment, "CHUNK", 37)
    progress: list[int] = []

    n_left_out = assign_stored_customers(
        trained.kmeans,
        load(trained.kmeans, directory=settings.MODEL_DIR),
        on_progress=progress.append,
    )

    assert n_left_out == 0
    assert progress == [*range(37, 300, 37), 300]
    assert expected == list(
        Assignment.objects.filter(version=trained.kmeans)
        .order_by("customer_id")
        .values_list("customer_id", "segment_id")
    )


@pytest.mark.parametrize("size", [1, 99, 100, 150, 299, 300, 301])
def test_chunks_part_the_customers_wherever_they_end(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(assignment, "CHUNK", size)
    Assignment.objects.filter(version=trained.kmeans).delete()
    done: list[int] = []

    assign_stored_customers(
        trained.kmeans, load(trained.kmeans, directory=settings.MODEL_DIR), on_progress=done.append
    )

    assert not unassigned(trained.kmeans).exists()
    assert done == [*range(size, 300, size), 300]


def test_customers_without_a_needed_value_are_counted_and_left_out(
    trained: TrainedModels,
) -> None:
    upsert_customers({"lacking": {"age": 30}, "wrong": {"orders": "many"}}, at=timezone.now())

    n_left_out = assign_stored_customers(
        trained.kmeans, load(trained.kmeans, directory=settings.MODEL_DIR)
    )

    assert n_left_out == 2
    assert not Assignment.objects.filter(customer_id__in=["lacking", "wrong"]).exists()


def test_a_customer_erased_meanwhile_is_not_assigned(trained: TrainedModels) -> None:
    model = load(trained.kmeans, directory=settings.MODEL_DIR)
    prediction = model.clusters.predict(model.encoder.encode_records(trained.records[:2]))
    erased = trained.records[0]["customer_id"]
    Customer.objects.get(pk=erased).delete()

    write_assignments(
        trained.kmeans.pk, [record["customer_id"] for record in trained.records[:2]], [1, 1],
        prediction, SegmentLabels.of(trained.kmeans), at=timezone.now(),
    )  # fmt: skip

    assigned = Assignment.objects.filter(version=trained.kmeans)
    assert not assigned.filter(customer_id=erased).exists()
    assert assigned.filter(customer_id=trained.records[1]["customer_id"]).exists()


def test_labels_take_one_query_and_know_noise(
    trained: TrainedModels, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        labels = SegmentLabels.of(trained.dbscan)

    assert (labels.ids[-1], labels.names[-1]) == (None, None)
    assert set(labels.ids) - {-1} == set(trained.dbscan.segments.values_list("cluster", flat=True))


@pytest.mark.parametrize("change", [{"cluster": 0}, {"cluster": -1}])
def test_the_database_keeps_clusters_apart(trained: TrainedModels, change: dict[str, int]) -> None:
    other = make_version(parameters={"n_clusters": 2}).segments.first()
    assert other is not None

    with pytest.raises(IntegrityError), transaction.atomic():
        VersionSegment.objects.create(
            version=trained.kmeans, segment=other.segment, n_customers=1, share=0.1, **change
        )


def test_an_assignment_made_before_a_change_does_not_count(trained: TrainedModels) -> None:
    customer = Customer.objects.first()
    assert customer is not None
    Customer.objects.filter(pk=customer.pk).update(revision=2)

    assert [c.pk for c in unassigned(trained.kmeans)] == [customer.pk]


def test_an_assignment_from_an_older_revision_is_not_written_and_found_stale(
    trained: TrainedModels,
) -> None:
    model = load(trained.kmeans, directory=settings.MODEL_DIR)
    key = trained.records[0]["customer_id"]
    prediction = model.clusters.predict(model.encoder.encode_records(trained.records[:1]))
    before = Assignment.objects.get(version=trained.kmeans, customer=key)
    earlier = before.assigned_at - timedelta(hours=1)
    upsert_customers({key: {"total_spend": 90_000}}, at=earlier)  # began before, commits after

    write_assignments(
        trained.kmeans.pk, [key], [1], prediction,
        SegmentLabels.of(trained.kmeans), at=timezone.now(),
    )  # fmt: skip

    assert Assignment.objects.get(version=trained.kmeans, customer=key).assigned_at == (
        before.assigned_at
    )
    assert list(unassigned(trained.kmeans)) == [Customer.objects.get(pk=key)]
