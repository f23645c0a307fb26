"""A random sample of customers: bounded, the same again, spread, without the erased."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from segments import customer_sample
from segments.customer_sample import sample_customers
from segments.customers import upsert_customers
from segments.models import Customer


def stored(n: int) -> list[str]:
    """Ids of new customers, whose number the database knows."""
    ids = [f"c{i:05}" for i in range(n)]
    upsert_customers({key: {"place": i} for i, key in enumerate(ids)}, at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE segments_customer")
    return ids


def test_a_small_table_is_taken_whole(db: None) -> None:
    ids = stored(40)

    sample = sample_customers(50)

    assert sorted(sample.ids) == ids and sample.are_all
    assert dict(zip(sample.ids, sample.records, strict=True))["c00007"] == {"place": 7}


def test_a_larger_one_gives_the_same_spread_sample_each_time(db: None) -> None:
    stored(3000)

    with CaptureQueriesContext(connection) as queries:
        sample = sample_customers(100)

    places = [record["place"] for record in sample.records]
    assert len(queries) == 2
    assert len(set(sample.ids)) == len(places) == 100 and not sample.are_all
    assert sample_customers(100) == sample
    assert 1_100 < sum(places) / 100 < 1_900, "the middle of the table, give or take four errors"


def test_who_is_gone_is_not_drawn(db: None) -> None:
    ids = stored(300)
    Customer.objects.filter(pk__in=ids[::2]).delete()

    sample = sample_customers(100)

    assert len(sample.ids) >= 50
    assert not {*sample.ids} & {*ids[::2]}


def test_nobody_is_drawn_from_an_empty_table(db: None) -> None:
    assert sample_customers(10).ids == []


def test_a_table_that_held_many_more_is_still_sampled(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only PostgreSQL estimates; it may do so long after most of the customers are gone."""
    ids = stored(300)
    monkeypatch.setattr(customer_sample, "ESTIMATE", "SELECT 1000000.0, 100000")

    assert len(sample_customers(100).ids) == 100
    assert sorted(sample_customers(300).ids) == ids
