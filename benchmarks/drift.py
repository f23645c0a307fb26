"""How true drift alarms are: false alarms, power, trifles, time and memory, beside what others do.

Customers are simulated; nothing is told to the engine. Every repetition has a seed of its own, and
its outcome is kept in a file, so that a table may be assembled over several runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, ks_2samp
from threadpoolctl import threadpool_limits

from benchmarks.clustering.report import print_rows
from benchmarks.clustering.tables import BESIDE_THE_PROJECT, load_module, real_tables
from ml.clusterers import ClusterModel
from ml.drift import DriftResult, ReferenceProfile, Scored, Verdict, compare
from ml.encoder import FeatureEncoder
from ml.features import RawColumns
from ml.fitting import fit_clusters
from ml.held_out import score_held_out
from ml.schema_learning import learn_schema
from ml.scored import score
from ml.shown_distances import jensen_shannon

AS_OF = date(2026, 1, 1)
THRESHOLD = 0.05
N_CLUSTERS = 5
# A fresh reference after so many repetitions: a lucky one would hide a bias, and an unlucky one
# errs again and again. Large ones differ little and take long.
REPETITIONS_A_REFERENCE = {300: 1, 5_000: 5, 100_000: 100}
WEEKS = 52
MOST_WEEKS_TO_FIND = 26
SEED = 20_000  # of the repetitions

REFERENCE = 5_000
MILLION = 1_000_000
SIZES = (50, 200, 1_000, 10_000, 100_000, MILLION)
REFERENCES = (300, 5_000, 100_000)
TIMED_SIZES = (10_000, 100_000, MILLION)
MEBIBYTE = 2**20
KIBIBYTE = 2**10
STATUS = Path("/proc/self/status")
WARM_UP = 1_000  # customers compared once for what Python and its libraries load by then
DRIFTS = (
    "shift_0.1sd",
    "shift_0.25sd",
    "shift_0.5sd",
    "scale_1.25",
    "corr_half",
    "cat_5pp",
    "cat_10pp",
    "newcat_1pct",
    "miss_+5pp",
    "mix_20pct",
    "mix_all",
    "tail_x3",
)
TRIFLES = ("none", "trifle_age_0.02sd", "trifle_income_1pct")
LARGEST_FOR_OTHERS = 10_000  # current customers up to which the others are run too
PARTS = ("false", "halves", "power", "trifles", "year", "time")

TIMED = ("np.sort", "segments at hand", "with scoring")
INPUT = "input, MiB"
HELD = (INPUT, "segments at hand, MiB", "with scoring, MiB")

Outcome: TypeAlias = dict[str, float]


class Version(NamedTuple):
    """What a comparison needs to know of a trained version."""

    profile: ReferenceProfile
    encoder: FeatureEncoder
    clusters: ClusterModel

    @classmethod
    def train(cls, frame: pd.DataFrame, model_type: str = "kmeans") -> Self:
        schema = learn_schema(frame, as_of=AS_OF)
        encoder = FeatureEncoder(schema)
        raw = encoder.raw_from_frame(frame)
        X = encoder.encode(raw)
        parameters = {"n_clusters": N_CLUSTERS, "n_init": 2} if model_type == "kmeans" else {}
        fit = fit_clusters(model_type, X, parameters=parameters)
        profile = ReferenceProfile.fit(schema, raw, score_held_out(X, fit), fitted=fit.labels)
        return cls(profile, encoder, fit.model)

    def read(self, frame: pd.DataFrame) -> tuple[RawColumns, Scored]:
        raw = self.encoder.raw_from_frame(frame)
        return raw, self.score(raw)

    def score(self, raw: RawColumns) -> Scored:
        return score(
            self.encoder,
            self.clusters,
            raw,
            random_state=0,
            ignores_own_place=self.profile.ignores_own_place,
        )

    def compare(self, frame: pd.DataFrame, **options: object) -> DriftResult:
        return compare(self.profile, *self.read(frame), threshold=THRESHOLD, **options)


class Watched(NamedTuple):
    """A reference and the version trained on it."""

    frame: pd.DataFrame
    version: Version


class Cell(NamedTuple):
    """One figure of a table: what is run, on which reference, with how many current customers."""

    part: str
    model_type: str
    n_reference: int
    n_current: int
    drift: str

    @property
    def key(self) -> str:
        return "/".join(map(str, self))


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


def best_of(work: Callable[[], object], n_times: int = 3) -> float:
    """Return the shortest of a few times, in seconds: the machine may have others to serve."""
    taken = []
    for _ in range(n_times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


def memory(version: Version, raw: RawColumns, scored: Scored) -> Outcome:
    """Return MiB of the raw columns, and what a comparison takes beside them at its peak.

    Each is run in a process of its own, which has loaded the customers and nothing of their
    making: a process never forgets its peak.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        np.savez(path / "raw.npz", **raw)
        known = {"labels": scored.labels, "distances": scored.distances, "rows": scored.rows}
        np.savez(path / "scored.npz", **{k: v for k, v in known.items() if v is not None})
        with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            at_hand, with_scoring = (
                pool.apply(peak_beside_input, (version, path, at_hand)) for at_hand in (True, False)
            )
    return {
        INPUT: sum(values.nbytes for values in raw.values()) / MEBIBYTE,
        HELD[1]: at_hand,
        HELD[2]: with_scoring,
    }


def peak_beside_input(version: Version, directory: Path, at_hand: bool) -> float:
    """Compare stored customers; return by how many MiB the peak lies over what is held before."""
    with np.load(directory / "raw.npz") as stored:
        raw = dict(stored)
    with np.load(directory / "scored.npz") as stored:
        scored = Scored(**stored) if at_hand else None
    with threadpool_limits(1):
        few = {name: values[:WARM_UP] for name, values in raw.items()}
        compare(version.profile, few, version.score(few))
        # ru_maxrss would begin at the peak of the process that started this one.
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        compare(version.profile, raw, scored or version.score(raw))
    return resident("VmHWM") - before


def resident(which: str) -> float:
    """Return MiB of this process in memory: VmRSS now, VmHWM at the peak (Linux)."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) * KIBIBYTE / MEBIBYTE


def alarms(watched: Watched, current: pd.DataFrame, *, beside_others: bool) -> Outcome:
    found: Outcome = {"ours": float(watched.version.compare(current).verdict != Verdict.OK)}
    if beside_others and len(current) <= LARGEST_FOR_OTHERS:
        found |= others(watched.frame, current)
    return found


def others(reference: pd.DataFrame, current: pd.DataFrame) -> Outcome:
    """Alarm by a test a column, and by Evidently's default rule."""
    p_values = [p_value(reference[name], current[name]) for name in reference]
    by_rule = [evidently_drifted(reference[name], current[name]) for name in reference]
    return {
        "KS/χ², any p < .05": float(min(p_values) < THRESHOLD),
        "KS/χ² + Bonferroni": float(min(p_values) < THRESHOLD / len(p_values)),
        "Evidently's default": float(np.mean(by_rule) >= 0.5),
        "Evidently's, any column": float(any(by_rule)),
    }


def p_value(reference: pd.Series, current: pd.Series) -> float:
    if reference.dtype.kind in "fiub":
        return float(ks_2samp(reference.dropna(), current.dropna(), method="asymp").pvalue)
    return float(chi2_contingency(level_counts(reference, current))[1])


def level_counts(reference: pd.Series, current: pd.Series) -> np.ndarray:
    levels = pd.concat([reference, current]).dropna().unique()
    return np.array(
        [each.value_counts().reindex(levels, fill_value=0) for each in (reference, current)]
    )


def evidently_drifted(reference: pd.Series, current: pd.Series) -> bool:
    """Apply the rule that Evidently documents as its default, to one column.

    Up to 1,000 reference rows p < .05 of KS or chi-square; beyond, a Wasserstein distance of .1
    reference sd, or for categories and up to five values a Jensen-Shannon distance of .1.
    """
    if len(reference) <= 1_000:
        return p_value(reference, current) < 0.05
    if reference.dtype.kind in "fiub" and reference.nunique() > 5:
        return wasserstein_sd(reference, current) >= 0.1
    counts = level_counts(reference, current)
    return (jensen_shannon(counts[0], counts[1]) or 0.0) >= 0.1


def wasserstein_sd(reference: pd.Series, current: pd.Series) -> float:
    from scipy.stats import wasserstein_distance

    spread = max(float(reference.std()), 0.001)
    return wasserstein_distance(reference.dropna(), current.dropna()) / spread


def cells_of(part: str, model_types: Sequence[str]) -> Iterator[Cell]:
    for model_type in model_types:
        if part == "false":
            # Choosing eps among 100,000 customers takes minutes a reference.
            for n_reference in REFERENCES[: 2 if model_type == "dbscan" else None]:
                for n_current in SIZES:
                    yield Cell(part, model_type, n_reference, n_current, "none")
        elif part == "halves":
            for table in ("marketing", "online shoppers", "online retail RFM"):
                for n_current in (200, 1_000):
                    yield Cell(part, model_type, 0, n_current, table)
        elif part == "power":
            for n_current in (200, 1_000, 10_000):
                for drift in DRIFTS:
                    yield Cell(part, model_type, REFERENCE, n_current, drift)
        elif part == "trifles":
            for drift in TRIFLES:
                yield Cell(part, model_type, 100_000, MILLION, drift)
        elif part == "year":
            for drift in ("none", "shift_0.25sd", "shift_0.1sd", "tail_x3"):
                yield Cell(part, model_type, REFERENCE, 1_000, drift)
        else:
            for n_current in TIMED_SIZES:
                yield Cell(part, model_type, 100_000, n_current, "none")


def share(outcomes: Sequence[Outcome], way: str) -> str:
    known = [outcome[way] for outcome in outcomes if way in outcome]
    return f"{np.mean(known):.3f}" if known else "–"


def mean_share(cells: Sequence[Sequence[Outcome]], way: str) -> str:
    known = [[outcome[way] for outcome in outcomes if way in outcome] for outcomes in cells]
    return f"{np.mean([np.mean(each) for each in known]):.3f}" if all(known) else "–"


def allowed(n: int) -> float:
    """The level plus two standard errors of so many repetitions."""
    return THRESHOLD + 2 * (THRESHOLD * (1 - THRESHOLD) / max(n, 1)) ** 0.5


WAYS = (
    "ours",
    "KS/χ², any p < .05",
    "KS/χ² + Bonferroni",
    "Evidently's default",
    "Evidently's, any column",
)


def print_false(title: str, found: dict[Cell, list[Outcome]], *, of_tables: bool) -> None:
    print_rows(
        title,
        ("model", "table" if of_tables else "reference", "current", "repetitions")
        + ("reach", *WAYS),
        (
            (
                cell.model_type,
                cell.drift if of_tables else f"{cell.n_reference:,}",
                f"{cell.n_current:,}",
                str(len(outcomes)),
                f"≤ {allowed(len(outcomes)):.3f}",
                *(share(outcomes, way) for way in WAYS),
            )
            for cell, outcomes in found.items()
            if outcomes
        ),
    )


def print_power(found: dict[Cell, list[Outcome]]) -> None:
    known = {cell: outcomes for cell, outcomes in found.items() if outcomes}
    for model_type, n_current in dict.fromkeys((c.model_type, c.n_current) for c in known):
        here = {
            c: o for c, o in known.items() if (c.model_type, c.n_current) == (model_type, n_current)
        }
        rows: list[tuple[str, ...]] = [
            (cell.drift, str(len(outcomes)), *(share(outcomes, way) for way in WAYS))
            for cell, outcomes in here.items()
        ]
        means = [mean_share(list(here.values()), way) for way in WAYS]
        rows.append(("mean", "", *means))
        print_rows(
            f"Power, {model_type}, reference {REFERENCE:,}, current {n_current:,}"
            " (reach: mean ≥ .88 at 1,000, ≥ .99 at 10,000)",
            ("drift", "repetitions", *WAYS),
            rows,
        )


def print_year(found: dict[Cell, list[Outcome]]) -> None:
    rows: Iterable[tuple[str, ...]] = (
        (cell.drift, policy, str(len(outcomes)), *year_figures(outcomes, policy))
        for cell, outcomes in found.items()
        if outcomes
        for policy in outcomes[0]
    )
    print_rows(
        "Weekly checks of 1,000 customers (reach: ≤ 5 % of quiet years, ≤ 2 weeks to .25 sd)",
        ("drift", "policy", "runs", "with an alarm", "median week of it"),
        rows,
    )


def year_figures(outcomes: Sequence[Outcome], policy: str) -> tuple[str, str]:
    weeks = [outcome[policy] for outcome in outcomes if outcome[policy]]
    return f"{len(weeks) / len(outcomes):.0%}", f"{np.median(weeks):.1f}" if weeks else "–"


def print_time(found: dict[Cell, list[Outcome]]) -> None:
    known = {cell: medians(outcomes) for cell, outcomes in found.items() if outcomes}
    print_rows(
        "Time of 10 columns (reach at 1,000,000: ≤ 1.5 with segments at hand, ≤ 3.5 with scoring)",
        ("model", "current", "work", "s", "of np.sort"),
        (
            (cell.model_type, f"{cell.n_current:,}", way, f"{taken[way]:.3f}")
            + (f"{taken[way] / taken[TIMED[0]]:.2f}",)
            for cell, taken in known.items()
            for way in TIMED
        ),
    )
    print_rows(
        "Memory of 10 columns, at the peak and beside the input",
        ("model", "current", "work", "MiB", "of the input"),
        (
            (cell.model_type, f"{cell.n_current:,}", way, f"{taken[way]:.1f}")
            + (f"{taken[way] / taken[INPUT]:.2f}",)
            for cell, taken in known.items()
            for way in HELD
        ),
    )


def medians(outcomes: Sequence[Outcome]) -> Outcome:
    return {way: float(np.median([outcome[way] for outcome in outcomes])) for way in outcomes[0]}


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
