"""Invented customers within the range a version saw: they show that an artifact still predicts
as it did. Nobody's values are in them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np

from ml.features import Feature, FeatureSchema, Kind


def golden_records(
    schema: FeatureSchema, *, n_records: int, random_state: int
) -> list[dict[str, Any]]:
    """Draw records that `FeatureEncoder.encode_records` takes, uniformly over what was seen.

    Parameters
    ----------
    n_records : how many records
    random_state : seed of the draw

    Returns
    -------
    JSON-safe records, one value for every feature.
    """
    rng = np.random.default_rng(random_state)
    return [
        {feature.name: _value(feature, schema, rng) for feature in schema.features}
        for _ in range(n_records)
    ]


def _value(feature: Feature, schema: FeatureSchema, rng: np.random.Generator) -> Any:
    if feature.kind is Kind.CATEGORY:
        return str(rng.choice(feature.levels))
    value = float(rng.uniform(feature.low, feature.high))
    if feature.kind is Kind.BOOLEAN:
        return value >= 0.5
    if feature.kind is Kind.DATE:
        return (schema.as_of - timedelta(days=round(value))).isoformat()
    return value
