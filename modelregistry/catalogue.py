"""What the registry holds: each model type with its active, previous and candidate versions."""

from __future__ import annotations

from typing import Any

from modelregistry.models import ActiveModel, ModelVersion, State

MAX_CANDIDATES = 20
"""Newest candidates listed for each type."""


def catalogue() -> list[dict[str, Any]]:
    """Two queries, whatever the number of versions shown."""
    pointers = {pointer.model_type: pointer for pointer in ActiveModel.objects.all()}
    versions: dict[str, dict[str, list[ModelVersion]]] = {}
    for version in ModelVersion.objects.trained().with_state():
        states = versions.setdefault(version.model_type, {})
        states.setdefault(version.state, []).append(version)
    return [
        {
            "model_type": model_type,
            "generation": pointer.generation,
            "active": _first(versions, model_type, State.ACTIVE),
            "previous": _first(versions, model_type, State.PREVIOUS),
            "candidates": versions.get(model_type, {}).get(State.CANDIDATE, [])[:MAX_CANDIDATES],
        }
        for model_type, pointer in sorted(pointers.items())
    ]


def _first(
    versions: dict[str, dict[str, list[ModelVersion]]], model_type: str, state: State
) -> ModelVersion | None:
    return next(iter(versions.get(model_type, {}).get(state, [])), None)
