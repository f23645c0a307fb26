"""Erasing a customer reaches everything, changes nobody else, and is told by a receipt."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit.models import AuditEntry, AuditLeaf
from modelregistry.models import ModelVersion
from monitoring.drift_check import CheckTerms, check_drift
from monitoring.models import DriftInput
from segments import erasure
from segments.customer_digests import customer_digest
from segments.customers import upsert_customers
from segments.erasure import UnknownCustomer
from segments.models import Assignment, Customer, Erasure
from tests.audit.sealed_trail import sealed_trail
from tests.erasing import erased, predictions
from tests.expectations import one_entry
from tests.factories import (
    BY,
    PARAMETERS,
    TrainedModels,
    make_version,
)


def test_the_id_is_nowhere_in_the_trail(trained: TrainedModels) -> None:
    customer_id = trained.records[0]["customer_id"]

    with one_entry(action="customer.erased", target_type="customer", n_items=1) as entries:
        receipt = erased(customer_id)

    (entry,) = entries
    assert entry.target_id == customer_digest(customer_id, secret=settings.SECRET_KEY)
    assert customer_id not in entry.details
    details = json.loads(entry.details)
    assert (details["receipt"], details["versions"]) == (receipt["receipt"], receipt["versions"])


def test_what_the_trail_held_before_is_untouched(trained: TrainedModels) -> None:
    before = list(AuditEntry.objects.order_by("pk").values_list())

    erased(trained.records[0]["customer_id"])

    after = list(AuditEntry.objects.order_by("pk").values_list())
    assert before and after[: len(before)] == before
    assert len(after) == len(before) + 1


def test_a_sealed_trail_still_verifies_after_an_erasure(
    trained: TrainedModels, tmp_path: Path
) -> None:
    with sealed_trail(tmp_path) as stored:
        stored.seal()
        ids = list(AuditLeaf.objects.order_by("entry_id").values_list("entry_id", "hash"))

        erased(*(record["customer_id"] for record in trained.records[:3]))
        stored.seal()

        assert (
            list(AuditLeaf.objects.order_by("entry_id").values_list("entry_id", "hash"))[: len(ids)]
            == ids
        )
        assert stored.is_clean()
        found = stored.verified()
        assert (found.n_leaves, found.n_unsealed) == (AuditEntry.objects.count(), 0)


def test_a_row_that_another_customer_has_too_stays_until_they_go(trained: TrainedModels) -> None:
    records = trained.records
    twin = {name: value for name, value in records[5].items() if name != "customer_id"}
    upsert_customers({"twin": twin}, at=timezone.now())

    with_twin = erased(records[5]["customer_id"])
    upsert_customers({"twin": records[6] | {"customer_id": None}}, at=timezone.now())
    alone = erased("twin")

    assert [each["core_samples_removed"] for each in with_twin["versions"]] == [0]
    assert [each["core_samples_removed"] for each in alone["versions"]] == [1]


def test_several_are_erased_at_once(trained: TrainedModels) -> None:
    ids = [record["customer_id"] for record in trained.records[:40]]
    before = {key: value for key, value in predictions().items() if key[1] not in ids}

    receipt = erased(*ids)

    assert receipt["erased"]["customers"] == 40
    after = predictions()
    assert {key: after[key][:2] for key in before} == {key: before[key][:2] for key in before}
    distances = {
        (str(row.version), row.customer_id): row.distance
        for row in Assignment.objects.select_related("version")
    }
    assert {key: value[2] for key, value in after.items()} == pytest.approx(distances)


def test_nobody_is_erased_twice_and_may_come_back(trained: TrainedModels) -> None:
    customer_id = trained.records[0]["customer_id"]
    erased(customer_id)

    with pytest.raises(UnknownCustomer):
        erased(customer_id)
    assert upsert_customers({customer_id: {"orders": 1}}, at=timezone.now()).n_created == 1
    assert Customer.objects.get(pk=customer_id).attributes == {"orders": 1}


def test_models_that_changed_meanwhile_are_looked_through_again(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, n_plans = erasure.plan_erasure, []

    def plan_and_train(*args: Any, **kwargs: Any) -> Any:
        plan = planned(*args, **kwargs)
        if not n_plans:
            make_version(model_type="dbscan")
        n_plans.append(plan)
        return plan

    monkeypatch.setattr("segments.erasure.plan_erasure", plan_and_train)

    receipt = erased(trained.records[5]["customer_id"])

    assert len(n_plans) == 2
    assert [(each["model_type"], each["version"]) for each in receipt["versions"]] == [
        ("dbscan", 1),
        ("dbscan", 2),
    ]
    written = {path.name for path in settings.MODEL_DIR.glob("*.safetensors")}
    discarded = [each.replacement for each in n_plans[0].versions if each.replacement]
    assert discarded
    assert not {each.after.name for each in discarded} & written


def test_a_training_under_way_fails_and_keeps_nothing(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def erase_first(*args: Any, **kwargs: Any) -> int:
        monkeypatch.undo()
        erased(trained.records[5]["customer_id"])
        return 0

    monkeypatch.setattr("segments.training.assign_stored_customers", erase_first)

    with pytest.raises(ValueError, match="erased while it was trained"):
        make_version(parameters=PARAMETERS["kmeans"])

    version = ModelVersion.objects.get(stage="failed")
    assert not (settings.MODEL_DIR / version.artifact).exists()
    assert {each["high"] for each in version.schema["features"]} == {0.0}
    assert make_version().stage == "trained"


def test_a_checks_input_forgets_them(trained: TrainedModels) -> None:
    check_drift("kmeans", terms=CheckTerms.of(settings), by=BY, at=timezone.now())

    erased(trained.records[0]["customer_id"])

    assert DriftInput.objects.get().n_erased == 1


def test_the_command_prints_the_receipt(trained: TrainedModels) -> None:
    one, other = (record["customer_id"] for record in trained.records[:2])
    words, as_json = StringIO(), StringIO()

    call_command("erase_customer", one, stdout=words)
    call_command("erase_customer", other, "--json", stdout=as_json)

    assert "1 customer, 2 assignments" in words.getvalue()
    assert "Backups" in words.getvalue()
    assert json.loads(as_json.getvalue())["erased"]["assignments"] == 2
    with pytest.raises(CommandError, match="no such customer"):
        call_command("erase_customer", one)


@pytest.mark.parametrize(("age", "is_resumed"), [(timedelta(0), False), (timedelta(hours=1), True)])
def test_what_a_killed_process_left_is_finished_for_who_asks_again(
    trained: TrainedModels, age: timedelta, is_resumed: bool
) -> None:
    customer_id = trained.records[0]["customer_id"]
    receipt = erased(customer_id)
    assert receipt["finished_at"] is None  # it waits for the transaction of the test
    Erasure.objects.update(erased_at=timezone.now() - age, artifacts=[])

    if is_resumed:
        assert erased(customer_id)["receipt"] == receipt["receipt"]
    else:
        with pytest.raises(UnknownCustomer):
            erased(customer_id)

    assert (Erasure.objects.get().finished_at is not None) is is_resumed
