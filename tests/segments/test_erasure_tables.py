"""Customers of real tables, whose zeros, whole numbers and lone values are cut as they come."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from segments.erasure_plan import plan_erasure
from segments.importing import import_customers
from segments.models import Customer
from tests.factories import BY, make_version


@pytest.mark.parametrize(
    ("table", "every", "of_old"),
    [("mall_customers", 20, []), ("marketing_campaign", 112, ["1890", "2579", "10022"])],
)
def test_anybody_can_be_erased(
    db: None, shared_data: Path, table: str, every: int, of_old: list[str]
) -> None:
    import_customers(shared_data / f"{table}.csv", by=BY)
    make_version()
    make_version(model_type="dbscan", parameters={"eps": 2.0, "min_samples": 5})
    customers = list(Customer.objects.order_by("pk"))
    chosen = [*customers[::every], *Customer.objects.filter(pk__in=of_old)]
    assert len(chosen) == 1 + (len(customers) - 1) // every + len(of_old)

    for customer in chosen:
        plan = plan_erasure([customer], directory=settings.MODEL_DIR, secret=settings.SECRET_KEY)
        plan.discard()
