"""Choosing k by itself, and saying whether a table holds segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from benchmarks.clustering.report import Figure, beside, means, print_rows
from benchmarks.clustering.tables import SEED, Truth, encoded, fit_of, raw_values
from ml.cluster_fits import fit_kmeans
from ml.clusterers import FloatArray, IntArray
from ml.selection import CANDIDATE_N_CLUSTERS

MAX_TRUE_K = CANDIDATE_N_CLUSTERS[-1]
EVIDENCE = ("strong", "weak", "none")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Agreement of each way to segment one table, and what the product said of it."""

    name: str
    agreement: dict[str, float]
    evidence: str | None


def choose_segments(truth: Truth) -> Chosen:
    """Segment one table in every way; only "true k" is told the number."""
    with threadpool_limits(1):
        X, raw = encoded(truth.frame), raw_values(truth.frame)
        fit = fit_of(truth.frame)
        labelings = {
            "ours": fit.labels,
            "as is (raw, k = 8)": plain_kmeans(raw, 8),
            "raw, k = 4": plain_kmeans(raw, 4),
            "elbow": elbow(X),
        }
        agreement = {way: truth.agreement(labels) for way, labels in labelings.items()}
        agreement["true k"] = max(
            truth.agreement(fit_kmeans(X, n_clusters=k, random_state=SEED)[1])
            for k in truth.n_clusters()
        )
    return Chosen(truth.name, agreement, fit.selection.evidence if fit.selection else None)


def find_evidence(truth: Truth) -> Chosen:
    """Ask for the evidence in a table without segments."""
    with threadpool_limits(1):
        fit = fit_of(truth.frame)
    return Chosen(truth.name, {}, fit.selection.evidence if fit.selection else None)


def plain_kmeans(X: FloatArray, n_clusters: int) -> IntArray:
    return KMeans(n_clusters, n_init=10, random_state=SEED).fit(X).labels_.astype(np.int64)


def elbow(X: FloatArray) -> IntArray:
    """Take the k whose inertia lies farthest below the line from the first to the last."""
    fits = [KMeans(k, n_init=10, random_state=SEED).fit(X) for k in CANDIDATE_N_CLUSTERS]
    inertia = np.array([fit.inertia_ for fit in fits])
    line = np.linspace(inertia[0], inertia[-1], len(fits))
    return fits[int(np.argmax(line - inertia))].labels_


def choice_figures(customers: Sequence[Chosen], battery: Sequence[Chosen]) -> list[Figure]:
    ours, others = (means([each.agreement for each in group]) for group in (customers, battery))
    print_rows(
        "Choosing k, mean adjusted Rand index",
        ("way", f"customers ({len(customers)})", f"battery ({len(battery)})"),
        ((way, f"{ours[way]:.3f}", f"{others[way]:.3f}") for way in ours),
    )
    return [
        Figure("k by itself, mean ARI, customer tables", 0.58, ours["ours"], beside(ours)),
        Figure("k by itself, mean ARI, battery", 0.57, others["ours"], beside(others)),
    ]


def evidence_figures(structureless: Sequence[Chosen], labelled: Sequence[Chosen]) -> list[Figure]:
    without, within = (
        {word: float(np.mean([each.evidence == word for each in group])) for word in EVIDENCE}
        for group in (structureless, labelled)
    )
    print_rows(
        "Evidence of segments",
        ("evidence", f"structureless ({len(structureless)})", f"labelled ({len(labelled)})"),
        ((word, f"{without[word]:.1%}", f"{within[word]:.1%}") for word in EVIDENCE),
    )
    naming = "others name segments on every structureless table"
    return [
        Figure("`strong` on structureless tables", 0.02, without["strong"], naming, ".1%", True),
        Figure("`none` on structureless tables", 0.88, without["none"], naming, ".1%"),
        Figure("`none` on labelled tables", 0.05, within["none"], "", ".1%", True),
        Figure("`strong` on labelled tables", 0.75, within["strong"], "", ".1%"),
    ]
