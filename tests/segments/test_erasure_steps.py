"""An erasure with real transactions: no trace is left, and no half of it by a kill or a race."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from audit.models import AuditEntry
from modelregistry import artifacts
from modelregistry.activation import artifact_of, load
from modelregistry.models import ModelVersion
from monitoring.drift_check import CheckTerms, check_drift
from segments import erasure
from segments.customer_digests import owner_digests
from segments.customers import encoded, upsert_customers
from segments.erasure import finish_erasures
from segments.models import Customer, Erasure
from tests.erasing import erased, predictions
from tests.factories import (
    BY,
    TrainedModels,
    make_customers,
    make_version,
)

ID = "Zöe/Quist %41"
SPENT, TEXT = 987654.321, "Zanzibar-Q"
STRANGE = {"total_spend": SPENT, "region": TEXT}
"""Nobody else has these: the largest value of its column, and a level of one customer."""


def make_stranger(**attributes: Any) -> dict[str, Any]:
    """Store 300 customers and one who is like the first, but for some attributes."""
    records = make_customers()
    stranger = {**records[0], **attributes}
    del stranger["customer_id"]
    upsert_customers({ID: stranger}, at=timezone.now())
    return stranger


def forms_of(value: float) -> list[bytes]:
    packed = [struct.pack(form, value) for form in ("<d", "<f", ">d", ">f")]
    return [str(value).encode(), f"{value:,}".encode(), *packed]


def everything_stored() -> bytes:
    """All rows of all tables, and all artifacts."""
    rows = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            rows += [repr(tuple(map(shown, row))).encode() for row in cursor.fetchall()]
    return b"\n".join([*rows, artifact_bytes()])


def artifact_bytes() -> bytes:
    return b"".join(path.read_bytes() for path in settings.MODEL_DIR.glob("*.safetensors"))


def shown(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value


@pytest.fixture
def own_models(settings: Any, tmp_path: Path) -> Path:
    """A directory of artifacts for this test alone."""
    settings.MODEL_DIR = tmp_path
    return tmp_path


def test_no_trace_is_left_and_nobody_else_is_predicted_otherwise(
    transactional_db: None, own_models: Path
) -> None:
    stranger = make_stranger(**STRANGE)
    versions = [
        make_version(active=True),
        make_version(model_type="dbscan", parameters={"eps": 8.0, "min_samples": 4}, active=True),
    ]
    core = load(versions[1], directory=own_models)
    vector = core.encoder.encode_records([stranger])
    for model_type in ("kmeans", "dbscan"):
        check_drift(model_type, terms=CheckTerms.of(settings), by=BY, at=timezone.now())
    before, stored = predictions_of_others(), everything_stored()
    assert (core.clusters.core_samples == vector).all(axis=1).any()  # type: ignore[union-attr]
    marks = [ID.encode(), TEXT.encode(), *forms_of(SPENT), vector.tobytes()]
    assert all(mark in stored for mark in marks[:3])

    receipt = erased(ID)

    left = everything_stored()
    assert [mark for mark in marks if mark in left] == []
    assert encoded(stranger).encode() not in left
    after = predictions_of_others()
    assert {key: value[:2] for key, value in after.items()} == {
        key: value[:2] for key, value in before.items()
    }
    n_moved = sum(before[key] != after[key] for key in before)
    by_type = {each["model_type"]: each for each in receipt["versions"]}
    assert by_type["dbscan"]["core_samples_removed"] == 1
    assert by_type["dbscan"]["distances_changed"] == n_moved
    assert by_type["dbscan"]["predictions_rechecked"] == 300
    assert by_type["dbscan"]["segments_changed"] == 0
    assert receipt["erased"]["customers"] == 1
    assert receipt["erased"]["drift_inputs"] == 2
    assert receipt["finished_at"] is not None
    now = {str(each): each for each in ModelVersion.objects.all()}
    for version, each in zip(versions, (by_type["kmeans"], by_type["dbscan"]), strict=True):
        assert each["sha256_before"] == version.artifact_sha256
        assert each["sha256_after"] == now[str(version)].artifact_sha256
        assert not (own_models / version.artifact).exists()
        artifacts.read(artifact_of(now[str(version)]), directory=own_models)


@pytest.mark.parametrize("changed_by", ["/customers", "/predict/dbscan"])
def test_a_core_sample_is_found_though_its_customer_changed(
    transactional_db: None, own_models: Path, api: Client, changed_by: str
) -> None:
    stranger = make_stranger(**STRANGE, age=43.21)
    version = make_version(
        model_type="dbscan", parameters={"eps": 8.0, "min_samples": 4}, active=True
    )
    model = load(version, directory=own_models)
    (vector,) = model.encoder.encode_records([stranger])
    digest = owner_digests([ID], secret=settings.SECRET_KEY).tobytes()
    new = stranger | {"customer_id": ID, "total_spend": 12.5, "age": 30, "region": None}
    changed = api.post(changed_by, [new], content_type="application/json")
    before, stored = predictions_of_others(), artifact_bytes()
    of_others = model.encoder.encode_records(
        [each.attributes for each in Customer.objects.exclude(pk=ID)]
    )
    own_values = [value for value in vector if value not in of_others]
    marks = [digest, vector.tobytes(), *(struct.pack("<d", value) for value in own_values)]
    assert changed.status_code == 200 and len(own_values) > 1
    assert all(mark in stored for mark in marks)

    receipt = api.delete(f"/customers/{quote(ID, safe='')}").json()

    left = artifact_bytes()
    marks += [vector.astype("<f4").tobytes(), *(struct.pack("<f", value) for value in own_values)]
    assert [mark for mark in marks if mark in left] == []
    assert [each["core_samples_removed"] for each in receipt["versions"]] == [1]
    after = predictions_of_others()
    assert {key: value[:2] for key, value in after.items()} == {
        key: value[:2] for key, value in before.items()
    }
    now = ModelVersion.objects.get()
    clusters = artifacts.read(artifact_of(now), directory=own_models).clusters
    assert clusters.owners is not None and len(clusters.owners.digests)


def test_a_failure_after_the_commit_keeps_what_serves(
    transactional_db: None, trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried_out = erasure._carry_out

    def fail_after(*args: Any, **kwargs: Any) -> None:
        carried_out(*args, **kwargs)
        raise ConnectionError

    monkeypatch.setattr("segments.erasure._carry_out", fail_after)
    with pytest.raises(ConnectionError):
        erased(trained.records[5]["customer_id"])

    trained.dbscan.refresh_from_db()
    artifacts.read(artifact_of(trained.dbscan), directory=settings.MODEL_DIR)


def predictions_of_others() -> dict[tuple[str, str], tuple[Any, ...]]:
    return {key: value for key, value in predictions().items() if key[1] != ID}


@pytest.mark.parametrize(
    "step",
    [
        "ml.forgetting.forget_rows",
        "modelregistry.artifacts.write_durably",
        "modelregistry.artifacts.read",
        "segments.erasure.forget_elsewhere",
        "segments.erasure._apply",
        "audit.trail.record",
        "segments.erasure.finish",
    ],
)
def test_a_kill_at_any_step_leaves_one_whole_artifact_and_no_early_receipt(
    transactional_db: None, trained: TrainedModels, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Killed(BaseException):
        pass

    def killed(*args: Any, **kwargs: Any) -> None:
        raise Killed

    customer_id = trained.records[5]["customer_id"]
    before = predictions()
    with monkeypatch.context() as patched:
        patched.setattr(step.replace("ml.forgetting", "segments.erasure_plan"), killed)
        with pytest.raises(Killed):
            erased(customer_id)

    is_erased = step == "segments.erasure.finish"
    assert Customer.objects.filter(pk=customer_id).exists() is not is_erased
    assert AuditEntry.objects.filter(action="customer.erased").exists() is is_erased
    assert not Erasure.objects.exclude(finished_at=None).exists()
    for version in ModelVersion.objects.all():
        artifacts.read(artifact_of(version), directory=settings.MODEL_DIR)
    if not is_erased:
        assert predictions() == before
        erased(customer_id)
    finish_erasures(directory=settings.MODEL_DIR)
    assert not (settings.MODEL_DIR / trained.dbscan.artifact).exists()
    assert Erasure.objects.get().finished_at is not None
