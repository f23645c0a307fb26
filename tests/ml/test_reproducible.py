"""The same table and parameters give the same bits, however many threads there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from segments.demo_shop import write_demo_customers

ROOT = Path(__file__).resolve().parents[2]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Digests of parameters, labels, distances and model of both types; `argv` is, as JSON, a table
# and parameters of k-means and of DBSCAN for each case. One process for all: its start costs most.
PROGRAM = """
import hashlib, json, sys
from datetime import date
import pandas as pd
from ml.encoder import FeatureEncoder
from ml.fitting import fit_clusters
from ml.schema_learning import learn_schema

for path, *stated in map(json.loads, sys.argv[1:]):
    frame = pd.read_csv(path)
    X = FeatureEncoder(learn_schema(frame, as_of=date(2025, 6, 30))).encode_frame(frame)
    for model_type, parameters in zip(("kmeans", "dbscan"), stated):
        fit = fit_clusters(model_type, X, parameters=parameters)
        distances = fit.model.predict(X).distances
        arrays = {"labels": fit.labels, "distances": distances, **fit.model.arrays()}
        digests = {name: hashlib.sha256(a.tobytes()).hexdigest() for name, a in arrays.items()}
        choice = fit.selection.to_dict() if fit.selection else None
        print(json.dumps([path, model_type, fit.parameters, choice, digests]))
"""


def mixed_customers(path: Path, *, n_customers: int) -> None:
    """Three kinds of customers in money, counts, levels and gaps."""
    rng = np.random.default_rng(5)
    kind = rng.integers(3, size=n_customers)
    frame = pd.DataFrame(
        {
            "spend": np.exp(rng.normal(3.0 + 1.2 * kind, 0.6)),
            "orders": rng.poisson(2.0 + 5.0 * (kind == 1)).astype(float),
            "age": np.where(rng.random(n_customers) < 0.05, np.nan, rng.normal(45, 12)),
            "days_since": np.exp(rng.normal(4.0 - kind, 0.7)),
            "channel": np.where(rng.random(n_customers) < 0.8, "web", "store"),
        }
    )
    frame.to_csv(path, index=False)


def demo_customers(path: Path, *, n_customers: int) -> None:
    write_demo_customers(path, n_customers=n_customers, random_state=3)


CASES = [
    # Everything is chosen, whatever the table.
    (mixed_customers, 120, {}, {}),
    (demo_customers, 120, {}, {}),
    # Large enough for every library to share the work out, if it may.
    (mixed_customers, 20_000, {"k": 5, "n_init": 2}, {"eps": 0.4, "min_samples": 20}),
]


def test_one_thread_and_two_train_the_same_models(tmp_path):
    cases = []
    for i, (write_table, n_customers, kmeans, dbscan) in enumerate(CASES):
        table = tmp_path / f"{i} {write_table.__name__}.csv"
        write_table(table, n_customers=n_customers)
        cases.append(json.dumps([str(table), kmeans, dbscan]))

    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, *cases],
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(THREADS, n_threads)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        for n_threads in ("1", "2")
    ]

    assert len(said[0]) == 2 * len(CASES)
    assert said[0] == said[1]
