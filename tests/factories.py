"""Builders for tests: keyword-only, small, and by the product's own functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.test import Client
from django.utils import timezone

from access import last_use
from access.keys import create_key
from access.models import ApiKey
from audit.trail import Actor
from modelregistry.models import ModelVersion
from modelregistry.training import TrainingRequest
from segments.assignment import activate
from segments.customers import upsert_customers
from segments.demo_shop import demo_customers
from segments.jobs import train_now
from tests.fitted_once import fitted_once

BY = Actor.system("tests")
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "kmeans": {"n_clusters": 4},
    "dbscan": {"eps": 2.0, "min_samples": 8},
}


@dataclass(frozen=True)
class TrainedModels:
    """`records` are the stored customers as a client would send them, `customer_id` included."""

    records: list[dict[str, Any]]
    kmeans: ModelVersion
    dbscan: ModelVersion


def make_records(*, n_customers: int = 300, random_state: int = 1) -> list[dict[str, Any]]:
    return demo_customers(n_customers, random_state)


def make_customers(*, n_customers: int = 300, random_state: int = 1) -> list[dict[str, Any]]:
    """Store invented customers; returns their records."""
    records = make_records(n_customers=n_customers, random_state=random_state)
    rows = {
        record["customer_id"]: {k: v for k, v in record.items() if k != "customer_id"}
        for record in records
    }
    upsert_customers(rows, at=timezone.now())
    return records


def make_version(
    *,
    model_type: str = "kmeans",
    parameters: Mapping[str, Any] | None = None,
    features: Sequence[str] | None = None,
    active: bool = False,
) -> ModelVersion:
    """Train a version on the stored customers."""
    with fitted_once():
        version = train_now(
            TrainingRequest(model_type, parameters or PARAMETERS[model_type], features),
            directory=settings.MODEL_DIR,
            by=BY,
            on_progress=lambda share, step: None,
        )
    if active:
        make_active(version=version)
    return version


def make_active(*, version: ModelVersion, reason: str = "test") -> None:
    activate(
        version,
        reason=reason,
        by=BY,
        at=timezone.now(),
        directory=settings.MODEL_DIR,
        force=True,
    )


def make_trained_models(*, n_customers: int = 300) -> TrainedModels:
    records = make_customers(n_customers=n_customers)
    return TrainedModels(
        records=records,
        kmeans=make_version(model_type="kmeans", active=True),
        dbscan=make_version(model_type="dbscan", active=True),
    )


def make_key(
    *, scopes: Sequence[str], expires_at: datetime | None = None, **fields: Any
) -> tuple[ApiKey, str]:
    key, secret = create_key(name="tests", scopes=scopes, by=BY, **fields)
    if expires_at is not None:  # possibly past, which no key is issued with
        ApiKey.objects.filter(pk=key.pk).update(expiry_date=expires_at)
    return key, secret


def make_client(*, scopes: Sequence[str]) -> Client:
    """An HTTP client with a key whose use is written already, so its requests write none."""
    key, secret = make_key(scopes=scopes)
    last_use.note_use(key.prefix)
    last_use.write_noted()
    return Client(headers={"X-API-Key": secret})
