"""The same table and parameters give the same bits, however many threads there are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segments.demo_shop import write_demo_customers

ROOT = Path(__file__).resolve().parents[2]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Digests of parameters, labels, distances and model of both types, everything chosen; `argv` is
# the table, then parameters of k-means and of DBSCAN as JSON.
PROGRAM = """
import hashlib, json, sys
from datetime import date
import pandas as pd
from ml.encoder import FeatureEncoder
from ml.fitting import fit_clusters
from ml.schema_learning import learn_schema

path, *stated = sys.argv[1:]
frame = pd.read_csv(path)
X = FeatureEncoder(learn_schema(frame, as_of=date(2025, 6, 30))).encode_frame(frame)
for model_type, parameters in zip(("kmeans", "dbscan"), stated):
    fit = fit_clusters(model_type, X, parameters=json.loads(parameters))
    distances = fit.model.predict(X).distances
    arrays = {"labels": fit.labels, "distances": distances, **fit.model.arrays()}
    digests = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}
    choice = fit.selection.to_dict() if fit.selection else None
    print(json.dumps([model_type, fit.parameters, choice, digests]))
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


@pytest.mark.parametrize(
    "write_table, n_customers, kmeans, dbscan",
    [
        (mixed_customers, 400, "{}", "{}"),
        (demo_customers, 400, "{}", "{}"),
        # Large enough for every library to share the work out, if it may.
        (mixed_customers, 20_000, '{"k": 5, "n_init": 2}', '{"eps": 0.4, "min_samples": 20}'),
    ],
    ids=["mixed", "demo", "large"],
)
def test_one_thread_and_two_train_the_same_models(
    tmp_path, write_table, n_customers, kmeans, dbscan
):
    table = tmp_path / "customers.csv"
    write_table(table, n_customers=n_customers)

    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(table), kmeans, dbscan],
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(THREADS, n_threads)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for n_threads in ("1", "2")
    ]

    assert said[0].count("\n") == 2
    assert said[0] == said[1]
