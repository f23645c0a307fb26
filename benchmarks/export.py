"""What reading many customers costs: deep pages, changes of segment, and whole files.

Customers and their assignments are written by SQL, at three sizes one after the other; one server
process answers. `--database postgresql://…` names an empty database to use in place of SQLite.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from benchmarks.servers import (
    N_TRAINING_CUSTOMERS,
    ROOT,
    TRAINING_SEED,
    Server,
    below,
    free_port,
    own_environment,
    prepare,
    running,
)
from segments.demo_shop import write_demo_customers

SIZES = (10_000, 100_000, 1_000_000)
N_CALLS = 30
N_SILENT = 8
FILL_SECONDS = 1_200.0
MIB = 1024**2
LAST = "\x7e"
"""After every id, when a page is asked for backwards from here."""

# %s is the number of the last customer; ids sort as their numbers do.
NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers (i) AS (SELECT %s UNION ALL SELECT i + 1 FROM numbers"
    " WHERE i < %s)",
    "postgresql": "WITH numbers (i) AS (SELECT generate_series(%s, %s))",
}
IDS = {"sqlite": "printf('S-%%09d', i)", "postgresql": "'S-' || lpad(i::text, 9, '0')"}


# -- in a process of its own, with Django ---------------------------------------------------------


def grow(size: int) -> None:
    """Store customers up to the size, each assigned to a segment of the active version."""
    from django.db import connection, transaction
    from django.utils import timezone

    from modelregistry.activation import active_version
    from segments.models import Customer

    vendor = connection.vendor
    version = active_version("kmeans")
    segments = list(version.segments.values_list("segment_id", flat=True))
    cases = " ".join(f"WHEN {i} THEN {segment}" for i, segment in enumerate(segments))
    n_stored = Customer.objects.count()
    bounds = [n_stored + 1, size]
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO segments_customer
                (customer_id, attributes_json, created_at, updated_at, revision)
            {NUMBERS[vendor]} SELECT {IDS[vendor]}, '{{}}', %s, %s, 1 FROM numbers""",
            [*bounds, now, now],
        )
        cursor.execute(
            f"""INSERT INTO segments_assignment (version_id, customer_id, segment_id, distance,
                status, assigned_at, customer_revision)
            {NUMBERS[vendor]} SELECT %s, {IDS[vendor]}, CASE i %% {len(segments)} {cases} END,
                i * 0.000001234567, '', %s, 1 FROM numbers""",
            [*bounds, version.pk, now],
        )
    analyze()


def analyze() -> None:
    """As PostgreSQL's autovacuum does before long; SQLite is shipped without."""
    from django.db import connection

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def move(every: int) -> None:
    """Each so-many-th customer comes into another segment."""
    from django.db import connection, transaction
    from django.utils import timezone

    from modelregistry.activation import active_version

    version = active_version("kmeans")
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    chosen = "CAST(substr(customer_id, 6) AS INTEGER) %% %s = 0"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO segments_assignmentchange
                (version_id, customer_id, segment_id, was_assigned, changed_at)
            SELECT version_id, customer_id, segment_id, {
                "true" if connection.vendor != "sqlite" else "1"
            }, %s
            FROM segments_assignment WHERE version_id = %s AND {chosen}""",
            [now, version.pk, every],
        )
        cursor.execute(
            f"""UPDATE segments_assignment SET assigned_at = %s, segment_id = (
                SELECT part.segment_id FROM segments_versionsegment AS part
                WHERE part.version_id = segments_assignment.version_id
                    AND part.segment_id <> segments_assignment.segment_id
                ORDER BY part.cluster LIMIT 1)
            WHERE version_id = %s AND {chosen}""",
            [now, version.pk, every],
        )
    analyze()


def switch(every: int) -> None:
    """Activate a copy of the active version that sees each so-many-th customer otherwise."""
    from django.db import connection, transaction
    from django.utils import timezone

    from modelregistry.models import Activation, ActiveModel
    from segments.models import VersionSegment

    pointer = ActiveModel.objects.select_related("active").get(model_type="kmeans")
    before, version = pointer.active, pointer.active
    assert before is not None and version is not None
    rows = list(before.segments.all())
    before_pk = before.pk
    version.pk, version.number = None, version.number + 1
    version.artifact = f"{version.number}-{version.artifact}"[:120]
    with transaction.atomic(), connection.cursor() as cursor:
        version.save(force_insert=True)
        for row in rows:
            row.pk, row.version_id = None, version.pk
        VersionSegment.objects.bulk_create(rows)
        cursor.execute(
            """INSERT INTO segments_assignment (version_id, customer_id, segment_id, distance,
                status, assigned_at, customer_revision)
            SELECT %s, customer_id, CASE WHEN CAST(substr(customer_id, 6) AS INTEGER) %% %s = 0
                THEN (SELECT part.segment_id FROM segments_versionsegment AS part
                    WHERE part.version_id = was.version_id AND part.segment_id <> was.segment_id
                    ORDER BY part.cluster LIMIT 1)
                ELSE segment_id END, distance, status, assigned_at, customer_revision
            FROM segments_assignment AS was WHERE version_id = %s""",
            [version.pk, every, before_pk],
        )
        pointer.generation += 1
        pointer.active, pointer.previous_id = version, before_pk
        pointer.save()
        Activation.objects.create(
            model_type="kmeans", generation=pointer.generation, from_version_id=before_pk,
            to_version=version, reason="benchmark", activated_at=timezone.now(),
            activated_by="benchmark",
        )  # fmt: skip
    analyze()


STAGES: Mapping[str, Callable[[int], None]] = {"grow": grow, "move": move, "switch": switch}


def run_stage(name: str, number: int, environment: Mapping[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "benchmarks.export", "--stage", name, str(number)],
        cwd=ROOT, env=dict(environment), check=True, timeout=FILL_SECONDS,
    )  # fmt: skip


# -- over HTTP ------------------------------------------------------------------------------------


class Client:
    """One keep-alive connection."""

    def __init__(self, server: Server, api_key: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
        self.key = api_key
        self.headers = {"X-API-Key": api_key}

    def get(self, path: str, **query: object) -> http.client.HTTPResponse:
        self.connection.request("GET", f"{path}?{urlencode(query)}", headers=self.headers)
        response = self.connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {response.read()[:300]!r}")
        return response

    def status(self, path: str, **query: object) -> int:
        self.connection.request("GET", f"{path}?{urlencode(query)}", headers=self.headers)
        response = self.connection.getresponse()
        response.read()
        return response.status

    def median_ms(self, path: str, **query: object) -> tuple[float, int]:
        """The median time of an answer, and how many rows it has."""
        self.connection.close()  # it may have been idle for longer than the server keeps it
        times = []
        for _ in range(N_CALLS):
            started = time.perf_counter()
            body = self.get(path, **query).read()
            times.append(time.perf_counter() - started)
            if sum(times) > 20:  # a slow one needs no more
                break
        return statistics.median(times) * 1_000, len(json.loads(body)["results"])


def last_page(beside: str = "") -> str:
    """A cursor to the page that ends the list; `beside` is what a position has before the id."""
    return base64.b64encode(urlencode({"r": "1", "p": beside + LAST}).encode()).decode()


def show_pages(client: Client) -> None:
    segment = client.get("/segments/kmeans", limit=1)
    body = json.loads(segment.read())
    first = body["results"][0]["segment"]
    for label, query in [("all", {}), ("one segment", {"segment": first})]:
        begin, _ = client.median_ms("/segments/kmeans", limit=100, **query)
        end, n_rows = client.median_ms("/segments/kmeans", limit=100, cursor=last_page(), **query)
        print(f"  page of 100, {label:12}  first {begin:7.1f} ms   last {end:7.1f} ms ({n_rows})")


def show_changes(client: Client, label: str, since: str) -> None:
    path = "/segments/kmeans/changes"
    begin, n_rows = client.median_ms(path, since=since, limit=100)
    end, n_last = 0.0, 0
    if onwards := json.loads(client.get(path, since=since, limit=100).read())["next"]:
        (cursor,) = parse_qs(urlsplit(onwards).query)["cursor"]
        (position,) = parse_qs(base64.b64decode(cursor).decode())["p"]
        beside = position[: position.rindex(" ") + 1]
        end, n_last = client.median_ms(path, since=since, limit=100, cursor=last_page(beside))
    print(
        f"  changes, {label:28}  first {begin:7.1f} ms ({n_rows})   last {end:7.1f} ms ({n_last})"
    )


def show_exports(client: Client, server: Server) -> None:
    for form in ("csv", "ndjson", "parquet"):
        with rss_of(server) as rss:
            before = rss()
            started = time.perf_counter()
            response = client.get("/segments/kmeans/export", format=form)
            waited = time.perf_counter() - started
            n_bytes = 0
            while block := response.read(MIB):
                n_bytes += len(block)
            took = time.perf_counter() - started
            after, peak = rss(), rss.peak
        print(
            f"  export {form:8} {n_bytes / MIB:7.1f} MiB   first byte {waited:5.1f} s, all "
            f"{took:5.1f} s   server RSS before {before:5.0f}, peak {peak:5.0f}, after "
            f"{after:5.0f} MiB"
        )


def show_silent_readers(client: Client, server: Server) -> None:
    """Readers that ask for the whole file and take in only its first bytes."""
    request = f"GET /segments/kmeans/export HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {client.key}"
    readers = []
    for _ in range(N_SILENT):
        reader = socket.create_connection(("127.0.0.1", server.port), timeout=600)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.sendall(f"{request}\r\n\r\n".encode())
        readers.append(reader)
    statuses = sorted(int(reader.recv(12)[-3:]) for reader in readers)
    page, _ = client.median_ms("/segments/kmeans", limit=100)
    started = time.perf_counter()
    while client.status("/segments/kmeans/export", segment=1) == 503:
        time.sleep(0.5)
    waited = time.perf_counter() - started
    for reader in readers:
        reader.close()
    print(
        f"  {N_SILENT} silent readers of the whole file got {statuses}; a page beside them "
        f"{page:.1f} ms; an export again after {waited:.0f} s"
    )


class Rss:
    """Resident memory of the worker in MiB, watched for its peak."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak = 0.0

    def __call__(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        now = pages * os.sysconf("SC_PAGE_SIZE") / MIB
        self.peak = max(self.peak, now)
        return now


@contextmanager
def rss_of(server: Server) -> Iterator[Rss]:
    rss, done = Rss(web_worker(server)), threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            rss()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield rss
    finally:
        done.set()
        watching.join()


def web_worker(server: Server) -> int:
    """The gunicorn worker: of a tree of processes, the one that a gunicorn started."""

    def is_gunicorn(pid: int) -> bool:
        return b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()

    masters = [pid for pid in [server.process.pid, *below(server.process.pid)] if is_gunicorn(pid)]
    workers = [child for pid in masters for child in below(pid) if is_gunicorn(child)]
    if not workers:
        raise RuntimeError("no gunicorn worker found")
    return workers[-1]


def now_text() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + "Z"


def measure(sizes: Sequence[int], directory: Path, database: str) -> None:
    environment = own_environment(directory) | {"API_WORKERS": "1", "DATABASE_URL": database}
    customers = directory / "customers.csv"
    write_demo_customers(customers, n_customers=N_TRAINING_CUSTOMERS, random_state=TRAINING_SEED)
    prepare(environment, customers)
    port = free_port()
    command = [sys.executable, "manage.py", "serve", "--skip-checks"]
    variables = environment | {"API_PORT": str(port)}
    with running("server", command, variables, port, directory) as server:
        for size in sizes:
            run_stage("grow", size, environment)
            print(f"{size:,} customers")
            client = Client(server, environment["API_KEY"])
            show_pages(client)
            show_exports(client, server)
            if size == sizes[-1]:
                show_silent_readers(client, server)
            for every, label in [(1_000, "0.1 % moved"), (10, "10 % moved")]:
                time.sleep(1.1)
                since = now_text()
                time.sleep(1.1)
                run_stage("move", every, environment)
                show_changes(client, label, since)
            for every, label in [(10, "version, 10 % moved"), (2**30, "version, nobody moved")]:
                since = now_text()
                time.sleep(1.1)
                run_stage("switch", every, environment)
                show_changes(client, label, since)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="customers, ascending")
    parser.add_argument("--database", default="", help="an empty PostgreSQL database")
    parser.add_argument("--stage", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        import django

        django.setup()
        STAGES[arguments.stage[0]](int(arguments.stage[1]))
        return
    with tempfile.TemporaryDirectory(prefix="segmentation-export-") as directory:
        measure(arguments.rows, Path(directory), arguments.database)


if __name__ == "__main__":
    main()
