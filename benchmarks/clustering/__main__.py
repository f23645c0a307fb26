"""Measure everything, or what `--only` names, and print the figures with their goals."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.clustering import choices, density, retrains, rules
from benchmarks.clustering.digests import print_digests
from benchmarks.clustering.report import Figure, print_figures, print_tables
from benchmarks.clustering.tables import (
    BESIDE_THE_PROJECT,
    FIRST_CUSTOMER_TABLE,
    FIRST_STRUCTURELESS_TABLE,
    SEED,
    battery_sets,
    customer_tables,
    load_module,
    real_tables,
    structureless_tables,
)

PARTS = ("k", "evidence", "dbscan", "kept", "rules")

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
QUICK = Scale(10, 10, 3, 2_500)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.clustering")
    parser.add_argument("--quick", action="store_true", help="fewer tables, some five minutes")
    parser.add_argument("--tables", action="store_true", help="print each table too")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument(
        "--digest", action="store_true", help="only print digests of fits, to compare interpreters"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--data-dir", type=Path, default=BESIDE_THE_PROJECT / "data")
    parser.add_argument("--bench-dir", type=Path, default=BESIDE_THE_PROJECT / "bench")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    if asked.digest:
        print_digests(asked.data_dir)
        return
    scale = QUICK if asked.quick else FULL
    parts = set(asked.only or PARTS)
    started = time.monotonic()
    print(
        f"Seeds: model {SEED}; customer tables from {FIRST_CUSTOMER_TABLE}, structureless from "
        f"{FIRST_STRUCTURELESS_TABLE}; retrains {retrains.FIRST_RETRAIN} to "
        f"{retrains.FIRST_RETRAIN + scale.n_retrains - 1}.",
        flush=True,
    )
    figures: list[Figure] = []
    with ProcessPoolExecutor(asked.jobs) as pool:
        if parts & {"k", "evidence"}:
            figures += measure_choices(asked, scale, pool, parts)
        if "dbscan" in parts:
            sets = battery_sets(asked.data_dir / "battery", scale.largest_set)
            densities = run(pool, density.choose_density, sets, "DBSCAN, battery")
            if asked.tables:
                print_tables("DBSCAN, battery", {each.name: each.agreement for each in densities})
            figures += density.density_figures(densities)
        if parts & {"kept", "rules"}:
            figures += measure_real_tables(asked, scale, pool, parts)
    print_figures(figures)
    print(f"\n{time.monotonic() - started:.0f} s")


def measure_choices(
    asked: argparse.Namespace, scale: Scale, pool: ProcessPoolExecutor, parts: set[str]
) -> list[Figure]:
    """Run what needs the customer tables: choosing k, and evidence."""
    clustsim = load_module(asked.bench_dir.resolve() / "clustsim.py")
    tables = customer_tables(clustsim, scale.n_customer_tables)
    customers = run(pool, choices.choose_segments, tables, "k, customer tables")
    if asked.tables:
        print_tables("k, customer tables", {each.name: each.agreement for each in customers})
    figures: list[Figure] = []
    if "k" in parts:
        sets = battery_sets(asked.data_dir / "battery", scale.largest_set)
        sets = [truth for truth in sets if max(truth.n_clusters()) <= choices.MAX_TRUE_K]
        battery = run(pool, choices.choose_segments, sets, "k, battery")
        if asked.tables:
            print_tables("k, battery", {each.name: each.agreement for each in battery})
        figures += choices.choice_figures(customers, battery)
    if "evidence" in parts:
        structureless = structureless_tables(clustsim, scale.n_structureless)
        found = run(pool, choices.find_evidence, structureless, "evidence, structureless tables")
        figures += choices.evidence_figures(found, customers)
    return figures


def measure_real_tables(
    asked: argparse.Namespace, scale: Scale, pool: ProcessPoolExecutor, parts: set[str]
) -> list[Figure]:
    """Run what needs customers as they are: keeping segments, and rules."""
    tables = real_tables(asked.data_dir)
    figures: list[Figure] = []
    if "kept" in parts:
        tasks = retrains.retrain_tasks(tables, scale.n_retrains)
        figures += retrains.retrain_figures(run(pool, retrains.keep_segments, tasks, "retrains"))
    if "rules" in parts:
        described = [(name, frame, k) for name, frame in tables.items() for k in rules.DESCRIBED_KS]
        figures += rules.rule_figures(run(pool, rules.describe_segments, described, "rules"))
    return figures


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
