"""Everybody is assigned as predict would say; changed customers anew, erased ones not at all."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from ml.clusterers import Prediction
from modelregistry.activation import load, newest_candidates
from modelregistry.models import ModelVersion, Stage
from segments import assignment
from segments.assignment import (
    SegmentLabels,
    assign_stored_customers,
    assign_to_current_versions,
    unassigned,
    write_assignments,
)
from segments.customers import upsert_customers
from segments.models import Assignment, Customer, VersionSegment
from tests.factories import TrainedModels, make_active, make_customers, make_version

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

    assign_to_current_versions(directory=settings.MODEL_DIR)

    after = dict(
        Assignment.objects.filter(version=trained.kmeans).values_list("customer_id", "assigned_at")
    )
    assert {key for key in after if after[key] != before[key]} == {record["customer_id"]}
    assert not unassigned(trained.kmeans).exists()
    assert not unassigned(trained.dbscan).exists()


def test_it_says_how_many_could_not_be_assigned(trained: TrainedModels) -> None:
    assert assign_to_current_versions(directory=settings.MODEL_DIR) == []
    upsert_customers({"new": {}, "newer": {}}, at=timezone.now())

    told = assign_to_current_versions(directory=settings.MODEL_DIR)

    lacking = "since they lack a value that it needs: 2."
    assert sorted(told) == [
        f"Customers not assigned by {version}, {lacking}"
        for version in (trained.dbscan, trained.kmeans)
    ]


def test_the_newest_candidate_knows_changed_customers_too(trained: TrainedModels) -> None:
    older, newest = make_version(), make_version()
    key = trained.records[0]["customer_id"]
    upsert_customers({key: {"total_spend": 90_000}, "new": {}}, at=timezone.now())
    Customer.objects.filter(pk="new").update(
        attributes_json=Customer.objects.get(pk=key).attributes_json
    )

    assign_to_current_versions(directory=settings.MODEL_DIR)

    for version in (trained.kmeans, trained.dbscan, newest):
        assert not unassigned(version).exists()
    assert {customer.pk for customer in unassigned(older)} == {key, "new"}


@pytest.mark.parametrize("rolled_back", [False, True])
def test_versions_that_served_are_no_candidates(trained: TrainedModels, rolled_back: bool) -> None:
    overtaken, second = make_version(), make_version(active=True)
    if rolled_back:  # then one that never served is newer than the active, and 3 no longer serves
        make_active(version=trained.kmeans)

    assert newest_candidates() == ([overtaken] if rolled_back else [])
    assert second.number == 3


def test_half_made_versions_are_no_candidates(trained: TrainedModels) -> None:
    half = make_version()
    ModelVersion.objects.filter(pk=half.pk).update(stage=Stage.TRAINING)

    assert newest_candidates() == []


def test_a_type_that_does_not_serve_yet_has_a_candidate(db: None) -> None:
    make_customers()
    version = make_version()

    assert newest_candidates() == [version]


def test_a_damaged_candidate_keeps_nobody_from_the_versions_that_serve(
    trained: TrainedModels,
) -> None:
    candidate = make_version()
    (Path(settings.MODEL_DIR) / candidate.artifact).write_bytes(b"damaged")
    key = trained.records[0]["customer_id"]
    upsert_customers({key: {"total_spend": 90_000}}, at=timezone.now())

    assign_to_current_versions(directory=settings.MODEL_DIR)

    assert not unassigned(trained.kmeans).exists()
    assert [customer.pk for customer in unassigned(candidate)] == [key]


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


ODD_IDS = ["'", '"', "\\", "{a,b}", "NULL", "%s", " ", "Ωmega 🙂", "e\u0301", "é", "x" * 200]


@pytest.mark.parametrize("n_noise", [0, 1, len(ODD_IDS)])
def test_odd_ids_infinite_distances_and_noise_are_written_as_given(
    trained: TrainedModels, n_noise: int
) -> None:
    upsert_customers({key: {"orders": 1} for key in ODD_IDS}, at=timezone.now())
    n = len(ODD_IDS)
    labels = SegmentLabels.of(trained.dbscan)
    clusters = np.where(np.arange(n) < n_noise, -1, 0)
    distances = np.where(np.arange(n) % 2, np.inf, np.pi + np.arange(n))
    prediction = Prediction(clusters, distances, np.arange(n) >= n_noise)
    assert prediction.status is not None
    at = timezone.now()

    for _ in ("inserted", "updated"):
        write_assignments(trained.dbscan.pk, ODD_IDS, [1] * n, prediction, labels, at=at)

        stored = Assignment.objects.filter(version=trained.dbscan).in_bulk(
            [(trained.dbscan.pk, key) for key in ODD_IDS]
        )
        rows = [stored[trained.dbscan.pk, key] for key in ODD_IDS]
        assert [row.segment_id for row in rows] == [labels.ids[c] for c in clusters.tolist()]
        assert [row.distance for row in rows] == distances.tolist()
        assert [row.status for row in rows] == prediction.status
        assert {(row.assigned_at, row.customer_revision) for row in rows} == {(at, 1)}


def test_an_assignment_is_written_over_in_every_column(trained: TrainedModels) -> None:
    key = trained.records[0]["customer_id"]
    labels = SegmentLabels.of(trained.dbscan)
    noise = Prediction(np.array([-1]), np.array([np.inf]), np.array([False]))
    upsert_customers({key: {"orders": 500}}, at=timezone.now())
    at = timezone.now()

    write_assignments(trained.dbscan.pk, [key], [2], noise, labels, at=at)

    row = Assignment.objects.get(version=trained.dbscan, customer=key)
    assert (row.segment_id, row.distance, row.status) == (None, np.inf, "noise")
    assert (row.assigned_at, row.customer_revision) == (at, 2)


def test_nobody_is_assigned_in_silence(trained: TrainedModels) -> None:
    before = Assignment.objects.count()
    nobody = Prediction(np.empty(0, np.int64), np.empty(0), np.empty(0, bool))

    write_assignments(
        trained.dbscan.pk, [], [], nobody, SegmentLabels.of(trained.dbscan), at=timezone.now()
    )

    assert Assignment.objects.count() == before


@pytest.mark.services("DATABASE_URL")  # SQLite has one writer at a time
@pytest.mark.django_db(transaction=True)
def test_who_is_being_assigned_is_locked_until_the_commit() -> None:
    key = make_customers()[0]["customer_id"]
    version = make_version()
    prediction = Prediction(np.array([0]), np.array([0.5]))
    elsewhere = connection.copy()
    locking = f"SELECT 1 FROM {Customer._meta.db_table} WHERE customer_id = %s FOR UPDATE NOWAIT"

    try:
        with transaction.atomic(), elsewhere.cursor() as cursor:
            cursor.execute(locking, [key])
            write_assignments(
                version.pk, [key], [1], prediction, SegmentLabels.of(version), at=timezone.now()
            )
            with pytest.raises(OperationalError, match="could not obtain lock"):
                cursor.execute(locking, [key])
    finally:
        elsewhere.close()


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
