"""Rules that JSON Schema has no words for, applied to what Schemathesis takes for valid.

Ids are told apart within a request, a cursor comes from a page before, a silence ends in the
coming year, and a training names what there is. Invalid requests are sent as they were made.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis

MOST_EXPLAINED = 1_000
RECORD: dict[str, Any] = {
    "signed_up_on": "2024-05-02",
    "age": 41,
    "recency_days": 12,
    "orders": 18,
    "total_spend": 1450.0,
    "average_basket": 80.5,
    "returns_share": 0.05,
    "discount_share": 0.1,
    "newsletter": True,
    "channel": "web",
    "region": "North",
}
PARAMETERS = {
    "kmeans": {"n_clusters", "n_init", "random_state"},
    "dbscan": {"eps", "min_samples", "random_state"},
}
numbers = itertools.count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    operation = case.operation.definition.raw["operationId"]
    case.query.pop("cursor", None)
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = f"{next(numbers)}-{case.id}"
    if operation == "segment_changes":
        case.query.pop("since", None)
    elif operation == "silence_alert":
        case.body["until"] = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    elif operation == "train" and isinstance(case.body, dict):
        name_what_there_is(case.body, case.path_parameters["model_type"])
    elif isinstance(case.body, list):
        case.body = [dict(record) for record in case.body]  # one object may stand for several
        tell_apart(case.body)
        if operation == "monitor_drift":
            case.body[0] = RECORD | case.body[0]
        elif len(case.body) > MOST_EXPLAINED:
            case.query.pop("explain", None)


def name_what_there_is(body: dict[str, Any], model_type: str) -> None:
    if "parameters" in body:
        known = PARAMETERS[model_type]
        body["parameters"] = {n: v for n, v in body["parameters"].items() if n in known}
    if body.get("features"):
        body["features"] = list(RECORD)[: len(body["features"])]


def tell_apart(records: list[dict[str, Any]]) -> None:
    seen = set()
    for place, record in enumerate(records):
        name = record.get("customer_id")
        if name is not None and name in seen:
            name = record["customer_id"] = f"{name[:190]}{place}"
        seen.add(name)
