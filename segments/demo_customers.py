"""The demo shop's customers as an installation stores them, and whether they are all there is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from segments.demo_shop import write_demo_customers
from segments.models import Customer
from segments.tables import open_table

ID_COLUMN = "customer_id"
N_DEMO_CUSTOMERS = 2_000
DEMO_SEED = 20_260_101


def write_demo_file(path: Path) -> None:
    """The same table on every installation."""
    write_demo_customers(path, n_customers=N_DEMO_CUSTOMERS, random_state=DEMO_SEED)


def only_demo_customers_are_stored() -> bool:
    """Whether the table holds exactly the demo shop: nobody added, changed or erased."""
    if Customer.objects.count() != N_DEMO_CUSTOMERS:
        return False
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "demo_customers.csv"
        write_demo_file(path)
        batches = open_table(path, id_column=ID_COLUMN).batches()
        demo = {key: dict(attributes) for batch in batches for key, attributes in batch}
    stored = Customer.objects.values_list("customer_id", "attributes_json").iterator()
    return all(demo.get(key) == msgspec.json.decode(text) for key, text in stored)
