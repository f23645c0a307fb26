"""What the pages of the admin cost with many customers: statements and milliseconds of each.

Customers, their assignments and what the trail says of them are written by SQL, at three sizes one
after the other; pages are asked for in this process, through every middleware, as a superuser. A
page whose statements grow with the customers ends the run with 1. `--database postgresql://…` names
an empty database to use in place of SQLite.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks import audit_reading
from benchmarks.export import IDS, NUMBERS
from benchmarks.servers import (
    N_TRAINING_CUSTOMERS,
    ROOT,
    TRAINING_SEED,
    own_environment,
    prepare,
)
from segments.demo_shop import write_demo_customers

SIZES = (10_000, 100_000, 1_000_000)
N_CALLS = 9
MAX_SECONDS = 10.0
DEPTH = 0.9
"""How far down the deep page lies, as a share of all customers."""
LIMIT_MS = 2_000.0
"""A page that takes longer is marked."""


# -- in a process of its own, with Django ---------------------------------------------------------


def grow(size: int) -> None:
    """Store copies of the trained customers up to the size, in the segments of their originals."""
    from django.db import connection, transaction
    from django.utils import timezone

    from modelregistry.models import ModelVersion
    from segments.models import Customer

    vendor, n_stored = connection.vendor, Customer.objects.count()
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    was_assigned = "1" if vendor == "sqlite" else "true"
    numbered = f"{NUMBERS[vendor]}, copies AS (SELECT {IDS[vendor]} AS id, i FROM numbers)"
    bounds = [n_stored + 1, size]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE IF NOT EXISTS original (place integer, id text)")
        cursor.execute("DELETE FROM original")
        cursor.execute(
            """INSERT INTO original SELECT ROW_NUMBER() OVER (ORDER BY customer_id) - 1, customer_id
            FROM segments_customer WHERE customer_id NOT LIKE 'S-%%'"""
        )
        cursor.execute("SELECT COUNT(*) FROM original")
        (n_originals,) = cursor.fetchone()
        joined = f"FROM copies JOIN original ON original.place = i %% {n_originals}"
        cursor.execute(
            f"""INSERT INTO segments_customer
                (customer_id, attributes_json, created_at, updated_at, revision)
            {numbered} SELECT copies.id, stored.attributes_json, %s, %s, 1 {joined}
            JOIN segments_customer AS stored ON stored.customer_id = original.id""",
            [*bounds, now, now],
        )
        for version in ModelVersion.objects.trained():
            cursor.execute(
                f"""INSERT INTO segments_assignment (version_id, customer_id, segment_id, distance,
                    status, assigned_at, customer_revision)
                {numbered} SELECT stored.version_id, copies.id, stored.segment_id, stored.distance,
                    stored.status, %s, 1 {joined}
                JOIN segments_assignment AS stored
                    ON stored.customer_id = original.id AND stored.version_id = %s""",
                [*bounds, now, version.pk],
            )
            cursor.execute(
                f"""INSERT INTO segments_assignmentchange
                    (version_id, customer_id, segment_id, was_assigned, changed_at)
                {numbered} SELECT %s, copies.id, NULL, {was_assigned}, %s FROM copies""",
                [*bounds, version.pk, now],
            )
    if vendor == "postgresql":  # as autovacuum does before long; SQLite is shipped without
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


class Pages:
    """Pages as a signed-in superuser gets them."""

    def __init__(self) -> None:
        from django.contrib.auth.models import User
        from django.test import Client

        user = User.objects.filter(username="benchmark").first()
        user = user or User.objects.create_superuser("benchmark", password="benchmark")
        self.client = Client(SERVER_NAME="localhost")
        self.client.force_login(user)

    def get(self, page: str) -> None:
        response = self.client.get(page)
        if response.status_code != 200:
            raise RuntimeError(f"{page}: {response.status_code}")


def deep(customer_id: str, *segments: tuple[int, int]) -> str:
    """A cursor to the page of customers behind one, of all or in a segment of a version."""
    from segments.customer_pages import Place, Wanted

    return Place(customer_id).cursor(Wanted("", segments))


def addresses(size: int) -> Iterator[tuple[str, str]]:
    """The pages by name."""
    from django.urls import reverse

    from audit.models import AuditEntry
    from modelregistry.models import ActiveModel, ModelVersion
    from monitoring.models import DriftReport
    from segments.models import VersionSegment

    def page(name: str, *parts: object) -> str:
        return reverse(f"admin:{name}", args=parts)

    pointers = list(ActiveModel.objects.select_related("active"))
    active = next(each.active for each in pointers if each.model_type == "kmeans")
    candidate = ModelVersion.objects.filter(model_type="kmeans").order_by("-number").first()
    assert active is not None and candidate is not None
    segment = VersionSegment.objects.filter(version=active).first()
    assert segment is not None
    customers = page("segments_customer_changelist")
    middle, far = f"S-{size // 2:09}", f"S-{int(size * DEPTH):09}"
    in_segment = f"{customers}?kmeans={segment.segment_id}"
    yield "home", page("index")
    yield "customers, first", customers
    yield "customers, deep", f"{customers}?cursor={deep(far)}"
    yield "customers, search", f"{customers}?q={middle[:-2]}"
    yield "customers, search for none", f"{customers}?q=nobody"
    yield "customers, of a segment", in_segment
    place = deep(far, (active.pk, segment.segment_id))
    yield "customers, of it, deep", f"{in_segment}&cursor={place}"
    yield "customers, no segment", f"{customers}?kmeans=none"
    yield "customer", page("segments_customer_change", middle)
    yield "segments", page("segments_segment_changelist")
    yield "segments, by size", f"{page('segments_segment_changelist')}?o=-4"
    yield "segment", page("segments_segment_change", segment.segment_id)
    yield "versions", page("modelregistry_modelversion_changelist")
    yield "version", page("modelregistry_modelversion_change", active.pk)
    yield "candidate", page("modelregistry_modelversion_change", candidate.pk)
    yield "compare", page("modelregistry_modelversion_compare", candidate.pk)
    yield "train", page("modelregistry_modelversion_train")
    yield "jobs", page("modelregistry_trainingjob_changelist")
    yield "audit log", page("audit_auditentry_changelist")
    yield "audit entry", page("audit_auditentry_change", AuditEntry.objects.latest("id").pk)
    yield "alerts", page("monitoring_alert_changelist")
    yield "drift reports", page("monitoring_driftreport_changelist")
    yield "drift report", page("monitoring_driftreport_change", DriftReport.objects.latest("id").pk)
    yield "quality", page("monitoring_qualitypoint_version", active.pk)
    yield "imports", page("segments_customerimport_changelist")
    yield "settings", page("settings")


def measured(act: Callable[[], None]) -> tuple[float, float, int]:
    """Milliseconds with no count kept, their median with them, and the statements without."""
    from django.core.cache import cache
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    act()  # the first one fills caches
    cache.clear()
    with CaptureQueriesContext(connection) as queries:
        started = time.perf_counter()
        act()
        first = time.perf_counter() - started
        n_statements = len(queries)  # the next request forgets them
    times: list[float] = []
    while len(times) < N_CALLS and sum(times) < MAX_SECONDS:
        started = time.perf_counter()
        act()
        times.append(time.perf_counter() - started)
    return first * 1_000, statistics.median(times) * 1_000, n_statements


def add_what_pages_show() -> None:
    """A candidate to compare, and a drift report with figures."""
    from django.core.management import call_command

    call_command("train_model", "kmeans", param=["k=6"])
    with suppress(SystemExit):  # its exit code is the verdict
        call_command("check_drift", "--model-type", "kmeans", "--no-email")


def run(sizes: Sequence[int]) -> int:
    from django.core.management import call_command
    from django.utils import timezone

    from monitoring.serving import SETTLED_AFTER
    from monitoring.upkeep import sum_up_serving

    call_command("collectstatic", verbosity=0, interactive=False)
    add_what_pages_show()
    pages = Pages()
    found: dict[str, list[tuple[float, float, int]]] = {}
    for size in sizes:
        started = time.perf_counter()
        grow(size)
        audit_reading.grow(size)
        # As the monitor does each minute, of calls that have settled by then.
        sum_up_serving(at=timezone.now() + 2 * SETTLED_AFTER)
        print(f"{size:,} customers after {time.perf_counter() - started:.0f} s", flush=True)
        for name, address in addresses(size):
            found.setdefault(name, []).append(measured(lambda address=address: pages.get(address)))
    return show(found, sizes)


def show(found: Mapping[str, Sequence[tuple[float, float, int]]], sizes: Sequence[int]) -> int:
    print("ms with nothing kept, median ms otherwise (statements)")
    print(f"{'':26}" + "".join(f"{size:>24,}" for size in sizes))
    unequal = []
    for name, row in found.items():
        slow = " slow" if any(first > LIMIT_MS for first, _, _ in row) else ""
        if len({n for _, _, n in row}) > 1:
            unequal.append(name)
        print(f"{name:26}" + "".join(f"{a:10.1f} {b:8.1f} ({n:2})" for a, b, n in row) + slow)
    for name in unequal:
        print(f"{name}: the statements grow with the customers")
    return 1 if unequal else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="ascending")
    parser.add_argument("--database", default="", help="an empty PostgreSQL database")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        import django

        django.setup()
        return run(arguments.sizes)
    with tempfile.TemporaryDirectory(prefix="segmentation-pages-") as directory:
        environment = own_environment(Path(directory)) | {"DATABASE_URL": arguments.database}
        customers = Path(directory) / "customers.csv"
        write_demo_customers(
            customers, n_customers=N_TRAINING_CUSTOMERS, random_state=TRAINING_SEED
        )
        prepare(environment, customers)
        command = [sys.executable, "-m", "benchmarks.admin_pages", "--inside", "--sizes"]
        command += map(str, arguments.sizes)
        return subprocess.run(command, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
