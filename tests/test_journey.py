"""A day with the product, on the demo shop and on real tables, by commands and over the API.

SYSTEM_TABLES=all trains on each real table as it is. Every day the two large ones have their first
rows and a stated k: choosing it takes 1,500 rows and 20 seconds whatever the table.
"""

from __future__ import annotations

import json
import os
import shutil
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from modelregistry.activation import active_version
from segments.assignment import roll_back
from segments.demo_shop import write_demo_customers
from tests.expectations import problem_of
from tests.factories import BY

MODEL_TYPES = ("kmeans", "dbscan")
AS_IT_IS = os.environ.get("SYSTEM_TABLES") == "all"
N_FIRST_ROWS = 1_500
pytestmark = pytest.mark.django_db


def manage(*arguments: object) -> str:
    out = StringIO()
    call_command(*map(str, arguments), stdout=out)
    return out.getvalue()


def check_drift(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        manage("check_drift", "--no-email", *arguments)
    return int(end.value.code or 0)


def listed(api: Client, model_type: str) -> dict[str, Any]:
    """Every customer's row of `GET /segments`, over all pages."""
    rows: dict[str, Any] = {}
    url = f"/segments/{model_type}?limit=1000"
    while url:
        page = api.get(url).json()
        rows |= {row["customer_id"]: row for row in page["results"]}
        url = page["next"]
    return rows


def predicted(api: Client, model_type: str, records: list[dict[str, Any]]) -> list[Any]:
    response = api.post(
        f"/predict/{model_type}?store=false", json.dumps(records), content_type="application/json"
    )
    assert response.status_code == 200, response.content
    return response.json()["predictions"]


def as_records(path: Path, *, id_column: str | None, n_rows: int) -> list[dict[str, Any]]:
    """Rows as a client with pandas would send them: numbers as numbers, gaps as null."""
    frame = pd.read_csv(path)
    if id_column is None:
        ids = [str(number) for number in range(1, len(frame) + 1)]
    else:
        ids = pd.read_csv(path, dtype=str)[id_column].tolist()
        frame = frame.drop(columns=id_column)
    rows = json.loads(frame.to_json(orient="records"))
    return [{"customer_id": key, **row} for key, row in zip(ids, rows, strict=True)][:n_rows]


def agree(rows: list[Any], known: dict[str, Any]) -> None:
    for row in rows:
        stored = known[row["customer_id"]]
        assert row["segment"] == stored["segment"], row["customer_id"]
        assert row["segment_name"] == stored["segment_name"]
        assert row.get("status") == stored.get("status")
        assert row["distance"] == pytest.approx(stored["distance"], rel=1e-9, abs=1e-9)


def test_a_day_with_the_product(api: Client, tmp_path: Path) -> None:
    problem_of(api.get("/segments/kmeans"), status=503, code="no-active-version")
    path = tmp_path / "customers.csv"
    write_demo_customers(path, n_customers=240, random_state=4)

    assert "240 customers created" in manage("import_customers", path)
    manage("train_model", "kmeans", "--activate", "--reason", "the first")
    manage("train_model", "dbscan", "--param", "eps=2", "--param", "min_samples=8", "--activate")

    records = as_records(path, id_column="customer_id", n_rows=240)
    first = {model_type: listed(api, model_type) for model_type in MODEL_TYPES}
    for model_type in MODEL_TYPES:
        assert len(first[model_type]) == 240
        agree(predicted(api, model_type, records), first[model_type])

    manage("train_model", "kmeans", "--param", "k=3", "--note", "fewer")
    assert active_version("kmeans").number == 1, "a candidate does not serve"
    fewer = ("train_model", "kmeans", "--param", "k=3", "--activate")
    with pytest.raises(CommandError, match="would move to another segment; the limit is 30%"):
        manage(*fewer)
    assert active_version("kmeans").number == 1, "a breached gate stops it"
    manage(*fewer, "--force", "--reason", "fewer")
    second = listed(api, "kmeans")
    assert active_version("kmeans").number == 4
    assert len({row["segment"] for row in second.values()}) == 3
    agree(predicted(api, "kmeans", records), second)

    roll_back("kmeans", reason="worse", by=BY, at=timezone.now(), directory=settings.MODEL_DIR)
    again = listed(api, "kmeans")
    assert active_version("kmeans").number == 1
    assert {key: row["segment"] for key, row in again.items()} == {
        key: row["segment"] for key, row in first["kmeans"].items()
    }

    assert check_drift() == 0
    log = api.get("/audit/logs?limit=1000").json()["results"]
    actions = [row["action"] for row in log]
    for action, times in {
        "customers.imported": 1,
        "model_version.trained": 5,
        "model_version.activated": 4,  # one of them was refused
        "model_version.rolled_back_to": 1,
        "drift.checked": 2,
        "segments.predicted": 3,
    }.items():
        assert actions.count(action) == times, action


@pytest.mark.parametrize(
    ("name", "id_column", "k"),
    [
        ("mall_customers.csv", "CustomerID", None),
        ("marketing_campaign.csv", "ID", 4),
        ("online_shoppers.csv", None, 6),
    ],
)
def test_a_real_table_is_imported_trained_and_served(
    api: Client, shared_data: Path, tmp_path: Path, name: str, id_column: str | None, k: int | None
) -> None:
    path = tmp_path / name
    stated: list[str] = []
    if AS_IT_IS or k is None:
        shutil.copy(shared_data / name, path)
    else:
        with (shared_data / name).open() as table:
            path.write_text("".join(islice(table, 1 + N_FIRST_ROWS)))
        stated = ["--param", f"k={k}"]

    manage("import_customers", path, *(["--id", id_column] if id_column else []))
    manage("train_model", "kmeans", *stated, "--activate", "--force", "--reason", "test")
    manage("train_model", "dbscan", "--activate", "--force", "--reason", "test")

    records = as_records(path, id_column=id_column, n_rows=10)
    n_customers = len(pd.read_csv(path))
    for model_type in MODEL_TYPES:
        known = listed(api, model_type)
        assert len(known) == n_customers
        agree(predicted(api, model_type, records), known)
        assert api.get(f"/model/status/{model_type}").status_code == 200
    assert len({row["segment"] for row in listed(api, "kmeans").values()}) >= 2
