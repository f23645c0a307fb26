"""What is known of each attribute before a training: from a sample of the stored customers, and
from what the newest version found in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from ml.features import Feature, Kind
from ml.schema_learning import REASON_NOT_CHOSEN, learn_attribute
from modelregistry.models import ModelVersion
from segments.customer_sample import sample_customers

N_SAMPLED = 1_000


@dataclass(frozen=True, slots=True)
class AttributeFacts:
    """One attribute; shares and counts are those of the sample.

    Attributes
    ----------
    name : str
    kind : Kind or None
        None where it is no feature by the rules of training.
    missing_share : float in 0-1
    n_distinct : int
    low, high : float or None
        Range of a number; None for other kinds.
    levels : tuple of str
        Of a category, those shared by enough customers for a column each.
    left_out : str
        Why a training that chooses for itself would leave it out; empty where it would not.
    """

    name: str
    kind: Kind | None
    missing_share: float
    n_distinct: int
    low: float | None
    high: float | None
    levels: tuple[str, ...]
    left_out: str


@dataclass(frozen=True, slots=True)
class KnownAttributes:
    """`version` is the one whose training judged all customers; None before the first."""

    attributes: list[AttributeFacts]
    n_sampled: int
    version: ModelVersion | None


def known_facts(names: Sequence[str], *, at: date) -> KnownAttributes:
    """The facts of the named attributes; three queries, however many customers are stored."""
    records = sample_customers(N_SAMPLED).records
    version = ModelVersion.objects.trained().order_by("-trained_at", "-pk").first()
    judged = _judged(version)
    facts = [_facts(name, [r.get(name) for r in records], judged, at) for name in names]
    return KnownAttributes(facts, len(records), version)


def _judged(version: ModelVersion | None) -> dict[str, str]:
    """By attribute why that training left it out, empty where it did not."""
    if version is None:
        return {}
    judged = {feature["name"]: "" for feature in version.schema["features"]}
    judged |= {
        omission["name"]: omission["reason"]
        for omission in version.schema["omitted"]
        if omission["reason"] != REASON_NOT_CHOSEN
    }
    return judged


def _facts(name: str, values: list[Any], judged: Mapping[str, str], at: date) -> AttributeFacts:
    learned = learn_attribute(name, values, at) if values else None
    feature = learned if isinstance(learned, Feature) else None
    reason = learned.reason if learned is not None and feature is None else ""  # type: ignore[union-attr]
    is_number = feature is not None and feature.kind is Kind.NUMBER
    return AttributeFacts(
        name=name,
        kind=feature.kind if feature else None,
        missing_share=values.count(None) / len(values) if values else 0.0,
        n_distinct=len({repr(value) for value in values if value is not None}),
        low=feature.low if feature and is_number else None,
        high=feature.high if feature and is_number else None,
        levels=feature.levels if feature else (),
        left_out=judged.get(name, reason),
    )
