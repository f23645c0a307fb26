"""The pointer moves whole, once, with its ledger and its entry; losers and bad versions do not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from modelregistry import activation
from modelregistry.activation import (
    ActivationConflict,
    ActivationRefused,
    Move,
    NoActiveVersion,
    active_version,
    move_pointer,
    pointer_of,
    version_at,
)
from modelregistry.artifacts import DamagedArtifact
from modelregistry.models import Activation, ModelVersion, Stage, State
from segments.assignment import activate, roll_back
from segments.models import Assignment
from tests.expectations import one_entry
from tests.factories import BY, TrainedModels, make_active, make_version


def arguments(**more: Any) -> dict[str, Any]:
    base = {"reason": "test", "by": BY, "at": timezone.now(), "directory": settings.MODEL_DIR}
    return base | more


def test_nothing_serves_before_the_first_activation(db: None) -> None:
    with pytest.raises(NoActiveVersion, match="kmeans"):
        active_version("kmeans")


def test_activate_moves_the_pointer_and_keeps_the_ledger(trained: TrainedModels) -> None:
    second = make_version()
    assert second.state == State.CANDIDATE

    with one_entry(
        action="model_version.activated", target_id="kmeans 2", actor_id="tests"
    ) as entries:
        entry = activate(second, **arguments(reason="  better  "))

    pointer = pointer_of("kmeans")
    assert (pointer.active, pointer.previous, pointer.generation) == (second, trained.kmeans, 2)
    assert (entry.from_version, entry.to_version) == (trained.kmeans, second)
    assert (entry.reason, entry.forced, entry.is_rollback) == ("better", False, False)
    assert '"from":"kmeans 1"' in entries[0].details
    assert active_version("kmeans") == second
    assert ModelVersion.objects.get(pk=trained.kmeans.pk).state == State.PREVIOUS


def test_activate_retires_the_version_before_the_previous_one(trained: TrainedModels) -> None:
    make_active(version=make_version())
    make_active(version=make_version())

    assert ModelVersion.objects.get(pk=trained.kmeans.pk).state == State.RETIRED


def test_everybody_is_assigned_before_the_switch(trained: TrainedModels) -> None:
    second = make_version(parameters={"n_clusters": 3})
    Assignment.objects.filter(version=second, customer_id__lt="C-000050").delete()

    activate(second, **arguments())

    assert Assignment.objects.filter(version=second).count() == len(trained.records)


def test_roll_back_returns_to_the_previous_version(trained: TrainedModels) -> None:
    second = make_version()
    make_active(version=second)

    with one_entry(action="model_version.rolled_back_to", target_id="kmeans 1"):
        entry = roll_back("kmeans", **arguments())

    assert entry.is_rollback
    assert active_version("kmeans") == trained.kmeans
    assert pointer_of("kmeans").previous == second


def test_there_must_be_something_to_roll_back_to(trained: TrainedModels) -> None:
    with pytest.raises(ActivationRefused, match="No version of kmeans served before"):
        roll_back("kmeans", **arguments())


def test_a_rollback_that_names_its_version_happens_once(trained: TrainedModels) -> None:
    make_active(version=make_version())
    roll_back("kmeans", **arguments(version=1))
    n_moves = Activation.objects.count()

    with pytest.raises(
        ActivationConflict, match="kmeans 1 serves now, and kmeans 2 is the version before it"
    ):
        roll_back("kmeans", **arguments(version=1))

    assert active_version("kmeans") == trained.kmeans
    assert Activation.objects.count() == n_moves


def test_the_ledger_says_who_served_when(trained: TrainedModels) -> None:
    first_at = Activation.objects.get(model_type="kmeans").activated_at
    second = make_version()
    second_at = first_at + timedelta(days=30)
    activate(second, **arguments(at=second_at))

    assert version_at("kmeans", first_at - timedelta(seconds=1)) is None
    assert version_at("kmeans", first_at) == trained.kmeans
    assert version_at("kmeans", second_at - timedelta(seconds=1)) == trained.kmeans
    assert version_at("kmeans", second_at) == second


def test_a_stale_move_loses_and_names_the_winner(trained: TrainedModels) -> None:
    winner, loser = make_version(), make_version()
    stale = pointer_of("kmeans").generation
    make_active(version=winner)
    n_moves = Activation.objects.count()

    with pytest.raises(ActivationConflict, match="kmeans 2 was activated meanwhile"):
        move_pointer(Move(loser, stale, "late", forced=False), by=BY, at=timezone.now())

    assert active_version("kmeans") == winner
    assert Activation.objects.count() == n_moves


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_a_reason_is_needed(trained: TrainedModels, reason: str) -> None:
    candidate = make_version()

    with pytest.raises(ActivationRefused, match="reason"):
        activate(candidate, **arguments(reason=reason))

    assert active_version("kmeans") == trained.kmeans


def test_the_active_version_is_not_activated_again(trained: TrainedModels) -> None:
    with pytest.raises(ActivationRefused, match="already active"):
        activate(trained.kmeans, **arguments())


@pytest.mark.parametrize("stage", [Stage.TRAINING, Stage.FAILED])
def test_an_untrained_version_does_not_serve(trained: TrainedModels, stage: Stage) -> None:
    candidate = make_version()
    ModelVersion.objects.filter(pk=candidate.pk).update(stage=stage)
    candidate.refresh_from_db()

    with pytest.raises(ActivationRefused, match="not trained"):
        activate(candidate, **arguments(force=True))

    assert active_version("kmeans") == trained.kmeans


def test_a_degenerate_version_needs_force(trained: TrainedModels) -> None:
    degenerate = make_version(model_type="dbscan", parameters={"eps": 1e-6, "min_samples": 8})
    assert degenerate.degenerate_reason

    with pytest.raises(ActivationRefused, match="degenerate"):
        activate(degenerate, **arguments())
    entry = activate(degenerate, **arguments(force=True))

    assert entry.forced
    assert active_version("dbscan") == degenerate


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_artifact_is_refused_even_with_force(trained: TrainedModels, damage: str) -> None:
    candidate = make_version()
    path = Path(settings.MODEL_DIR) / candidate.artifact
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-5] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()

    with pytest.raises(DamagedArtifact, match=candidate.artifact):
        activate(candidate, **arguments(force=True))

    assert active_version("kmeans") == trained.kmeans


def test_the_ledger_is_not_edited(trained: TrainedModels) -> None:
    entry = Activation.objects.first()
    assert entry is not None

    with pytest.raises(TypeError, match="not edited"):
        entry.save()
    with pytest.raises(TypeError, match="not edited"):
        entry.delete()


def test_a_version_is_read_in_one_query(
    trained: TrainedModels, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        active_version("kmeans")
    with django_assert_num_queries(0):
        activation.load(trained.kmeans, directory=settings.MODEL_DIR)
