"""Who is compared: windows, files and bodies, read as a stream, and fair samples of very many."""

from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.utils import timezone

from ml.unreadable import unreadable_values
from modelregistry import activation
from modelregistry.artifacts import TrainedModel
from monitoring.current_customers import (
    NOBODY,
    Batch,
    Customers,
    digests_of,
    of_records,
    of_stored,
    of_table,
    read,
    window_start,
)
from monitoring.models import DriftReport, Source
from segments.customers import upsert_customers
from segments.models import Customer
from segments.tables import open_table
from tests.factories import TrainedModels, make_records

KEY = b"a key of these tests"
NOW = timezone.now()
DAY = timedelta(days=1)


@pytest.fixture
def model(trained: TrainedModels) -> TrainedModel:
    return activation.load(trained.kmeans, directory=settings.MODEL_DIR)


def numbered(n: int, *, size: int = 1_000, name: str = "c{}") -> Customers:
    """Customers whose number of orders is their own number, so that one can tell who is who."""

    def batches() -> Iterable[Batch]:
        for start in range(0, n, size):
            numbers = range(start, min(start + size, n))
            yield Batch(list(map(name.format, numbers)), numbers, lambda each: {"orders": each})

    return Customers(Source.FILE, batches)


def make_report(
    version: Any, *, source: str = "stored", verdict: str = "ok", hours_ago: float
) -> None:
    DriftReport.objects.create(
        model_type="kmeans", version=version, verdict=verdict, summary="", source=source,
        n_reference=300, n_seen=1, n_current=1, threshold=0.05, report={},
        created_at=NOW - timedelta(hours=hours_ago), created_by="tests",
    )  # fmt: skip


def test_all_are_read_where_they_are_few(model: TrainedModel) -> None:
    records = make_records(n_customers=50, random_state=3)

    current = read(of_records(records), model.encoder, key=KEY)

    order = np.argsort(digests_of([each["customer_id"] for each in records], key=KEY))
    expected = model.encoder.raw_from_records([records[row] for row in order], strict=False)
    assert (current.n_seen, current.n_customers, current.unreadable) == (50, 50, {})
    for name, values in expected.items():
        np.testing.assert_array_equal(current.raw[name], values)


def test_a_sample_has_no_more_than_its_limit_and_knows_how_many_there_were(
    model: TrainedModel,
) -> None:
    current = read(numbered(10_500), model.encoder, key=KEY, limit=400)

    assert (current.n_seen, current.n_customers) == (10_500, 400)
    assert len(set(current.raw["orders"])) == 400


def test_the_sample_is_the_same_in_whatever_order_and_pieces_customers_come(
    model: TrainedModel,
) -> None:
    def backwards() -> Iterable[Batch]:
        for batch in reversed(list(numbered(5_000, size=999).batches())):
            yield replace(batch, ids=batch.ids[::-1], rows=batch.rows[::-1])

    one = read(numbered(5_000), model.encoder, key=KEY, limit=300)
    other = read(Customers(Source.FILE, backwards), model.encoder, key=KEY, limit=300)

    np.testing.assert_array_equal(one.digests, other.digests)
    np.testing.assert_array_equal(one.raw["orders"], other.raw["orders"])


def test_every_customer_is_as_likely_to_be_sampled(model: TrainedModel) -> None:
    counts = np.zeros(2_000)

    for number in range(60):
        sample = read(numbered(2_000), model.encoder, key=bytes([number]), limit=200)
        counts[sample.raw["orders"].astype(int)] += 1

    # Binomial, 60 draws of one tenth: 2.3 sd around 6; chi-squared over 20 stretches of ids.
    stretches = counts.reshape(20, 100).sum(axis=1)
    assert ((stretches - 600) ** 2 / 540).sum() < 45.3  # 99.9 % quantile with 19 degrees
    assert 0 < (counts == 0).sum() < 20


def test_values_of_another_type_are_counted_among_those_compared_alone(
    model: TrainedModel,
) -> None:
    def batches() -> Iterable[Batch]:
        ids = [f"c{number}" for number in range(3_000)]
        yield Batch(ids, range(3_000), lambda each: {"orders": "many" if each % 3 else each})

    current = read(Customers(Source.FILE, batches), model.encoder, key=KEY, limit=500)

    assert current.unreadable == {"orders": int(np.isnan(current.raw["orders"]).sum())}
    assert 250 < current.unreadable["orders"] < 420


def test_what_is_unreadable_is_what_the_engine_calls_so(model: TrainedModel) -> None:
    records = make_records(n_customers=60, random_state=3)
    records = [
        {**record, "orders": None} if n % 4 == 0 else {**record, "channel": n}
        for n, record in enumerate(records)
    ]

    current = read(of_records(records), model.encoder, key=KEY)

    raw = model.encoder.raw_from_records(records, strict=False)
    assert current.unreadable == unreadable_values(model.encoder.schema, records, raw)
    assert current.unreadable == {"channel": 45}


def test_nobody_is_an_answer(model: TrainedModel) -> None:
    current = read(of_records([]), model.encoder, key=KEY)

    assert (current.n_seen, current.n_customers) == (0, 0)
    assert all(values.shape == (0,) for values in current.raw.values())


def test_who_is_sent_without_an_id_is_compared_and_has_no_digest(model: TrainedModel) -> None:
    records = make_records(n_customers=5, random_state=3)
    for record in records[:2]:
        del record["customer_id"]

    current = read(of_records(records), model.encoder, key=KEY)

    assert current.n_customers == 5
    assert (current.digests == NOBODY).sum() == 2


def test_a_digest_needs_its_key() -> None:
    ids = ["a", "b", "ümläut", "x" * 200]

    assert len(set(digests_of(ids, key=KEY))) == 4
    np.testing.assert_array_equal(digests_of(ids, key=KEY), digests_of(iter(ids), key=KEY))
    assert not set(digests_of(ids, key=KEY)) & set(digests_of(ids, key=b"another"))


def test_stored_customers_are_those_of_the_window(
    trained: TrainedModels, model: TrainedModel
) -> None:
    Customer.objects.update(updated_at=NOW - 3 * DAY)
    upsert_customers({"new": {"orders": 7}, "old": {"orders": 8}}, at=NOW - DAY / 2)
    Customer.objects.filter(pk="old").update(updated_at=NOW - 2 * DAY)

    current = read(of_stored(NOW - DAY), model.encoder, key=KEY)

    assert current.raw["orders"].tolist() == [7.0]
    assert read(of_stored(NOW - 4 * DAY), model.encoder, key=KEY).n_seen == 302


def test_a_window_reaches_back_an_interval_or_to_the_last_check(trained: TrainedModels) -> None:
    def start() -> float:
        since = window_start(trained.kmeans, at=NOW, interval=DAY)
        return (NOW - since) / timedelta(hours=1)

    assert start() == 24
    make_report(trained.kmeans, hours_ago=90)
    make_report(trained.kmeans, hours_ago=50, source="file")
    make_report(trained.kmeans, hours_ago=45, source="chosen")
    make_report(trained.kmeans, hours_ago=44, verdict="insufficient_data")
    make_report(trained.dbscan, hours_ago=40)
    assert start() == 90
    make_report(trained.kmeans, hours_ago=30)
    assert start() == 30
    make_report(trained.kmeans, hours_ago=1)
    assert start() == 24


def test_a_long_file_is_read_in_bounded_memory(model: TrainedModel, tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    records = make_records(n_customers=500, random_state=3)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]))
        writer.writeheader()
        for n in range(60):
            writer.writerows(
                {**each, "customer_id": f"{n}-{each['customer_id']}"} for each in records
            )
    table = open_table(path)

    tracemalloc.start()
    current = read(of_table(table), model.encoder, key=KEY, limit=1_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (current.n_seen, current.n_customers) == (30_000, 1_000)
    assert peak < 40_000_000  # 30,000 records as dicts take 60 MB
