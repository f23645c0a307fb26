"""What two machines or interpreters must agree on: a digest of every fit, bit by bit."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

import numpy as np

from benchmarks.clustering.tables import SEED, battery_sets, encoded, real_tables
from ml.clusterers import FloatArray
from ml.fitting import Fit, fit_clusters

LARGEST_SET = 400  # rows of a battery set


def digest(fit: Fit, X: FloatArray) -> str:
    """SHA-256 of parameters, labels, distances and the model's arrays."""
    said = hashlib.sha256(json.dumps(fit.parameters, sort_keys=True).encode())
    arrays = {
        "labels": fit.labels,
        "distances": fit.model.predict(X).distances,
        **fit.model.arrays(),
    }
    for name, values in sorted(arrays.items()):
        said.update(f"{name} {values.dtype} {values.shape}".encode())
        said.update(np.ascontiguousarray(values).tobytes())
    return said.hexdigest()


def print_digests(data_dir: Path) -> None:
    """Fit both types to the real tables and the smaller sets of the battery; everything chosen."""
    tables = dict(real_tables(data_dir))
    tables |= {t.name: t.frame for t in battery_sets(data_dir / "battery", LARGEST_SET)}
    everything = hashlib.sha256()
    for name, frame in tables.items():
        X = encoded(frame)
        for model_type in ("kmeans", "dbscan"):
            found = digest(fit_clusters(model_type, X, parameters={}, random_state=SEED), X)
            everything.update(found.encode())
            print(f"{found}  {model_type}  {name}", flush=True)
    print(f"{everything.hexdigest()}  all  Python {platform.python_version()}")
