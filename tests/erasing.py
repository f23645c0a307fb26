"""Erasing customers in tests, and what everybody else is predicted."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from modelregistry.activation import load
from modelregistry.models import ModelVersion
from segments.erasure import erase, receipt_of
from segments.models import Customer
from tests.factories import BY


def erased(*ids: str) -> dict[str, Any]:
    return receipt_of(
        erase(
            ids,
            by=BY,
            directory=settings.MODEL_DIR,
            secret=settings.SECRET_KEY,
            elsewhere=settings.ERASED_ELSEWHERE,
        )
    )


def predictions() -> dict[tuple[str, str], tuple[Any, ...]]:
    """Cluster, status and distance of every stored customer under every trained version."""
    customers = list(Customer.objects.order_by("pk"))
    found = {}
    for version in ModelVersion.objects.trained():
        model = load(version, directory=settings.MODEL_DIR)
        raw = model.encoder.raw_from_records([each.attributes for each in customers], strict=False)
        made = model.clusters.predict(model.encoder.encode(raw))
        statuses = made.status or [""] * len(customers)
        for customer, *rest in zip(
            customers, made.labels.tolist(), statuses, made.distances.tolist(), strict=True
        ):
            found[str(version), customer.pk] = tuple(rest)
    return found
