"""How true drift alarms are: false alarms, power, trifles, time and memory, beside what others do.

Customers are simulated; nothing is told to the engine. Every repetition has a seed of its own, and
its outcome is kept in a file, so that a table may be assembled over several runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from benchmarks.clustering.tables import BESIDE_THE_PROJECT, load_module, real_tables
from benchmarks.drift_cells import (
    MILLION,
    PARTS,
    Cell,
    cells_of,
    print_false,
    print_power,
    print_time,
    print_year,
)
from benchmarks.drift_costs import TIMED, best_of, memory
from benchmarks.drift_ways import Outcome, Version, Watched, alarms
from ml.drift import Verdict, compare

# A fresh reference after so many repetitions: a lucky one would hide a bias, and an unlucky one
# errs again and again. Large ones differ little and take long.
REPETITIONS_A_REFERENCE = {300: 1, 5_000: 5, 100_000: 100}
WEEKS = 52
MOST_WEEKS_TO_FIND = 26
SEED = 20_000  # of the repetitions


@dataclass(frozen=True, slots=True)
class Scale:
    """Repetitions of a cell: without drift, with one, at a million (at most), and years of weekly
    checks."""

    n_false: int
    n_power: int
    n_million: int
    n_years: int

    def at_most(self, n_repetitions: int, n_current: int) -> int:
        """Return the repetitions of a cell of that many customers."""
        return min(n_repetitions, self.n_million) if n_current >= MILLION else n_repetitions


FULL = Scale(500, 200, 25, 200)
QUICK = Scale(60, 30, 2, 4)


class Bench:
    """Runs cells, and keeps every outcome."""

    def __init__(self, asked: argparse.Namespace, scale: Scale) -> None:
        self.custsim: ModuleType = load_module(asked.bench_dir.resolve() / "custsim.py")
        self.real = lambda: real_tables(asked.data_dir)
        self.scale = scale
        self.path: Path = asked.results
        self.deadline = time.monotonic() + 60 * asked.minutes
        self.show_only: bool = asked.show
        self.n_others: int = asked.others
        self.outcomes: dict[str, dict[int, Outcome]] = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                key, repetition, outcome = json.loads(line)
                self.outcomes.setdefault(key, {})[repetition] = outcome

    def run(
        self, cell: Cell, n_repetitions: int, one: Callable[[Cell, int], Outcome]
    ) -> list[Outcome]:
        """Return the outcomes of a cell, running those that are not kept yet."""
        kept = self.outcomes.setdefault(cell.key, {})
        for repetition in range(n_repetitions):
            if repetition in kept or self.show_only or time.monotonic() > self.deadline:
                continue
            kept[repetition] = one(cell, repetition)
            with self.path.open("a") as file:
                file.write(json.dumps([cell.key, repetition, kept[repetition]]) + "\n")
            print(f"\r{cell.key}: {len(kept)} of {n_repetitions}  ", end="", file=sys.stderr)
        return [kept[repetition] for repetition in sorted(kept) if repetition < n_repetitions]

    def customers(self, cell: Cell, repetition: int) -> pd.DataFrame:
        """Draw current customers; another cell or repetition draws others."""
        rng = np.random.default_rng([SEED, repetition, zlib.crc32(cell.key.encode())])
        return self.custsim.make(cell.n_current, rng, self.custsim.DRIFTS[cell.drift])

    @lru_cache(maxsize=4)  # noqa: B019 - one bench a program
    def watched(self, model_type: str, n_reference: int, number: int) -> Watched:
        rng = np.random.default_rng([SEED, number, n_reference])
        frame = self.custsim.make(n_reference, rng)
        return Watched(frame, Version.train(frame, model_type))

    def verdict(self, cell: Cell, repetition: int) -> Outcome:
        """Compare once by each way: 1 for an alarm."""
        watched = self.watched(
            cell.model_type,
            cell.n_reference,
            repetition // REPETITIONS_A_REFERENCE[cell.n_reference],
        )
        current = self.customers(cell, repetition)
        return alarms(watched, current, beside_others=repetition < self.n_others)

    def half(self, cell: Cell, repetition: int) -> Outcome:
        """Train on a random part of a real table and compare customers of the rest."""
        frame = self.table(cell.drift)
        rng = np.random.default_rng([SEED, repetition])
        order = rng.permutation(len(frame))
        first, second = np.split(order, [len(frame) // 2])
        reference = frame.iloc[first].reset_index(drop=True)
        watched = Watched(reference, Version.train(reference, cell.model_type))
        current = frame.iloc[second[: cell.n_current]].reset_index(drop=True)
        return alarms(watched, current, beside_others=repetition < self.n_others)

    @lru_cache(maxsize=1)  # noqa: B019 - one bench a program
    def tables(self) -> dict[str, pd.DataFrame]:
        return self.real()

    def table(self, name: str) -> pd.DataFrame:
        return self.tables()[name]

    def year(self, cell: Cell, repetition: int) -> Outcome:
        """Check weekly against one reference, for a year without a change or until it is found."""
        watched = self.watched(cell.model_type, cell.n_reference, 1_000 + repetition)
        subjects: tuple[str, ...] = ()
        n_weeks = WEEKS if cell.drift == "none" else MOST_WEEKS_TO_FIND
        alarmed = {"two levels": 0.0, "weekly 5 %": 0.0}
        for week in range(1, n_weeks + 1):
            key = [SEED, repetition, week, zlib.crc32(cell.key.encode())]
            current = self.custsim.make(
                cell.n_current, np.random.default_rng(key), self.custsim.DRIFTS[cell.drift]
            )
            result = watched.version.compare(
                current, checks_per_year=WEEKS, previous_subjects=subjects
            )
            subjects = result.subjects
            found = {
                "two levels": result.verdict == Verdict.DRIFT,
                "weekly 5 %": result.verdict != Verdict.OK,
            }
            for policy in alarmed:
                if found[policy] and not alarmed[policy]:
                    alarmed[policy] = week
            if all(alarmed.values()):
                break
        return alarmed

    def timed(self, cell: Cell, repetition: int) -> Outcome:
        """Measure time and memory of a comparison, beside sorting as many float columns."""
        version = self.watched(cell.model_type, cell.n_reference, 0).version
        current = self.customers(cell, repetition)
        # No two values alike: numpy sorts columns of few distinct values much faster.
        columns = np.random.default_rng(repetition).normal(size=(10, cell.n_current))
        raw, scored = version.read(current)
        return {
            TIMED[0]: best_of(lambda: [np.sort(column) for column in columns]),
            TIMED[1]: best_of(lambda: compare(version.profile, raw, scored)),
            TIMED[2]: best_of(lambda: compare(version.profile, raw, version.score(raw))),
            **memory(version, raw, scored),
        }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.drift")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--models", nargs="+", default=["kmeans"], choices=["kmeans", "dbscan"])
    parser.add_argument("--false", type=int, help="repetitions of a cell without drift")
    parser.add_argument("--power", type=int, help="repetitions of a cell with drift")
    parser.add_argument("--million", type=int, help="repetitions at a million customers")
    parser.add_argument("--years", type=int, help="years of weekly checks")
    parser.add_argument(
        "--others", type=int, default=50, help="repetitions for the others, at most"
    )
    parser.add_argument("--largest", type=int, default=MILLION, help="customers of a cell, at most")
    parser.add_argument("--minutes", type=float, default=600.0, help="stop starting work then")
    parser.add_argument("--show", action="store_true", help="print what is kept, run nothing")
    parser.add_argument("--results", type=Path, default=Path("drift_results.jsonl"))
    parser.add_argument("--data-dir", type=Path, default=BESIDE_THE_PROJECT / "data")
    parser.add_argument("--bench-dir", type=Path, default=BESIDE_THE_PROJECT / "bench")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    base = QUICK if asked.quick else FULL
    scale = Scale(
        asked.false or base.n_false,
        asked.power or base.n_power,
        asked.million or base.n_million,
        asked.years or base.n_years,
    )
    bench = Bench(asked, scale)
    plans: dict[str, tuple[int, Callable[[Cell, int], Outcome]]] = {
        "false": (scale.n_false, bench.verdict),
        "halves": (scale.n_false, bench.half),
        "power": (scale.n_power, bench.verdict),
        "trifles": (scale.n_million, bench.verdict),
        "year": (scale.n_years, bench.year),
        "time": (min(scale.n_million, 3), bench.timed),
    }
    with threadpool_limits(1):
        for part in asked.only or PARTS:
            n_repetitions, one = plans[part]
            found = {
                cell: bench.run(cell, scale.at_most(n_repetitions, cell.n_current), one)
                for cell in cells_of(part, asked.models)
                if cell.n_current <= asked.largest
            }
            print(file=sys.stderr)
            if part in ("false", "halves"):
                title = "False alarms without drift" + (
                    ", halves of real tables" if part == "halves" else ""
                )
                print_false(title, found, of_tables=part == "halves")
            elif part == "trifles":
                print_false("Trifles, and none", found, of_tables=True)
            elif part == "power":
                print_power(found)
            elif part == "year":
                print_year(found)
            else:
                print_time(found)


if __name__ == "__main__":
    os.nice(19 - os.nice(0))
    main()
