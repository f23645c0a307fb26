"""How well segments are found, proven and kept, beside scikit-learn as it comes.

Every table is labelled, structureless or real; k, eps and seeds are never told. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import DBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from ml.cluster_fits import fit_kmeans
from ml.clusterers import NOISE, DBSCANModel, FloatArray, IntArray, widened
from ml.encoder import FeatureEncoder
from ml.evaluation import MAX_NOISE_SHARE
from ml.fitting import fit_clusters
from ml.identity import match_on_centres, match_on_customers, mean_centres
from ml.schema_learning import learn_schema
from ml.selection import CANDIDATE_N_CLUSTERS

BESIDE_THE_PROJECT = Path(__file__).resolve().parents[1] / ".." / "shared"
SEED = 0
# The generators' tables are numbered; these numbers were used for no choice in the product.
FIRST_CUSTOMER_TABLE = 10_000
FIRST_STRUCTURELESS_TABLE = 11_000
AS_OF = date(2016, 1, 1)
MAX_TRUE_K = 12
RETRAINED_KS = (4, 6)
LARGEST_QUICK_SET = 2_500

PARTS = ("k", "evidence", "dbscan", "kept")

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is run: numbers of tables and of retrains, largest benchmark set in rows."""

    n_customer_tables: int
    n_structureless: int
    n_retrains: int
    largest_set: int


FULL = Scale(42, 42, 20, 1_000_000)
QUICK = Scale(10, 10, 4, LARGEST_QUICK_SET)


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


@dataclass(frozen=True, slots=True)
class Chosen:
    """Agreement of each way to segment one table, and what the product said of it."""

    name: str
    agreement: dict[str, float]
    evidence: str | None = None
    n_clusters: int = 0


@dataclass(frozen=True, slots=True)
class Density:
    """The same for DBSCAN, with the agreement of predict and fit on the training rows."""

    name: str
    agreement: dict[str, float]
    degenerate: bool
    flagged: bool
    core_share: float
    noise_share: float
    all_share: float


@dataclass(frozen=True, slots=True)
class Kept:
    """Mean share of customers who keep their segment over retrains of one table at one k."""

    name: str
    n_clusters: int
    shares: dict[str, float]
    warm_share: float


def encoded(frame: pd.DataFrame) -> FloatArray:
    return FeatureEncoder(learn_schema(frame, as_of=AS_OF)).encode_frame(frame)


def raw_values(frame: pd.DataFrame) -> FloatArray:
    """What a plain script feeds scikit-learn: medians for gaps, a column for each level."""
    filled = frame.fillna(frame.median(numeric_only=True))
    return pd.get_dummies(filled).to_numpy(np.float64)


def plain_kmeans(X: FloatArray, n_clusters: int) -> IntArray:
    return KMeans(n_clusters, n_init=10, random_state=SEED).fit(X).labels_.astype(np.int64)


def elbow(X: FloatArray) -> IntArray:
    """Take the k whose inertia lies farthest below the line from the first to the last."""
    fits = [KMeans(k, n_init=10, random_state=SEED).fit(X) for k in CANDIDATE_N_CLUSTERS]
    inertia = np.array([fit.inertia_ for fit in fits])
    line = np.linspace(inertia[0], inertia[-1], len(fits))
    return fits[int(np.argmax(line - inertia))].labels_


def choose_segments(truth: Truth) -> Chosen:
    """Segment one table in every way; only "true k" is told the number."""
    with threadpool_limits(1):
        X, raw = encoded(truth.frame), raw_values(truth.frame)
        fit = fit_clusters("kmeans", X, parameters={}, random_state=SEED)
        labelings = {
            "ours": fit.labels,
            "raw, k = 8": plain_kmeans(raw, 8),
            "raw, k = 4": plain_kmeans(raw, 4),
            "elbow, our columns": elbow(X),
        }
        agreement = {way: truth.agreement(labels) for way, labels in labelings.items()}
        agreement["true k, our columns"] = max(
            truth.agreement(fit_kmeans(X, n_clusters=k, random_state=SEED)[1])
            for k in truth.n_clusters()
        )
    evidence = fit.selection.evidence if fit.selection else None
    return Chosen(truth.name, agreement, evidence, fit.model.n_clusters)


def find_evidence(truth: Truth) -> Chosen:
    """Ask for the evidence in a table without segments."""
    with threadpool_limits(1):
        fit = fit_clusters("kmeans", encoded(truth.frame), parameters={}, random_state=SEED)
    return Chosen(truth.name, {}, fit.selection.evidence if fit.selection else None)


def choose_density(truth: Truth) -> Density:
    with threadpool_limits(1):
        X = encoded(truth.frame)
        fit = fit_clusters("dbscan", X, parameters={}, random_state=SEED)
        as_is = DBSCAN().fit(raw_values(truth.frame)).labels_.astype(np.int64)
        assert isinstance(fit.model, DBSCANModel)
        shares = predict_shares(X, fit.model, int(fit.parameters["min_samples"]))
    noise_share = float(np.mean(fit.labels == NOISE))
    return Density(
        name=truth.name,
        agreement={"ours": truth.agreement(fit.labels), "as is": truth.agreement(as_is)},
        degenerate=fit.model.n_clusters < 2 or noise_share > MAX_NOISE_SHARE,
        flagged=fit.degenerate_reason is not None,
        core_share=shares[0],
        noise_share=shares[1],
        all_share=shares[2],
    )


def predict_shares(
    X: FloatArray, model: DBSCANModel, min_samples: int
) -> tuple[float, float, float]:
    """Compare predict on the training rows with scikit-learn's fit: core, noise, all rows."""
    theirs = DBSCAN(eps=widened(model.eps), min_samples=min_samples, algorithm="kd_tree").fit(X)
    ours = model.predict(X).labels
    is_core = np.zeros(len(X), dtype=bool)
    is_core[theirs.core_sample_indices_] = True
    # The names of clusters differ, so each of theirs gets the name of ours that suits it best.
    n_names = max(int(theirs.labels_.max()) + 1, model.n_clusters)
    table = np.zeros((n_names, n_names))
    named = is_core & (ours != NOISE)
    np.add.at(table, (theirs.labels_[named], ours[named]), 1)
    # One place more, so that NOISE (the last place) stays what it is.
    renamed = np.append(linear_sum_assignment(-table)[1], NOISE)[theirs.labels_]
    same, is_noise = renamed == ours, theirs.labels_ == NOISE
    return share(same[is_core]), share(same[is_noise]), share(same)


def share(flags: NDArray[np.bool_]) -> float:
    """Share of true ones; 1 where there is nothing to get wrong."""
    return float(np.mean(flags)) if len(flags) else 1.0


def keep_segments(task: tuple[str, pd.DataFrame, int, int]) -> Kept:
    """Retrain on bootstraps of the customers with new seeds; ask who keeps the segment."""
    name, frame, k, n_retrains = task
    with threadpool_limits(1):
        first = fit_clusters(
            "kmeans", encoded(frame), parameters={"n_clusters": k}, random_state=SEED
        )
        runs = [
            retrained(frame, first.labels, k, random_state=1_000 + run) for run in range(n_retrains)
        ]
    shares = {way: float(np.mean([run[way] for run in runs])) for way in runs[0]}
    return Kept(name, k, shares, shares.pop("started warm"))


def retrained(
    frame: pd.DataFrame, segments: IntArray, k: int, *, random_state: int
) -> dict[str, float]:
    """Retrain once, as the product would: schema, encoder and model from the new table."""
    rng = np.random.default_rng(random_state)
    drawn = rng.integers(len(frame), size=len(frame))
    table = frame.iloc[drawn].reset_index(drop=True)
    encoder = FeatureEncoder(learn_schema(table, as_of=AS_OF))
    X, everyone = encoder.encode_frame(table), encoder.encode_frame(frame)
    centres = mean_centres(X, segments[drawn])[1]
    parameters = {"n_clusters": k, "random_state": random_state}
    cold = fit_clusters("kmeans", X, parameters=parameters)
    warm = fit_clusters("kmeans", X, parameters=parameters, initial_centers=centres)
    plain = KMeans(k, n_init=10, random_state=random_state).fit(X).predict(everyone)
    labels = cold.model.predict(everyone).labels
    old_ids, old_centres = mean_centres(everyone, segments)
    on_centres = match_on_centres(old_ids.tolist(), old_centres, cold.model.arrays()["centers"])
    named = np.array([-2 if m.segment is None else m.segment for m in on_centres.matches])
    return {
        "plain": share(plain == segments),
        "matched": kept_share(segments, labels),
        "matched on centres": share(named[labels] == segments),
        "warm start": kept_share(segments, warm.model.predict(everyone).labels),
        "started warm": float(warm.warm_started),
    }


def kept_share(segments: IntArray, clusters: IntArray) -> float:
    return match_on_customers(segments, clusters).kept_share or 0.0


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
    sets = []
    for path in sorted(directory.glob("*.csv.gz")):
        table = pd.read_csv(path)
        if len(table) <= largest:
            columns = table.filter(regex=r"^x\d+$").astype(np.float64)
            partitions = table.filter(regex=r"^labels\d+$").to_numpy(np.int64).T - 1
            sets.append(Truth(path.name.removesuffix(".csv.gz"), columns, tuple(partitions)))
    return sets


def real_tables(directory: Path) -> dict[str, pd.DataFrame]:
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


def means(results: Sequence[Chosen | Density]) -> dict[str, float]:
    ways = results[0].agreement
    return {way: float(np.mean([result.agreement[way] for result in results])) for way in ways}


def print_rows(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def print_choices(customers: Sequence[Chosen], battery: Sequence[Chosen]) -> None:
    ours, others = means(customers), means(battery)
    goals = {"ours": ("≥ .58", "≥ .57")}
    print_rows(
        "Choosing k, mean adjusted Rand index",
        ("way", f"customers ({len(customers)})", "reach", f"battery ({len(battery)})", "reach"),
        (
            (way, f"{ours[way]:.3f}", goals.get(way, ("", ""))[0])
            + (f"{others[way]:.3f}", goals.get(way, ("", ""))[1])
            for way in ours
        ),
    )


def print_evidence(structureless: Sequence[Chosen], labelled: Sequence[Chosen]) -> None:
    goals = {"strong": ("≤ 2 %", "≥ 75 %"), "weak": ("", ""), "none": ("≥ 88 %", "≤ 5 %")}
    print_rows(
        "Evidence of segments",
        ("evidence", f"structureless ({len(structureless)})", "reach")
        + (f"labelled ({len(labelled)})", "reach"),
        (
            (word, percent(structureless, word), goals[word][0])
            + (percent(labelled, word), goals[word][1])
            for word in goals
        ),
    )


def percent(results: Sequence[Chosen], word: str) -> str:
    n_said = sum(result.evidence == word for result in results)
    return f"{n_said} = {n_said / len(results):.0%}"


def print_density(results: Sequence[Density]) -> None:
    mean = means(results)
    degenerate = [result for result in results if result.degenerate]
    rows = [
        ("eps by itself, adjusted Rand index", "≥ .60", f"{mean['ours']:.3f}"),
        ("scikit-learn as is", "", f"{mean['as is']:.3f}"),
        (
            "degenerate, and flagged",
            "all",
            f"{len(degenerate)}, {sum(r.flagged for r in degenerate)}",
        ),
        (
            "flagged without being so",
            "0",
            str(sum(r.flagged and not r.degenerate for r in results)),
        ),
        ("predict on training rows: core", "100 %", f"{worst_and_mean(results, 'core_share')}"),
        ("… noise", "100 %", f"{worst_and_mean(results, 'noise_share')}"),
        ("… all", "≥ 99.5 %", f"{worst_and_mean(results, 'all_share')}"),
    ]
    print_rows(f"DBSCAN, battery ({len(results)})", ("measure", "reach", "here"), rows)


def worst_and_mean(results: Sequence[Density], name: str) -> str:
    values = [getattr(result, name) for result in results]
    return f"mean {np.mean(values):.2%}, worst {min(values):.2%}"


def print_kept(results: Sequence[Kept]) -> None:
    ways = ("plain", "matched", "matched on centres", "warm start")
    print_rows(
        "Customers who keep their segment over a retrain (reach: matched ≥ 76 %, warm ≥ 94 %)",
        ("table", "k", *ways, "started warm"),
        (
            (result.name, str(result.n_clusters))
            + tuple(f"{result.shares[way]:.1%}" for way in ways)
            + (f"{result.warm_share:.0%}",)
            for result in results
        ),
    )


def print_tables(results: Sequence[Chosen | Density]) -> None:
    ways = tuple(results[0].agreement)
    print_rows(
        "Each table, adjusted Rand index",
        ("table", *ways),
        ((r.name, *(f"{r.agreement[way]:.2f}" for way in ways)) for r in results),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.clustering")
    parser.add_argument("--quick", action="store_true", help="fewer tables, some three minutes")
    parser.add_argument("--tables", action="store_true", help="print each table too")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--data-dir", type=Path, default=BESIDE_THE_PROJECT / "data")
    parser.add_argument("--bench-dir", type=Path, default=BESIDE_THE_PROJECT / "bench")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    scale = QUICK if asked.quick else FULL
    started = time.monotonic()
    print(
        f"Seeds: model {SEED}; customer tables from {FIRST_CUSTOMER_TABLE}, structureless from "
        f"{FIRST_STRUCTURELESS_TABLE}; retrains 1000 to {999 + scale.n_retrains}.",
        flush=True,
    )
    with ProcessPoolExecutor(asked.jobs) as pool:
        parts = set(asked.only or PARTS)
        if parts & {"k", "evidence"}:
            measure_choices(asked, scale, pool, parts)
        if "dbscan" in parts:
            sets = battery_sets(asked.data_dir / "battery", scale.largest_set)
            densities = run(pool, choose_density, sets, "DBSCAN, battery")
            print_density(densities)
            if asked.tables:
                print_tables(densities)
        if "kept" in parts:
            tasks = [
                (name, frame, k, scale.n_retrains)
                for name, frame in real_tables(asked.data_dir).items()
                for k in RETRAINED_KS
            ]
            print_kept(run(pool, keep_segments, tasks, "retrains, real tables"))
    print(f"\n{time.monotonic() - started:.0f} s")


def measure_choices(
    asked: argparse.Namespace, scale: Scale, pool: ProcessPoolExecutor, parts: set[str]
) -> None:
    """Run what needs the customer tables: choosing k, and evidence."""
    clustsim = load_module(asked.bench_dir.resolve() / "clustsim.py")
    tables = customer_tables(clustsim, scale.n_customer_tables)
    customers = run(pool, choose_segments, tables, "k, customer tables")
    if asked.tables:
        print_tables(customers)
    if "k" in parts:
        sets = battery_sets(asked.data_dir / "battery", scale.largest_set)
        sets = [truth for truth in sets if max(truth.n_clusters()) <= MAX_TRUE_K]
        battery = run(pool, choose_segments, sets, "k, battery")
        print_choices(customers, battery)
        if asked.tables:
            print_tables(battery)
    if "evidence" in parts:
        structureless = structureless_tables(clustsim, scale.n_structureless)
        found = run(pool, find_evidence, structureless, "evidence, structureless tables")
        print_evidence(found, customers)


def run(
    pool: ProcessPoolExecutor,
    judge: Callable[[Task], Result],
    tasks: Sequence[Task],
    title: str,
) -> list[Result]:
    """Judge every task in the pool and say on stderr how far it is."""
    results = []
    for result in pool.map(judge, tasks):
        results.append(result)
        print(f"\r{title}: {len(results)} of {len(tasks)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


if __name__ == "__main__":
    main()
