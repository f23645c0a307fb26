"""Who keeps the segment when a model is trained again on a bootstrap of the same customers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from benchmarks.clustering.report import Figure, print_rows, share
from benchmarks.clustering.tables import SEED, encoded, encoder_of
from ml.clusterers import FloatArray, IntArray
from ml.fitting import Parameters, fit_clusters
from ml.identity import match_on_centres, match_on_customers, mean_centres

STATED_KS = (4, 6)
FIRST_RETRAIN = 1_000
PLAIN, MATCHED, ON_CENTRES, PRODUCT = "plain", "matched", "matched on centres", "the product's way"
K_KEPT, STARTED_WARM = "k kept", "started warm"


@dataclass(frozen=True, slots=True)
class Task:
    """One table to be trained again; without `n_clusters` k is chosen each time."""

    name: str
    frame: pd.DataFrame
    n_clusters: int | None
    n_retrains: int


@dataclass(frozen=True, slots=True)
class Kept:
    """Mean shares over the retrains of one table."""

    name: str
    n_clusters: int
    is_stated: bool
    shares: dict[str, float]


@dataclass(frozen=True, slots=True)
class Retrain:
    """A new table drawn from the customers, as a new version would see it."""

    X: FloatArray
    everyone: FloatArray
    segments: IntArray  # of everyone, under the active version
    centres: FloatArray
    parameters: Parameters


def keep_segments(task: Task) -> Kept:
    """Retrain on bootstraps of the customers with new seeds; ask who keeps the segment."""
    stated: Parameters = {} if task.n_clusters is None else {"n_clusters": task.n_clusters}
    with threadpool_limits(1):
        first = fit_clusters("kmeans", encoded(task.frame), parameters=stated, random_state=SEED)
        runs = []
        for seed in range(FIRST_RETRAIN, FIRST_RETRAIN + task.n_retrains):
            retrain = drawn(task.frame, first.labels, stated, seed)
            shares = as_the_product_does(retrain)
            if stated:
                shares |= afresh(retrain, first.model.n_clusters)
            runs.append(shares)
    means = {way: float(np.mean([run[way] for run in runs])) for way in runs[0]}
    return Kept(task.name, first.model.n_clusters, bool(stated), means)


def drawn(frame: pd.DataFrame, segments: IntArray, stated: Parameters, seed: int) -> Retrain:
    rows = np.random.default_rng(seed).integers(len(frame), size=len(frame))
    table = frame.iloc[rows].reset_index(drop=True)
    encoder = encoder_of(table)
    X = encoder.encode_frame(table)
    return Retrain(
        X=X,
        everyone=encoder.encode_frame(frame),
        segments=segments,
        centres=mean_centres(X, segments[rows])[1],
        parameters={**stated, "random_state": seed},
    )


def as_the_product_does(retrain: Retrain) -> dict[str, float]:
    """Continue the active centres, and its k where none is stated."""
    fit = fit_clusters(
        "kmeans", retrain.X, parameters=retrain.parameters, initial_centers=retrain.centres
    )
    return {
        PRODUCT: kept_share(retrain.segments, fit.model.predict(retrain.everyone).labels),
        K_KEPT: float(fit.model.n_clusters == len(retrain.centres)),
        STARTED_WARM: float(fit.warm_started),
    }


def afresh(retrain: Retrain, n_clusters: int) -> dict[str, float]:
    """Start anew: with the labels as they come, and matched in two ways."""
    fit = fit_clusters("kmeans", retrain.X, parameters=retrain.parameters)
    seed = int(retrain.parameters["random_state"])
    plain = KMeans(n_clusters, n_init=10, random_state=seed).fit(retrain.X)
    labels = fit.model.predict(retrain.everyone).labels
    ids, centres = mean_centres(retrain.everyone, retrain.segments)
    on_centres = match_on_centres(ids.tolist(), centres, fit.model.arrays()["centers"])
    named = np.array([-2 if m.segment is None else m.segment for m in on_centres.matches])
    return {
        PLAIN: share(plain.predict(retrain.everyone) == retrain.segments),
        MATCHED: kept_share(retrain.segments, labels),
        ON_CENTRES: share(named[labels] == retrain.segments),
    }


def kept_share(segments: IntArray, clusters: IntArray) -> float:
    return match_on_customers(segments, clusters).kept_share or 0.0


def retrain_tasks(tables: dict[str, pd.DataFrame], n_retrains: int) -> list[Task]:
    return [
        Task(name, frame, k, n_retrains)
        for name, frame in tables.items()
        for k in (None, *STATED_KS)
    ]


def retrain_figures(results: Sequence[Kept]) -> list[Figure]:
    ways = (PLAIN, MATCHED, ON_CENTRES, PRODUCT, K_KEPT, STARTED_WARM)
    print_rows(
        "Customers who keep their segment over a retrain",
        ("table", "k", *ways),
        (
            (each.name, f"{each.n_clusters}{'' if each.is_stated else ', chosen'}")
            + tuple(f"{each.shares[way]:.1%}" if way in each.shares else "" for way in ways)
            for each in results
        ),
    )
    stated = [each for each in results if each.is_stated]
    chosen = [each for each in results if not each.is_stated]
    plain = [each.shares[PLAIN] for each in stated]
    others = f"plain retrain {min(plain):.0%} to {max(plain):.0%}"
    matched, warm, by_itself = (
        min(each.shares[way] for each in group)
        for group, way in ((stated, MATCHED), (stated, PRODUCT), (chosen, PRODUCT))
    )
    return [
        Figure("keep the segment, warm start, worst table", 0.94, warm, others, ".1%"),
        Figure("… k chosen each time, worst table", 0.94, by_itself, others, ".1%"),
        Figure("… matched only, worst table", 0.76, matched, others, ".1%"),
    ]
