"""Why customers are in their segments, in the words of segments: runner-up, confidence, features.

The *runner-up* is the segment of the nearest other cluster; for noise that of the nearest cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from ml.clusterers import NOISE, FloatArray, Prediction
from ml.explanation import DEFAULT_N_TOP
from ml.features import FeatureSchema, RawColumns
from modelregistry.artifacts import TrainedModel
from segments.assignment import SegmentLabels


class Explanation(msgspec.Struct, frozen=True, gc=False):
    """Why one customer is where it is; the parts are as in `ml.explanation.Explanations`.

    `contributions` are the largest, each with `feature`, `contribution` and `share`. For noise of a
    version without any segment there is no `confidence`.
    """

    runner_up: int | None
    runner_up_name: str | None
    confidence: float | None
    contributions: list[dict[str, Any]]


class LacksValues(Exception):
    """A customer cannot be assigned; `problems` says by feature what is wrong with its value."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name} {detail}" for name, detail in problems.items()))
        self.problems = problems


def explained(
    model: TrainedModel, labels: SegmentLabels, X: FloatArray, *, n_top: int = DEFAULT_N_TOP
) -> list[Explanation]:
    """Explain encoded rows, float64 (n, n_columns), with the `n_top` largest contributions."""
    found = model.explainer().explain(X)
    answers = found.to_dicts(n_top=n_top)
    return [
        Explanation(
            runner_up=labels.ids[cluster],
            runner_up_name=labels.names[cluster],
            confidence=None if label == cluster == NOISE else answer["confidence"],
            contributions=answer["contributions"],
        )
        for label, cluster, answer in zip(
            found.labels.tolist(), found.runners_up.tolist(), answers, strict=True
        )
    ]


def explain_stored(
    model: TrainedModel, labels: SegmentLabels, attributes: Mapping[str, Any]
) -> tuple[Prediction, Explanation]:
    """One stored customer as assigning sees it, with every contribution. Raises `LacksValues`."""
    raw = model.encoder.raw_from_records([attributes], strict=False)
    if model.encoder.missing_required(raw).any():
        raise LacksValues(dict(_lacking(model.encoder.schema, raw, attributes)))
    encoded = model.encoder.encode(raw)
    n_features = len(model.encoder.schema.features)
    (explanation,) = explained(model, labels, encoded, n_top=n_features)
    return model.clusters.predict(encoded), explanation


def _lacking(
    schema: FeatureSchema, raw: RawColumns, attributes: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    for feature in schema.features:
        if feature.imputed or not np.isnan(raw[feature.name][0]):
            continue
        is_missing = attributes.get(feature.name) is None
        yield feature.name, "is missing" if is_missing else f"is no usable {feature.kind.value}"
