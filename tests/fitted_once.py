"""Trainings on the same customers with the same parameters are computed once in a process.

What `ml` computes depends on nothing but its arguments, which name what is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any
from unittest.mock import patch

import joblib

from ml import fitting, held_out
from modelregistry import training

COMPUTING: tuple[tuple[Any, str], ...] = (
    (fitting, "fit_clusters"),
    (held_out, "score_held_out"),
    (training, "describe_fit"),
    (training, "stability"),
    (training.QualityBaseline, "fit"),
    (training.ReferenceProfile, "fit"),
)
"""The steps of a training that take its time."""
WATCHER = "on_progress"
"""An argument that changes no result."""

_kept: dict[str, Any] = {}
_one_at_a_time = threading.RLock()


@contextmanager
def fitted_once() -> Iterator[None]:
    """Steps of a training that were computed before are put back, each time as a new copy."""
    with _one_at_a_time, ExitStack() as stack:
        for owner, name in COMPUTING:
            stack.enter_context(patch.object(owner, name, kept(name, getattr(owner, name))))
        yield


def kept(name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
    def once(*args: Any, **options: Any) -> Any:
        named = {key: value for key, value in options.items() if key != WATCHER}
        owner = getattr(compute, "__self__", None)
        key = joblib.hash((name, owner, args, named))
        if key not in _kept:
            _kept[key] = compute(*args, **options)
        return deepcopy(_kept[key])

    return once
