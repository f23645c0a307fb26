"""Alive says that the process answers; ready says that it could serve a prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from monitoring import health
from tests.factories import TrainedModels


def test_alive_needs_no_database(client: Client) -> None:
    response = client.get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "alive"})


def test_ready_names_each_check(trained: TrainedModels, client: Client) -> None:
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "checks": {"database": "ok", "migrations": "ok", "artifacts": "ok", "disk": "ok"},
    }


def test_a_server_without_models_is_ready_for_its_first(db: None, client: Client) -> None:
    assert client.get("/readyz").status_code == 200


def test_a_missing_artifact_is_not_ready(
    trained: TrainedModels, client: Client, settings: Any, tmp_path: Path
) -> None:
    settings.MODEL_DIR = tmp_path

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["checks"]["artifacts"].startswith(("dbscan 1: ", "kmeans 1: "))
    assert response.json()["checks"]["database"] == "ok"


def test_a_migration_to_apply_is_not_ready(db: None, client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'monitoring'")

    response = client.get("/readyz")

    assert response.status_code == 503
    assert "to apply" in response.json()["checks"]["migrations"]


def test_a_full_disk_is_not_ready(
    db: None, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "MIN_FREE_SHARE", 1.1)

    response = client.get("/readyz")

    assert (response.status_code, response.json()["checks"]["disk"]) == (503, "nearly full")
