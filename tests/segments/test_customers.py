"""Customers are stored by id, attributes merged, and nothing is rounded on the way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segments import customers
from segments.customers import chunked, encoded, upsert_customers, upsert_encoded
from segments.frames import reference_table
from segments.models import Customer

pytestmark = pytest.mark.django_db
NOW = timezone.now()
SECRET = "of-a-test"


def test_new_customers_are_created_and_known_ones_updated() -> None:
    assert upsert_customers({"a": {"x": 1}, "b": {"x": 2}}, at=NOW).n_created == 2

    later = NOW + timedelta(hours=1)
    after = upsert_customers({"c": {}, "b": {"y": "new"}}, at=later)

    assert (after.ids, after.revisions, after.n_created) == (["b", "c"], [2, 1], 1)
    assert after.attributes == [{"x": 2, "y": "new"}, {}]
    stored = {c.pk: (c.attributes, c.created_at, c.updated_at) for c in Customer.objects.all()}
    assert stored == {
        "a": ({"x": 1}, NOW, NOW),
        "b": ({"x": 2, "y": "new"}, NOW, later),
        "c": ({}, later, later),
    }


def test_attributes_that_are_not_named_stay() -> None:
    upsert_customers({"a": {"x": 1, "y": 2}}, at=NOW)

    upsert_customers({"a": {"y": None, "z": True}}, at=NOW)

    assert Customer.objects.get(pk="a").attributes == {"x": 1, "y": None, "z": True}


@pytest.mark.parametrize("as_text", [False, True])
def test_a_customer_who_stays_the_same_is_seen_again_and_not_changed(as_text: bool) -> None:
    same, other = {"y": None, "x": 1.0}, {"x": 1.5}
    upsert_customers({"a": {"x": 1.0, "y": None, "z": "\u00e9"}, "b": {"x": 1.0}}, at=NOW)
    later = NOW + timedelta(hours=1)

    if as_text:
        upsert_encoded({"a": encoded(same), "b": encoded(other)}, at=later)
    else:
        assert upsert_customers({"a": same, "b": other}, at=later).revisions == [1, 2]

    stored = {c.pk: (c.revision, c.updated_at) for c in Customer.objects.all()}
    assert stored == {"a": (1, later), "b": (2, later)}


def test_a_number_of_another_kind_is_a_change() -> None:
    upsert_customers({"a": {"x": 1}}, at=NOW)

    assert upsert_customers({"a": {"x": 1.0}}, at=NOW).revisions == [2]
    assert Customer.objects.get(pk="a").revision == 2


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(-1e15, 1e15)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), VALUES))
def test_what_was_sent_is_what_is_stored(attributes: dict[str, Any]) -> None:
    Customer.objects.all().delete()

    upsert_customers({"a": attributes}, at=NOW)

    stored = Customer.objects.get(pk="a").attributes
    assert stored == attributes
    assert {k: type(v) for k, v in stored.items()} == {k: type(v) for k, v in attributes.items()}


def test_many_chunks_store_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customers.chunked, "__defaults__", (7,))

    n_created = upsert_customers({f"c-{n}": {"n": n} for n in range(30)}, at=NOW).n_created

    assert n_created == Customer.objects.count() == 30
    assert [len(chunk) for chunk in chunked(list("abcdefgh"))] == [7, 1]


def test_the_statements_do_not_grow_with_the_customers(django_assert_num_queries: Any) -> None:
    for n in (1, 500):
        with django_assert_num_queries(4):  # a savepoint, a read and a write
            upsert_customers({f"c-{number}": {} for number in range(n)}, at=NOW)


def test_hostile_ids_are_stored_as_they_are() -> None:
    ids = ["' OR 1=1 --", "%s", "=1+1", "<b>", "\u00e9", "\U0001f600", "a\tb"]

    upsert_customers({key: {"key": key} for key in ids}, at=NOW)

    assert {c.pk: c.attributes["key"] for c in Customer.objects.all()} == {key: key for key in ids}


def test_the_table_for_training_has_a_row_a_customer_in_order_of_id() -> None:
    upsert_customers({"b": {"x": 2}, "a": {"x": 1, "y": "u"}, "c": {"y": None}}, at=NOW)

    frame = reference_table(None, secret=SECRET).frame

    assert list(frame.columns) == ["x", "y"]
    assert frame["x"].tolist()[:2] == [1, 2]
    assert frame["x"].isna().tolist() == [False, False, True]
    assert frame["y"].isna().tolist() == [False, True, True]


def test_without_customers_the_table_is_empty() -> None:
    assert len(reference_table(None, secret=SECRET).frame) == 0


def test_attributes_as_text_are_stored_and_merged_as_others_are() -> None:
    upsert_customers({"a": {"x": 1, "y": 2.5}, "b": {"x": 2}}, at=NOW)
    later = NOW + timedelta(hours=1)

    n_created = upsert_encoded({"c": '{"x":3}', "a": '{"y":null,"z":"\u00e9"}'}, at=later)

    assert n_created == 1
    stored = {c.pk: (c.attributes, c.revision, c.updated_at) for c in Customer.objects.all()}
    assert stored == {
        "a": ({"x": 1, "y": None, "z": "\u00e9"}, 2, later),
        "b": ({"x": 2}, 1, NOW),
        "c": ({"x": 3}, 1, later),
    }


def test_texts_are_stored_to_the_letter() -> None:
    attributes = {"n": 1.0, "whole": 2**53 + 1, "text": "O'Neil \u20ac"}

    upsert_encoded({"a": encoded(attributes)}, at=NOW)
    upsert_customers({"b": attributes}, at=NOW)

    texts = set(Customer.objects.values_list("attributes_json", flat=True))
    assert texts == {encoded(attributes)}
