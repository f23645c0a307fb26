"""`make run` in a copy of the project: the first start, the next, the stop, and what goes wrong.

The copy borrows the packages of the running environment, so nothing is downloaded.
SYSTEM_TABLES=all starts with each of the real tables too.
"""

from __future__ import annotations

import csv
import os
import pty
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from segments.demo_customers import N_DEMO_CUSTOMERS
from segments.demo_shop import write_demo_customers
from tests.system.server import (
    PROJECT,
    Installation,
    ask,
    make_installation,
    wait_until_ready,
)

RUN_SECONDS = 120.0
STOP_SECONDS = 40.0
N_OWN_CUSTOMERS = 120
NOT_COPIED = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".env",
    "data",
    "models",
    "logs",
    "staticfiles",
    "tests",
    "*.pyc.*",  # what Python is writing just now; the others spare each copy a compilation
    ".*_cache",
)
LEFT_TO_THE_COPY = ("SECRET_KEY", "API_KEY", "JWT_SECRET_KEY", "DATA_DIR", "MODEL_DIR", "LOG_DIR")
"""Not in the environment: `.env` and the defaults are under test."""


REAL_TABLES = ("mall_customers.csv", "marketing_campaign.csv", "online_shoppers.csv")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_of_the_project(tmp_path / "project")


@pytest.fixture(scope="module")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that has been started with the demo shop."""
    project = copy_of_the_project(tmp_path_factory.mktemp("first") / "project")
    make_small_shop(project)
    write_secrets(project)
    bootstrap(project)
    return project


@pytest.fixture
def demo_project(first_start: Path, tmp_path: Path) -> Path:
    return shutil.copytree(first_start, tmp_path / "project", symlinks=True)


def copy_of_the_project(directory: Path) -> Path:
    """The working tree with an environment whose stamps say that it is complete."""
    shutil.copytree(PROJECT, directory, ignore=NOT_COPIED)
    environment = directory / ".venv"
    environment.mkdir()
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", environment)
    for name in ("bin", "lib"):
        (environment / name).symlink_to(Path(sys.prefix) / name)
    for stamp in ("installed", "static"):
        (environment / stamp).touch()
    (directory / "staticfiles").mkdir()
    return directory


def make_small_shop(project: Path) -> None:
    """Fewer customers in the demo shop of this copy: two models of 2,000 take half a minute."""
    module = project / "segments" / "demo_customers.py"
    source = module.read_text()
    line = f"N_DEMO_CUSTOMERS = {N_DEMO_CUSTOMERS:_}\n"
    assert line in source
    module.write_text(source.replace(line, f"N_DEMO_CUSTOMERS = {N_OWN_CUSTOMERS}\n"))


def variables(project: Path, **more: str) -> dict[str, str]:
    whole = make_installation(project, DB_PATH="", RATE_LIMIT="").variables
    kept = {name: value for name, value in whole.items() if name not in LEFT_TO_THE_COPY}
    return {**kept, **more}


class Run:
    """A started `make run`, with a group of its own as in a terminal."""

    def __init__(self, project: Path, *arguments: str, **more: str) -> None:
        self.project = project
        self.variables = variables(project, **more)
        self.output = project / f"run-{time.monotonic_ns()}.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                ["make", "run", *arguments],
                cwd=project,
                env=self.variables,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def port(self) -> int:
        return int(self.variables["API_PORT"])

    @property
    def printed(self) -> str:
        return self.output.read_text()

    def is_running(self) -> bool:
        return self.process.poll() is None

    def interrupt(self) -> int:
        """Ctrl-C: the signal reaches the whole group of the terminal."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def run(project: Path, *arguments: str, **more: str) -> Iterator[Run]:
    """A `make run`; whatever it left is killed at the end."""
    started = Run(project, *arguments, **more)
    try:
        yield started
    finally:
        for pid in processes_in(project):
            os.kill(pid, signal.SIGKILL)
        started.process.wait()


def processes_in(directory: Path) -> list[int]:
    """The processes that work in this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            is_there = (entry / "cwd").readlink() == directory
            is_gone = ") Z " in (entry / "stat").read_text()
        except OSError:  # ended meanwhile, or another user's
            continue
        if is_there and not is_gone:
            found.append(int(entry.name))
    return found


def wait(started: Run) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while "Serving on" not in started.printed and time.monotonic() < deadline:
        assert started.is_running(), started.printed
        time.sleep(0.1)
    assert "Serving on" in started.printed, started.printed
    wait_until_ready(started.port, started.is_running)


def run_to_its_end(project: Path, *arguments: str, **more: str) -> tuple[int, str]:
    with run(project, *arguments, **more) as started:
        code = started.process.wait(RUN_SECONDS)
        return code, started.printed


def rows(project: Path, sql: str) -> list[tuple]:
    database = {"DATABASE_URL": "", "DB_PATH": str(project / "data" / "customer_segmentation.db")}
    return Installation(project, database).rows(sql)


def active_versions(project: Path) -> dict[str, str]:
    """Artifact of the active version by model type."""
    return dict(
        rows(
            project,
            "SELECT v.model_type, v.artifact FROM modelregistry_modelversion v"
            " JOIN modelregistry_activemodel m ON m.active_id = v.id",
        )
    )


def own_table(path: Path, *, seed: int = 3, prefix: str = "own-") -> Path:
    """A small table of the team's own: other ids and names than the demo shop."""
    write_demo_customers(path, n_customers=N_OWN_CUSTOMERS, random_state=seed)
    with path.open(newline="") as file:
        header, *records = list(csv.reader(file))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["member", *(f"our_{name}" for name in header[1:])])
        writer.writerows([prefix + row[0], *row[1:]] for row in records)
    return path


def assert_one_line_says(printed: str, *parts: str) -> None:
    """One line of refusal, with these words, and no traceback."""
    assert "Traceback" not in printed, printed
    refusals = [line for line in printed.splitlines() if line.startswith("CommandError")]
    assert len(refusals) == 1, printed
    for part in parts:
        assert part in refusals[0], printed


def test_make_run_serves_keeps_everything_the_second_time_and_stops_on_ctrl_c(
    project: Path,
) -> None:
    table = own_table(project / "own customers.csv")
    with run(project, f"DATA={table}", "ID=member") as first:
        wait(first)
        secrets_file = project / ".env"
        written = secrets_file.read_text()
        active = active_versions(project)
        key = re.search(r"^API_KEY=(.+)$", written, re.MULTILINE)
        models = ask(first.port, "GET", "/models", key=key[1])
        code = first.interrupt()
        left = processes_in(project)

    assert models.status == 200
    assert active.keys() == {"kmeans", "dbscan"}
    assert stat.S_IMODE(secrets_file.stat().st_mode) == 0o600
    assert key[1] in first.printed and "Password" in first.printed
    assert "Traceback" not in first.printed
    assert "Stopped." in first.printed
    assert code in (0, 2, -signal.SIGINT), first.printed  # make reports an interrupted recipe
    assert left == []

    started_at = time.monotonic()
    with run(project) as second:
        wait(second)
        seconds = time.monotonic() - started_at
        second.interrupt()
        left = processes_in(project)

    assert seconds < 30, "the second start repeats work"
    assert secrets_file.read_text() == written
    assert active_versions(project) == active
    assert "Password" not in second.printed and "trained on" not in second.printed
    assert left == []


def test_a_port_in_use_is_one_clear_line(project: Path) -> None:
    table = own_table(project / "own.csv")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        code, printed = run_to_its_end(project, f"DATA={table}", API_PORT=port)

    assert code != 0
    assert_one_line_says(printed, f"Port {port}", "API_PORT")


def make_missing(path: Path) -> None:
    pass


def make_directory(path: Path) -> None:
    path.mkdir()


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_binary(path: Path) -> None:
    path.write_bytes(os.urandom(4_000))


def make_empty(path: Path) -> None:
    path.touch()


def make_forbidden(path: Path) -> None:
    path.write_text("a,b\n1,2\n")
    path.chmod(0)


BOOTSTRAP_EACH = """
import sys
import manage
for path in sys.argv[1:]:
    sys.argv = ["manage.py", "bootstrap", "--data", path, "--skip-checks"]
    try:
        manage.main()
        code = 0
    except SystemExit as end:
        code = end.code
    print(f"ended with {code}", file=sys.stderr, flush=True)
"""


def refusals(project: Path, paths: list[Path]) -> list[tuple[int, str]]:
    """What `make run` would get from its preparation with each file: all in one process."""
    done = subprocess.run(
        [".venv/bin/python", "-c", BOOTSTRAP_EACH, *map(str, paths)],
        cwd=project,
        env=variables(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_SECONDS,
        check=True,
    )
    said = re.findall(r"(.*?)^ended with (\d+)\n", done.stdout, re.DOTALL | re.MULTILINE)
    return [(int(code), printed) for printed, code in said]


def test_a_file_that_is_no_table_is_one_clear_line_and_costs_no_password(project: Path) -> None:
    makers = [make_missing, make_directory, make_loop, make_binary, make_empty]
    if os.geteuid() != 0:  # root may read everything
        makers.append(make_forbidden)
    paths = [project / f"{maker.__name__}.csv" for maker in makers]
    for maker, path in zip(makers, paths, strict=True):
        maker(path)

    code, printed = run_to_its_end(project, f"DATA={paths[0]}")
    others = refusals(project, paths[1:])

    assert code != 0
    assert_one_line_says(printed, paths[0].name)
    assert len(others) == len(makers) - 1
    for path, (code, printed) in zip(paths[1:], others, strict=True):
        assert code != 0
        assert_one_line_says(printed, path.name)
    assert rows(project, "SELECT * FROM auth_user") == []


def test_starts_at_the_same_moment_make_one_set_of_secrets(project: Path) -> None:
    command = [sys.executable, "-m", "segmentation_project.env_file"]

    starts = [
        subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    printed = [start.communicate(timeout=60)[0] for start in starts]

    assert [start.returncode for start in starts] == [0] * 4
    assert sorted(map(bool, printed)) == [False, False, False, True]
    lines = (project / ".env").read_text().splitlines()
    names = [line.partition("=")[0] for line in lines if not line.startswith("#")]
    assert names == ["SECRET_KEY", "API_KEY", "JWT_SECRET_KEY"]
    assert list(project.glob(".env.*")) == [*project.glob(".env.example")]


def bootstrap(project: Path, *arguments: str) -> str:
    """`make run` up to the server."""
    done = subprocess.run(
        [".venv/bin/python", "manage.py", "bootstrap", *arguments, "--skip-checks"],
        cwd=project,
        env=variables(project),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def bootstrap_own(project: Path, table: Path) -> str:
    return bootstrap(project, "--data", str(table), "--id", "member")


def write_secrets(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "segmentation_project.env_file"], cwd=project, check=True)


def test_own_customers_replace_the_untouched_demo_shop_and_update_each_other(
    demo_project: Path,
) -> None:
    demo = active_versions(demo_project)

    replaced = bootstrap_own(demo_project, own_table(demo_project / "own.csv"))
    own = active_versions(demo_project)
    ids = {key for (key,) in rows(demo_project, "SELECT customer_id FROM segments_customer")}
    joined = bootstrap_own(demo_project, own_table(demo_project / "new.csv", prefix="new-"))

    assert "take the place of the demo customers" in replaced
    assert len(ids) == N_OWN_CUSTOMERS and all(key.startswith("own-") for key in ids)
    assert own.keys() == demo.keys() == {"kmeans", "dbscan"}
    assert set(own.values()).isdisjoint(demo.values())
    assert f"join the {N_OWN_CUSTOMERS} customers" in joined
    assert active_versions(demo_project) == own
    assert rows(demo_project, "SELECT COUNT(*) FROM segments_customer") == [(2 * N_OWN_CUSTOMERS,)]
    unassigned = (
        "SELECT COUNT(*) FROM segments_customer c WHERE NOT EXISTS (SELECT 1 FROM"
        " segments_assignment a JOIN modelregistry_activemodel m ON m.active_id = a.version_id"
        " WHERE a.customer_id = c.customer_id AND m.model_type = 'kmeans')"
    )
    assert rows(demo_project, unassigned) == [(0,)]


def test_an_interrupted_replacement_of_the_demo_shop_is_finished_by_the_next_start(
    demo_project: Path,
) -> None:
    demo = active_versions(demo_project)
    table = own_table(demo_project / "own.csv")
    stopped = (
        "import django; django.setup()\n"
        "from segmentation_project.management.commands import bootstrap\n"
        "bootstrap.Command.train_models = lambda self: exit(9)\n"
        "from django.core.management import call_command\n"
        f"call_command('bootstrap', data=__import__('pathlib').Path({str(table)!r}))\n"
    )
    died = subprocess.run(
        [".venv/bin/python", "-c", stopped], cwd=demo_project, env=variables(demo_project)
    )
    assert died.returncode == 9
    assert active_versions(demo_project) == demo

    bootstrap(demo_project)

    assert set(active_versions(demo_project).values()).isdisjoint(demo.values())
    assert active_versions(demo_project).keys() == demo.keys()


@pytest.mark.services("SYSTEM_TABLES")
@pytest.mark.parametrize("name", REAL_TABLES)
def test_each_real_table_ends_with_two_active_models(
    project: Path, shared_data: Path, name: str
) -> None:
    with run(project, f"DATA={shared_data / name}") as started:
        wait(started)
        answer = ask(started.port, "GET", "/readyz")
        started.interrupt()

    assert answer.status == 200
    assert active_versions(project).keys() == {"kmeans", "dbscan"}


def test_a_person_who_waits_sees_progress(project: Path) -> None:
    write_secrets(project)
    table = own_table(project / "own.csv")

    printed = in_a_terminal(
        project, ".venv/bin/python", "manage.py", "bootstrap", "--data", str(table), "--skip-checks"
    )

    for title in (f"Importing {table.name}", "Training kmeans", "Training dbscan"):
        assert title in printed
    assert "100%" in printed


def in_a_terminal(project: Path, *command: str) -> str:
    """What the command shows when its output is a terminal."""
    shown, terminal = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=project,
        env=variables(project, TERM="xterm", COLUMNS="120"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    chunks = []
    try:
        while chunk := os.read(shown, 65_536):
            chunks.append(chunk)
    except OSError:  # EIO: the last writer has closed the terminal
        pass
    finally:
        os.close(shown)
    assert process.wait(RUN_SECONDS) == 0
    return b"".join(chunks).decode(errors="replace")
