"""The form that asks for a training, as people read it: what is known of each attribute, and what
an earlier version or job was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.forms.boundfield import BoundField, BoundWidget

from access.figures import NONE, figure, share
from ml.schema_learning import REASON_NOT_CHOSEN
from modelregistry.models import ModelVersion, TrainingJob
from segments.attribute_facts import AttributeFacts, KnownAttributes

MAX_LEVELS = 4


@dataclass(frozen=True, slots=True)
class FeatureChoice:
    """One line of the table: the box to tick, and what is known."""

    box: BoundWidget
    kind: str
    missing: str
    distinct: str
    values: str
    left_out: str


def feature_choices(field: BoundField, known: KnownAttributes) -> list[FeatureChoice]:
    """A line for each box, in its order."""
    facts = {each.name: each for each in known.attributes}
    return [_choice(box, facts[box.data["value"]]) for box in field]


def _choice(box: BoundWidget, facts: AttributeFacts) -> FeatureChoice:
    return FeatureChoice(
        box=box,
        kind=facts.kind or "not usable",
        missing=share(facts.missing_share) if facts.missing_share else "none",
        distinct=figure(facts.n_distinct),
        values=_values(facts),
        left_out=facts.left_out,
    )


def _values(facts: AttributeFacts) -> str:
    if facts.low is not None:
        return f"{figure(facts.low)} to {figure(facts.high)}"
    if not facts.levels:
        return NONE
    named = ", ".join(facts.levels[:MAX_LEVELS])
    n_more = len(facts.levels) - MAX_LEVELS
    return f"{named} and {n_more} more" if n_more > 0 else named


def source_words(known: KnownAttributes) -> str:
    words = f"Judged from {known.n_sampled:,} stored customers drawn at random"
    if known.version is not None:
        words += f"; what is left out and why, from the training of {known.version}"
    return f"{words}. The training looks at all customers and may judge otherwise."


def like_version(version: ModelVersion, known: Sequence[str]) -> dict[str, Any]:
    """What the form shows at first to train a version again: its type, parameters and features.

    A parameter that was chosen is left to be chosen anew, and so are features.
    """
    chosen = set((version.selection or {}).get("chosen", ()))
    given = {name: value for name, value in version.parameters.items() if name not in chosen}
    was_chosen = any(o["reason"] == REASON_NOT_CHOSEN for o in version.schema["omitted"])
    features = [feature["name"] for feature in version.schema["features"]] if was_chosen else []
    return _initial(version.model_type, given, features, known)


def like_job(job: TrainingJob, known: Sequence[str]) -> dict[str, Any]:
    """What the form shows at first to change what a job was asked for."""
    found = _initial(job.model_type, job.parameters, job.features or [], known)
    return {**found, "note": job.note}


def _initial(
    model_type: str, parameters: Mapping[str, Any], features: Sequence[str], known: Sequence[str]
) -> dict[str, Any]:
    return {
        **{name: str(value) for name, value in parameters.items()},
        "model_type": model_type,
        "features": [name for name in features if name in known],
    }
