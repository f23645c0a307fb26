"""What the train form knows of each attribute: by the rules of training, from a bounded sample."""

from __future__ import annotations

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ml.features import Kind
from ml.schema_learning import REASON_CONSTANT, REASON_ID, REASON_MIXED
from segments.attribute_facts import AttributeFacts, known_facts
from segments.customers import known_attributes, upsert_customers
from tests.factories import TrainedModels


def facts_of(*names: str) -> dict[str, AttributeFacts]:
    known = known_facts(list(names), at=timezone.now().date())
    return {each.name: each for each in known.attributes}


def test_attributes_are_judged_as_a_training_would(db: None) -> None:
    rows = {
        f"c{i:03}": {
            "spend": i if i % 4 else None,
            "shop": "web" if i % 3 else "store",
            "unit": 7,
            "card_no": 1000 + i,
            "mixed": i if i % 2 else "x",
            "free": f"note {i}",
        }
        for i in range(100)
    }
    upsert_customers(rows, at=timezone.now())

    facts = facts_of("spend", "shop", "unit", "card_no", "mixed", "free", "nowhere")

    spend, shop = facts["spend"], facts["shop"]
    assert (spend.kind, spend.low, spend.high) == (Kind.NUMBER, 1.0, 99.0)
    assert (spend.missing_share, spend.n_distinct, spend.left_out) == (0.25, 75, "")
    assert (shop.kind, shop.levels) == (Kind.CATEGORY, ("web", "store"))
    assert facts["unit"].left_out == REASON_CONSTANT
    assert facts["card_no"].left_out == REASON_ID
    assert facts["mixed"].left_out == REASON_MIXED
    assert facts["free"].left_out and facts["free"].levels == (), "no text of a single customer"
    assert facts["nowhere"].missing_share == 1.0 and facts["nowhere"].left_out


def test_what_a_training_of_all_customers_found_counts_more_than_a_sample(
    trained: TrainedModels,
) -> None:
    omitted = {item["name"]: item["reason"] for item in trained.dbscan.schema["omitted"]}
    assert omitted
    trained.dbscan.schema["omitted"][0]["reason"] = "by a reason of its own"
    trained.dbscan.save()

    with CaptureQueriesContext(connection) as queries:
        known = known_facts(known_attributes(), at=timezone.now().date())

    facts = {each.name: each for each in known.attributes}
    assert facts[next(iter(omitted))].left_out == "by a reason of its own"
    assert known.version == trained.dbscan
    assert len(queries) == 4
