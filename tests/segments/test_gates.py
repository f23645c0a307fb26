"""Gates before activation: each refuses with its figures, is overruled by force, can be off."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit.models import AuditEntry
from modelregistry.activation import ActivationRefused, Gate, load, pointer_of
from modelregistry.models import ActiveModel, ModelVersion
from segments.assignment import activate, roll_back
from segments.comparison import compare
from segments.customers import upsert_customers
from segments.gates import GateLimits, check_gates, sampled_records
from segments.models import Assignment, Customer
from tests.factories import BY, TrainedModels, make_customers, make_version

OFF = dict.fromkeys(field.name for field in fields(GateLimits))
Prepare = Callable[[TrainedModels], ModelVersion]


def gates_of(version: ModelVersion, **limits: float | None) -> dict[str, Gate]:
    active = pointer_of(version.model_type).active
    gates = check_gates(
        version,
        load(version, directory=settings.MODEL_DIR),
        compare(version, active) if active else None,
        limits=GateLimits(**limits),
    )
    return {gate.name: gate for gate in gates}


def arguments(**more: Any) -> dict[str, Any]:
    base = {"reason": "test", "by": BY, "at": timezone.now(), "directory": settings.MODEL_DIR}
    return base | more


def many_clusters(trained: TrainedModels) -> ModelVersion:
    return make_version(parameters={"n_clusters": 10})


def much_noise(trained: TrainedModels) -> ModelVersion:
    return make_version(model_type="dbscan", parameters={"eps": 1.5, "min_samples": 8})


def no_clusters(trained: TrainedModels) -> ModelVersion:
    return make_version(model_type="dbscan", parameters={"eps": 1e-6, "min_samples": 8})


def other_customers(trained: TrainedModels) -> ModelVersion:
    version = make_version()
    rows = {
        record["customer_id"]: {
            name: value * 5 + 10 if isinstance(value, float) else value
            for name, value in record.items()
            if name != "customer_id"
        }
        for record in trained.records
    }
    upsert_customers(rows, at=timezone.now())
    return version


BREACHES: dict[str, tuple[Prepare, dict[str, float]]] = {
    "moved_share": (many_clusters, {"moved_share": 0.1}),
    "silhouette_drop": (many_clusters, {"silhouette_drop": 0.0}),
    "noise_share": (much_noise, {"noise_share": 0.01}),
    "drift": (other_customers, {"drift_threshold": 0.05}),
    "degenerate": (no_clusters, {}),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breached_gate_refuses_and_names_its_figures(trained: TrainedModels, name: str) -> None:
    prepare, limits = BREACHES[name]
    version = prepare(trained)
    before = pointer_of(version.model_type)

    with pytest.raises(ActivationRefused) as refusal:
        activate(version, **arguments(limits=GateLimits(**OFF | limits)))

    assert [gate.name for gate in refusal.value.breached] == [name]
    assert refusal.value.breached[0].sentence in str(refusal.value)
    assert pointer_of(version.model_type) == before
    assert pointer_of(version.model_type).generation == before.generation


@pytest.mark.parametrize("name", BREACHES)
def test_force_overrules_a_gate_and_the_ledger_and_the_trail_keep_it(
    trained: TrainedModels, name: str
) -> None:
    prepare, limits = BREACHES[name]
    version = prepare(trained)

    entry = activate(version, **arguments(limits=GateLimits(**OFF | limits), force=True))

    (kept,) = entry.gates
    assert entry.forced
    assert (kept["name"], kept["passed"]) == (name, False)
    recorded = json.loads(AuditEntry.objects.latest("id").details)
    assert recorded["forced"] is True
    assert recorded["gates"] == [{key: kept[key] for key in ("name", "value", "limit", "passed")}]
    assert pointer_of(version.model_type).active == version


@pytest.mark.parametrize("name", sorted(set(BREACHES) - {"degenerate"}))
def test_a_gate_that_is_off_stops_nobody(trained: TrainedModels, name: str) -> None:
    version = BREACHES[name][0](trained)

    entry = activate(version, **arguments(limits=GateLimits(**OFF)))

    assert entry.gates == []
    assert not entry.forced


def test_every_breached_gate_is_named_at_once(trained: TrainedModels) -> None:
    version = many_clusters(trained)
    limits = GateLimits(moved_share=0.0, silhouette_drop=0.0)

    with pytest.raises(ActivationRefused) as refusal:
        activate(version, **arguments(limits=limits))

    assert [gate.name for gate in refusal.value.breached] == ["moved_share", "silhouette_drop"]
    assert all(gate.sentence in str(refusal.value) for gate in refusal.value.breached)


def test_force_that_was_not_needed_is_not_recorded_as_such(trained: TrainedModels) -> None:
    entry = activate(make_version(), **arguments(force=True))

    assert not entry.forced
    assert {gate["name"] for gate in entry.gates} == {
        "noise_share",
        "moved_share",
        "silhouette_drop",
        "drift",
    }


def test_what_is_measured_is_what_the_comparison_says(trained: TrainedModels) -> None:
    version = make_version(parameters={"n_clusters": 6})
    comparison = compare(version, trained.kmeans)

    gates = gates_of(version)

    assert gates["moved_share"].value == comparison.moved_share
    assert gates["silhouette_drop"].value == pytest.approx(
        trained.kmeans.metrics["silhouette"] - version.metrics["silhouette"]
    )
    assert gates["noise_share"].value == 0.0


@pytest.mark.parametrize("model_type", ["kmeans", "dbscan"])
def test_an_ordinary_retraining_passes(trained: TrainedModels, model_type: str) -> None:
    gates = gates_of(make_version(model_type=model_type))

    assert len(gates) == 4
    assert all(gate.passed for gate in gates.values())


def test_the_first_version_moves_nobody(db: None) -> None:
    make_customers()
    version = make_version()

    gates = gates_of(version, moved_share=0.0, silhouette_drop=0.0)

    assert gates.keys() == {"noise_share", "drift"}
    assert not activate(version, **arguments()).forced


def test_a_limit_of_zero_lets_an_unchanged_version_pass(trained: TrainedModels) -> None:
    gates = gates_of(make_version(), moved_share=0.0, silhouette_drop=0.0)

    assert gates["moved_share"].passed and gates["silhouette_drop"].passed


def test_too_few_customers_are_no_drift(trained: TrainedModels) -> None:
    version = other_customers(trained)
    kept = [record["customer_id"] for record in trained.records[:20]]
    Customer.objects.exclude(pk__in=kept).delete()

    gate = gates_of(version)["drift"]

    assert gate.passed and gate.value is None
    assert "Too few customers" in gate.sentence


def test_without_customers_nothing_is_measured_of_them(trained: TrainedModels) -> None:
    version = make_version()
    Customer.objects.all().delete()

    assert gates_of(version).keys() == {"moved_share", "silhouette_drop", "drift"}


def test_a_share_that_cannot_be_measured_is_neither_passed_nor_breached(
    trained: TrainedModels,
) -> None:
    version = many_clusters(trained)
    Assignment.objects.filter(version=version).update(customer_revision=77)

    gate = gates_of(version)["moved_share"]

    assert (gate.value, gate.limit, gate.passed, gate.is_breached) == (None, 0.3, None, False)
    assert "Nobody can be compared" in gate.sentence
    with pytest.raises(ActivationRefused, match="of 300 customers would move"):
        activate(version, **arguments(limits=GateLimits(**OFF | {"moved_share": 0.1})))


def test_force_overrules_nothing_that_was_not_measured(trained: TrainedModels) -> None:
    version = make_version()
    Customer.objects.all().delete()

    entry = activate(version, **arguments(force=True))

    assert {gate["name"]: gate["passed"] for gate in entry.gates}["moved_share"] is None
    assert not entry.forced


def test_customers_who_came_since_are_assigned_before_they_are_counted(
    trained: TrainedModels,
) -> None:
    version = make_version()
    Assignment.objects.filter(version=version).delete()

    entry = activate(version, **arguments())

    moved = next(gate for gate in entry.gates if gate["name"] == "moved_share")
    assert moved["value"] == 0.0
    assert "300 customers" in moved["sentence"]


def test_a_rollback_to_a_degenerate_version_needs_force(trained: TrainedModels) -> None:
    degenerate = no_clusters(trained)
    activate(degenerate, **arguments(force=True))
    activate(trained.dbscan, **arguments(force=True))

    with pytest.raises(ActivationRefused, match="degenerate") as refusal:
        roll_back("dbscan", **arguments())
    after_refusal = pointer_of("dbscan").active
    entry = roll_back("dbscan", **arguments(force=True))

    assert [gate.name for gate in refusal.value.breached] == ["degenerate"]
    assert after_refusal == trained.dbscan
    assert (entry.forced, entry.is_rollback) == (True, True)
    assert [gate["name"] for gate in entry.gates] == ["degenerate"]
    assert pointer_of("dbscan").active == degenerate


def test_any_other_rollback_is_asked_nothing(trained: TrainedModels) -> None:
    activate(many_clusters(trained), **arguments(force=True))

    entry = roll_back("kmeans", **arguments(force=True))

    assert (entry.gates, entry.forced, entry.is_rollback) == ([], False, True)
    assert pointer_of("kmeans").active == trained.kmeans


def test_the_sample_is_always_the_same_and_spread_over_the_ids(db: None) -> None:
    rows: dict[str, dict[str, Any]] = {
        f"C-{place:05}": {"place": place, "of_ten": place % 10} for place in range(5_000)
    }
    upsert_customers(rows, at=timezone.now())

    sampled = sampled_records(500)

    assert sampled == sampled_records(500)
    assert 480 <= len(sampled) <= 520
    for part in range(10):
        assert 40 <= sum(record["of_ten"] == part for record in sampled) <= 60
        assert (
            40 <= sum(part * 500 <= record["place"] < part * 500 + 500 for record in sampled) <= 60
        )
    assert len(sampled_records(5_000)) == len(sampled_records(10**6)) == 5_000


def test_the_settings_say_what_the_limits_are_by_default() -> None:
    assert GateLimits(**settings.GATE_LIMITS) == GateLimits()


# -- the command --------------------------------------------------------------------------------


def test_the_command_says_which_gate_refused_and_leaves_a_candidate(
    trained: TrainedModels, settings: Any
) -> None:
    settings.GATE_LIMITS = OFF | {"moved_share": 0.01}

    with pytest.raises(CommandError, match="would move to another segment; the limit is 1%"):
        call_command("train_model", "kmeans", param=["k=9"], activate=True, stdout=StringIO())

    assert pointer_of("kmeans").active == trained.kmeans
    assert ModelVersion.objects.get(model_type="kmeans", number=2).state == "candidate"


def test_the_command_forces_only_with_a_reason(trained: TrainedModels, settings: Any) -> None:
    settings.GATE_LIMITS = OFF | {"moved_share": 0.01}
    given = {"param": ["k=9"], "activate": True, "force": True, "stdout": StringIO()}

    with pytest.raises(CommandError, match="--force needs a --reason"):
        call_command("train_model", "kmeans", **given)
    call_command("train_model", "kmeans", reason="nine on purpose", **given)

    assert ModelVersion.objects.filter(model_type="kmeans").count() == 2
    active = ActiveModel.objects.select_related("active").get(model_type="kmeans").active
    assert active is not None
    assert active.number == 2
