"""How often a segment's rule is right about customers it did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from benchmarks.clustering.report import Figure, print_rows
from benchmarks.clustering.tables import SEED, encoder_of
from ml.fitting import fit_clusters
from ml.rules import SegmentRule, describe_rules

DESCRIBED_KS = (2, 3, 4)


@dataclass(frozen=True, slots=True)
class Described:
    """The rules of one table at one k."""

    name: str
    n_clusters: int
    rules: list[SegmentRule]


def describe_segments(task: tuple[str, pd.DataFrame, int]) -> Described:
    name, frame, k = task
    encoder = encoder_of(frame)
    raw = encoder.raw_from_frame(frame)
    with threadpool_limits(1):
        X = encoder.encode(raw)
        fit = fit_clusters("kmeans", X, parameters={"n_clusters": k}, random_state=SEED)
    rules = describe_rules(encoder.schema, raw, fit.labels, random_state=SEED)
    return Described(name, k, rules)


def rule_figures(results: Sequence[Described]) -> list[Figure]:
    """The goal is judged on every rule, also on those too weak to be shown."""
    print_rows(
        "Rules on customers they did not see",
        ("table", "k", "precision of each", "mean", "recall", "too weak to show"),
        (
            (
                each.name,
                str(each.n_clusters),
                ", ".join(f"{rule.precision:.2f}" for rule in each.rules),
                f"{np.mean([rule.precision for rule in each.rules]):.2f}",
                f"{np.mean([rule.recall for rule in each.rules]):.2f}",
                str(sum(not rule.is_short for rule in each.rules)),
            )
            for each in results
        ),
    )
    precisions = [rule.precision for each in results for rule in each.rules]
    return [Figure("a rule's precision, k ≤ 4, mean", 0.80, float(np.mean(precisions)))]
