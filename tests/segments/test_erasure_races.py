"""Erasures beside other erasures, predictions and assignings. SQLite has one writer at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.test import Client

from modelregistry import artifacts
from modelregistry.activation import artifact_of, load
from modelregistry.models import ModelVersion
from segments import assignment
from segments.assignment import assign_stored_customers
from segments.models import Assignment, Customer, Erasure
from tests.erasing import erased
from tests.factories import TrainedModels

pytestmark = pytest.mark.services("DATABASE_URL")


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """What each returned, run in a thread of its own."""
    ready = threading.Barrier(len(acts))
    results: list[Any] = [None] * len(acts)

    def run(place: int) -> None:
        try:
            ready.wait(10)
            results[place] = acts[place]()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def deletion(client: Client, customer_id: str) -> Callable[[], int]:
    return lambda: client.delete(f"/customers/{customer_id}").status_code


def test_of_two_erasures_of_one_customer_one_is_told(
    transactional_db: None, trained: TrainedModels, api: Client
) -> None:
    customer_id = trained.records[5]["customer_id"]

    statuses = at_once(*[deletion(api, customer_id)] * 3)

    assert sorted(statuses) == [200, 404, 404]
    assert Erasure.objects.count() == 1


def test_erasures_at_once_take_all_core_samples(
    transactional_db: None, trained: TrainedModels, api: Client
) -> None:
    gone = trained.records[5:8]
    before = load(trained.dbscan, directory=settings.MODEL_DIR)
    vectors = before.encoder.encode_records(gone)

    statuses = at_once(*(deletion(api, each["customer_id"]) for each in gone))

    for each, status in zip(gone, statuses, strict=True):
        if status == 409:  # overtaken each time
            erased(each["customer_id"])
    now = artifacts.read(
        artifact_of(ModelVersion.objects.get(pk=trained.dbscan.pk)), directory=settings.MODEL_DIR
    )
    assert set(statuses) <= {200, 409}
    cores = now.clusters.core_samples  # type: ignore[union-attr]  # of DBSCAN
    assert not any((cores == vector).all(axis=1).any() for vector in vectors)
    assert not (settings.MODEL_DIR / trained.dbscan.artifact).exists()


def test_predictions_go_on_while_customers_are_erased(
    transactional_db: None, trained: TrainedModels, api: Client
) -> None:
    body = json.dumps(trained.records[100:110])
    done = threading.Event()

    def predict() -> set[int]:
        statuses = set()
        while not done.is_set():
            answer = api.post("/predict/dbscan", body, content_type="application/json")
            statuses.add(answer.status_code)
        return statuses

    def erase_some() -> None:
        try:
            for each in trained.records[5:10]:
                erased(each["customer_id"])
        finally:
            done.set()

    statuses, _ = at_once(predict, erase_some)

    assert statuses == {200}
    assert Customer.objects.count() == 295


def test_an_assigning_under_way_brings_nobody_back(
    transactional_db: None, trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer_id = trained.records[5]["customer_id"]
    Assignment.objects.filter(version=trained.kmeans).delete()
    model = load(trained.kmeans, directory=settings.MODEL_DIR)

    def erase_first(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.undo()
        at_once(lambda: erased(customer_id))
        return written(*args, **kwargs)

    written = assignment.write_assignments
    monkeypatch.setattr(assignment, "write_assignments", erase_first)
    assign_stored_customers(trained.kmeans, model)

    assert Assignment.objects.filter(version=trained.kmeans).count() == 299
    assert not Customer.objects.filter(pk=customer_id).exists()
