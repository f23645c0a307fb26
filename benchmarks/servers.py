"""Starting what is compared: our server as shipped, the plain service, the floor.

All on loopback, in a temporary directory with secrets of its own; nothing of `.env` is touched.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import UnexpectedAnswer
from segments.demo_shop import write_demo_customers

ROOT = Path(__file__).resolve().parent.parent
N_TRAINING_CUSTOMERS = 2_000
TRAINING_SEED = 20_260_101
N_WORKERS = 2
START_SECONDS = 60.0
PREPARE_SECONDS = 120.0
STOP_SECONDS = 40.0
PARAMETERS = {"kmeans": ["k=5"], "dbscan": ["eps=1.6", "min_samples=12"]}
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class NotServing(RuntimeError):
    """A server ended or did not answer in time; the message ends with what it wrote."""


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """Processor time of the server and the processes below it, so far."""
        return sum(cpu_seconds_of(pid) for pid in [self.process.pid, *below(self.process.pid)])


@dataclass(frozen=True, slots=True)
class Systems:
    """All servers, and the key that ours asks for."""

    ours: Server
    plain: Server
    floor_msgspec: Server
    floor_json: Server
    api_key: str


@contextmanager
def all_systems(directory: Path) -> Iterator[Systems]:
    """Prepare and start every system; stop them all in the end, whatever happened."""
    customers = directory / "customers.csv"
    write_demo_customers(customers, n_customers=N_TRAINING_CUSTOMERS, random_state=TRAINING_SEED)
    environment = own_environment(directory)
    api_key = prepare(environment, customers)
    with ExitStack() as stack:

        def serve(name: str, command: Sequence[str], **variables: str) -> Server:
            port = free_port()
            command = [part.format(port=port) for part in command]
            variables = {**environment, **variables, "API_PORT": str(port)}
            return stack.enter_context(running(name, command, variables, port, directory))

        floor = gunicorn("benchmarks.floor:application")
        yield Systems(
            ours=serve("ours", [sys.executable, "manage.py", "serve", "--skip-checks"]),
            plain=serve("plain", uvicorn(), CUSTOMERS_CSV=str(customers)),
            floor_msgspec=serve("floor_msgspec", floor, FLOOR_CODEC="msgspec"),
            floor_json=serve("floor_json", floor, FLOOR_CODEC="json"),
            api_key=api_key,
        )


def own_environment(directory: Path) -> dict[str, str]:
    """Settings as shipped but for the limit, the places, the secrets and the address."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        # Empty names fall back to the defaults, so that a .env beside the project has no say.
        **dict.fromkeys(("DATABASE_URL", "REDIS_URL", "SMTP_SERVER", "ALLOWED_HOSTS"), ""),
        "DJANGO_SETTINGS_MODULE": "segmentation_project.settings",
        "SECRET_KEY": secrets.token_urlsafe(60),
        "API_KEY": secrets.token_urlsafe(40),
        "JWT_SECRET_KEY": secrets.token_urlsafe(40),
        "API_CONFIG": str(directory / "no-api-config.json"),
        "API_HOST": "127.0.0.1",
        "API_WORKERS": str(N_WORKERS),
        "RATE_LIMIT": "100000000/m",
        "DATA_DIR": str(directory / "data"),
        "MODEL_DIR": str(directory / "models"),
        "LOG_DIR": str(directory / "logs"),
        "DB_PATH": str(directory / "data" / "customers.db"),
        # As ours has it: a second level of threads would only make two workers wait for each other.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def prepare(environment: Mapping[str, str], customers: Path) -> str:
    """Migrate, import, train and activate both models; returns a stored API key."""

    def manage(*arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=PREPARE_SECONDS,
        )
        if result.returncode:
            raise NotServing(f"manage.py {arguments[0]} failed:\n{result.stderr[-3_000:]}")
        return result.stdout

    manage("migrate", "--verbosity", "0", "--skip-checks")
    manage("import_customers", str(customers), "--id", "customer_id")
    for model_type, parameters in PARAMETERS.items():
        given = [part for parameter in parameters for part in ("--param", parameter)]
        manage("train_model", model_type, *given, "--activate", "--force", "--reason", "benchmark")
    return manage("create_api_key", "benchmark", "--scopes", "predict").splitlines()[-1].strip()


def gunicorn(application: str) -> list[str]:
    """The same server and configuration as ours."""
    config = "python:segmentation_project.gunicorn_conf"
    return [sys.executable, "-m", "gunicorn", "--config", config, application]


def uvicorn() -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", "benchmarks.plain_service:app"),
        *("--host", "127.0.0.1", "--port", "{port}", "--workers", str(N_WORKERS)),
        *("--log-level", "warning", "--no-access-log"),
    ]


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    port: int,
    directory: Path,
) -> Iterator[Server]:
    output = directory / f"{name}.log"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(environment),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        descendants: set[int] = set()
        try:
            wait_until_serving(name, process, port, output)
            descendants = set(below(process.pid))
            yield Server(port, process)
        except UnexpectedAnswer as error:
            error.add_note(f"--- {name} wrote:\n{last_words(output)}")
            raise
        finally:
            stop(process, descendants)


def wait_until_serving(
    name: str, process: subprocess.Popen[bytes], port: int, output: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise NotServing(f"{name} does not serve:\n{last_words(output)}")


def last_words(output: Path) -> str:
    return output.read_text(errors="replace")[-3_000:]


def stop(process: subprocess.Popen[bytes], descendants: set[int]) -> None:
    """Ask politely, then end what is left of the processes that this one started."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        # A killed parent cannot pass the signal on.
        for pid in [*descendants, process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def below(pid: int) -> list[int]:
    """Processes that a process started, and those that they started (Linux; else none)."""
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, tasks.read_text().split()):
            found += [child, *below(child)]
    return found


def cpu_seconds_of(pid: int) -> float:
    """User and system time of one process; 0 where the system does not say (Linux only)."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(after_name[11]) + int(after_name[12])) / TICKS_PER_SECOND


def check_answers(n_answered: int, n_asked: int, name: str) -> None:
    if n_answered != n_asked:
        raise UnexpectedAnswer(f"{name} answered {n_answered} of {n_asked} customers")
