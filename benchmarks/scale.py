"""How time and memory grow with the table: import, train, assign, compare, activate.

Each stage runs in a process of its own, so its peak memory is its own. The customers are the demo
shop's (`segments.demo_shop`): 12 attributes with gaps, skewed money, categories, a date, a boolean
and a card number that is no feature; five groups hide in them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.servers import ROOT, own_environment
from segments.demo_shop import write_demo_customers

if TYPE_CHECKING:
    from modelregistry.models import ModelVersion

SIZES = (10_000, 100_000, 1_000_000)
CUSTOMERS_SEED = 7
STAGE_SECONDS = 3_600.0
MIB = 1024**2


@dataclass
class Measured:
    """One stage: wall and processor seconds, peak memory, and the wall seconds of its steps.

    On a machine that others use too the processor seconds are those to compare.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    note: str = ""
    steps: dict[str, float] = field(default_factory=dict)


class Steps:
    """Adds up the seconds between two reports, under the name of the earlier one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._step, self._since = "starting", time.perf_counter()

    def report(self, share: float, step: str) -> None:
        now = time.perf_counter()
        self.seconds[self._step] = self.seconds.get(self._step, 0.0) + now - self._since
        self._step, self._since = step, now


# What each stage does; all of it imports Django's models only once Django is set up.


def write_file(path: Path, steps: Steps) -> str:
    size = int(path.stem)
    write_demo_customers(path, n_customers=size, random_state=CUSTOMERS_SEED)
    return f"{path.stat().st_size / MIB:,.0f} MiB"


def migrate(path: Path, steps: Steps) -> str:
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)
    return ""


def import_file(path: Path, steps: Steps) -> str:
    from audit import trail
    from segments.importing import import_customers

    result = import_customers(
        path,
        by=trail.Actor.command("benchmark"),
        id_column="customer_id",
        on_progress=steps.report,
    )
    return f"{result.n_created:,} created, {result.n_updated:,} updated"


def _train(model_type: str, steps: Steps) -> str:
    from django.conf import settings

    from audit import trail
    from modelregistry.training import TrainingRequest
    from segments.jobs import train_now

    version = train_now(
        TrainingRequest(model_type, {}),
        directory=settings.MODEL_DIR,
        by=trail.Actor.command("benchmark"),
        on_progress=steps.report,
    )
    size = (settings.MODEL_DIR / version.artifact).stat().st_size / MIB
    noise = version.metrics["noise_share"]
    n_segments = version.segments.count()
    return (
        f"{version.parameters}, {n_segments} segments, noise {noise:.1%}, artifact {size:.1f} MiB"
    )


def train_kmeans(path: Path, steps: Steps) -> str:
    return _train("kmeans", steps)


def train_dbscan(path: Path, steps: Steps) -> str:
    return _train("dbscan", steps)


def _assign(model_type: str) -> str:
    from django.conf import settings

    from modelregistry import activation
    from segments.assignment import assign_stored_customers

    version = _latest(model_type)
    model = activation.load(version, directory=settings.MODEL_DIR)
    n_left_out = assign_stored_customers(version, model)
    return f"{n_left_out} left out"


def forget(path: Path, steps: Steps) -> str:
    from segments.models import Assignment

    return f"{Assignment.objects.all().delete()[0]:,} assignments deleted"


def assign_kmeans(path: Path, steps: Steps) -> str:
    return _assign("kmeans")


def assign_dbscan(path: Path, steps: Steps) -> str:
    return _assign("dbscan")


def _activate(model_type: str) -> str:
    from django.conf import settings
    from django.utils import timezone

    from audit import trail
    from segments.assignment import activate

    activate(
        _latest(model_type),
        reason="Benchmark.",
        by=trail.Actor.command("benchmark"),
        at=timezone.now(),
        directory=settings.MODEL_DIR,
        force=True,
    )
    return ""


def activate_kmeans(path: Path, steps: Steps) -> str:
    return _activate("kmeans")


def activate_dbscan(path: Path, steps: Steps) -> str:
    return _activate("dbscan")


def compare_kmeans(path: Path, steps: Steps) -> str:
    from modelregistry.activation import pointer_of
    from segments.comparison import compare

    active = pointer_of("kmeans").active
    assert active
    compared = compare(_latest("kmeans"), active)
    return f"{compared.moved_share:.1%} would move"


def _latest(model_type: str) -> ModelVersion:
    from modelregistry.models import ModelVersion

    return ModelVersion.objects.filter(model_type=model_type).latest("number")


Stage = Callable[[Path, Steps], str]
STAGES: dict[str, Stage] = {
    "write": write_file,
    "migrate": migrate,
    "import": import_file,
    "train kmeans": train_kmeans,
    "train dbscan": train_dbscan,
    "activate kmeans": activate_kmeans,
    "activate dbscan": activate_dbscan,
    "retrain kmeans": train_kmeans,
    "compare kmeans": compare_kmeans,
    "import again": import_file,
    "forget": forget,
    "assign kmeans": assign_kmeans,
    "assign dbscan": assign_dbscan,
}
UNTIMED = ("write", "migrate", "forget")


def run_stage(name: str, path: Path) -> Measured:
    """Run one stage in this process and measure it from its first line to its last."""
    import django

    django.setup()
    steps = Steps()
    started = time.perf_counter()
    note = STAGES[name](path, steps)
    steps.report(1.0, "ended")
    seconds = time.perf_counter() - started
    return Measured(seconds, time.process_time(), peak_mib(), note, steps.seconds)


def peak_mib() -> float:
    """The most memory this process held; getrusage would count what its parent held before it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


# The table.


def measured_at(size: int, stages: Sequence[str], database_url: str) -> dict[str, Measured]:
    """All stages in turn on one table in a new directory."""
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory() as name:
        environment = own_environment(Path(name)) | {"DATABASE_URL": database_url}
        path = Path(name) / f"{size}.csv"
        for stage in dict.fromkeys(("write", "migrate", *stages)):
            found[stage] = in_own_process(stage, path, environment)
            if stage not in UNTIMED:
                print(f"{size:>9,}  {worded(stage, found[stage])}", flush=True)
    return found


def in_own_process(stage: str, path: Path, environment: dict[str, str]) -> Measured:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--stage", stage, "--file", str(path)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        timeout=STAGE_SECONDS,
        check=False,
    )
    if result.returncode:
        return Measured(note="failed")
    return msgspec.json.decode(result.stdout.splitlines()[-1], type=Measured)


def worded(stage: str, measured: Measured) -> str:
    steps = "; ".join(
        f"{step} {seconds:.1f}" for step, seconds in measured.steps.items() if seconds >= 0.05
    )
    times = f"{measured.seconds:>8.1f} s {measured.cpu_seconds:>8.1f} s CPU"
    return f"{stage:<16}{times} {measured.peak_mib:>7,.0f} MiB  {measured.note}  [{steps}]"


def print_table(sizes: Sequence[int], found: dict[int, dict[str, Measured]]) -> None:
    """Seconds and peak memory of each stage by size, and the factors to the size before."""
    print()
    print("| stage | " + " | ".join(f"{size:,}" for size in sizes) + " |")
    print("| --- |" + " ---: |" * len(sizes))
    for stage in (stage for stage in found[sizes[0]] if stage not in UNTIMED):
        cells = []
        for place, size in enumerate(sizes):
            here = found[size][stage]
            cell = f"{here.seconds:,.1f} s ({here.cpu_seconds:,.1f} CPU), {here.peak_mib:,.0f} MiB"
            before = found[sizes[place - 1]][stage] if place else None
            if before and before.cpu_seconds:
                growth = here.cpu_seconds / before.cpu_seconds
                cell += f" · × {growth:.1f} CPU, × {here.peak_mib / before.peak_mib:.1f} MiB"
            cells.append(cell)
        print(f"| {stage} | " + " | ".join(cells) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument(
        "--database-url", default="", help="an empty PostgreSQL database, for one size"
    )
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        print(msgspec.json.encode(run_stage(arguments.stage, arguments.file)).decode())
        return 0
    found = {
        size: measured_at(size, arguments.stages, arguments.database_url)
        for size in arguments.sizes
    }
    print_table(arguments.sizes, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
