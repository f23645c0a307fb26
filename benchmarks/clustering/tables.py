"""The tables that figures are taken on: generated customers, the labelled battery, real ones."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from ml.clusterers import FloatArray, IntArray
from ml.encoder import FeatureEncoder
from ml.fitting import Fit, fit_clusters
from ml.schema_learning import learn_schema

BESIDE_THE_PROJECT = Path(__file__).resolve().parents[2] / ".." / "shared"

SEED = 0
# The generators' tables are numbered; these numbers were used for no choice in the product.
FIRST_CUSTOMER_TABLE = 10_000
FIRST_STRUCTURELESS_TABLE = 11_000
AS_OF = date(2016, 1, 1)


@dataclass(frozen=True, slots=True)
class Truth:
    """A table with its reference partitions; 0 in a battery partition stands for "leave out"."""

    name: str
    frame: pd.DataFrame
    partitions: tuple[IntArray, ...]

    def n_clusters(self) -> list[int]:
        return [len(np.unique(labels[labels >= 0])) for labels in self.partitions]

    def agreement(self, labels: IntArray) -> float:
        """Adjusted Rand index with the partition that fits best."""
        return max(
            adjusted_rand_score(truth[truth >= 0], labels[truth >= 0]) for truth in self.partitions
        )


def encoder_of(frame: pd.DataFrame) -> FeatureEncoder:
    return FeatureEncoder(learn_schema(frame, as_of=AS_OF))


def encoded(frame: pd.DataFrame) -> FloatArray:
    return encoder_of(frame).encode_frame(frame)


def fit_of(frame: pd.DataFrame) -> Fit:
    """K-means as the product trains it, everything chosen."""
    encoder = encoder_of(frame)
    widths = [feature.n_columns for feature in encoder.schema.features]
    return fit_clusters(
        "kmeans", encoder.encode_frame(frame), parameters={}, random_state=SEED, widths=widths
    )


def raw_values(frame: pd.DataFrame) -> FloatArray:
    """What a plain script feeds scikit-learn: medians for gaps, a column for each level."""
    filled = frame.fillna(frame.median(numeric_only=True))
    return pd.get_dummies(filled).to_numpy(np.float64)


def customer_tables(clustsim: ModuleType, n_tables: int) -> list[Truth]:
    numbers = range(FIRST_CUSTOMER_TABLE, FIRST_CUSTOMER_TABLE + n_tables)
    return [
        Truth(name, frame, (labels.astype(np.int64),))
        for name, frame, labels in clustsim.suite(numbers)
    ]


def structureless_tables(clustsim: ModuleType, n_tables: int) -> list[Truth]:
    numbers = range(FIRST_STRUCTURELESS_TABLE, FIRST_STRUCTURELESS_TABLE + n_tables)
    return [Truth(f"structureless_{n}", clustsim.table(n, 1)[0], ()) for n in numbers]


def battery_sets(directory: Path, largest: int) -> list[Truth]:
    """Benchmark sets of at most `largest` rows."""
    sets = []
    for path in sorted(directory.glob("*.csv.gz")):
        table = pd.read_csv(path)
        if len(table) <= largest:
            columns = table.filter(regex=r"^x\d+$").astype(np.float64)
            partitions = table.filter(regex=r"^labels\d+$").to_numpy(np.int64).T - 1
            sets.append(Truth(path.name.removesuffix(".csv.gz"), columns, tuple(partitions)))
    return sets


def real_tables(directory: Path) -> dict[str, pd.DataFrame]:
    """Three customer tables, and what two shops' transactions say of who bought."""
    invoices = pd.read_csv(directory / "online_retail_invoices.csv.gz")
    invoices = invoices.rename(columns={"invoice_date": "date"})
    return {
        "mall": pd.read_csv(directory / "mall_customers.csv"),
        "marketing": pd.read_csv(directory / "marketing_campaign.csv"),
        "online shoppers": pd.read_csv(directory / "online_shoppers.csv"),
        "online retail RFM": rfm(invoices),
        "CDNOW RFM": rfm(pd.read_csv(directory / "cdnow_transactions.csv.gz")),
    }


def rfm(transactions: pd.DataFrame) -> pd.DataFrame:
    """Recency, frequency, money and tenure of everyone who bought, as of the day after."""
    days = pd.to_datetime(transactions["date"], format="ISO8601").dt.normalize()
    as_of = days.max() + pd.Timedelta(days=1)
    bought = transactions.assign(day=days)[transactions["amount"] > 0]
    customers = bought.groupby("customer_id")
    return pd.DataFrame(
        {
            "recency_days": (as_of - customers["day"].max()).dt.days,
            "frequency": customers.size(),
            "monetary": customers["amount"].sum(),
            "tenure_days": (as_of - customers["day"].min()).dt.days,
        }
    ).reset_index(drop=True)


def load_module(path: Path) -> ModuleType:
    """Import a generator from where it lies."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
