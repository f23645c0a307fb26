"""What reading the audit trail costs at any depth, and what its indexes cost each insert.

Invented entries are written by SQL, at three sizes one after the other; pages are asked for in this
process, through every middleware. `--database postgresql://…` names an empty database to use in
place of SQLite.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.export import NUMBERS
from benchmarks.servers import ROOT, own_environment

SIZES = (10_000, 100_000, 1_000_000)
N_CALLS = 9
N_INSERTS = 2_000
N_PROBES = 5
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=7)
DEPTH = 0.9
"""How far down the deep page lies, as a share of all entries."""

# Of a thousand calls, 800 are predictions of one key; the rest are rare in their own ways.
COLUMNS = {
    "actor_kind": "CASE WHEN m < 950 THEN 'api_key' WHEN m < 980 THEN 'anonymous' "
    "WHEN m < 999 THEN 'user' ELSE 'system' END",
    "actor_id": "CASE WHEN m < 850 THEN 'crm00001' WHEN m < 950 THEN 'key' || (i % 40) "
    "WHEN m < 980 THEN '' WHEN m < 999 THEN 'person' || (i % 12) ELSE 'check_drift' END",
    "actor_label": "CASE WHEN m < 850 THEN 'CRM' WHEN m < 950 THEN 'Shop ' || (i % 40) "
    "WHEN m < 980 THEN '' WHEN m < 999 THEN 'Person ' || (i % 12) ELSE 'check_drift' END",
    "action": "CASE WHEN m < 800 THEN 'segments.predicted' WHEN m < 850 THEN 'customer.read' "
    "WHEN m < 950 THEN 'segments.listed' WHEN m < 980 THEN 'models.read' "
    "WHEN m < 999 THEN 'segment.renamed' ELSE 'drift.checked' END",
    "target_type": "CASE WHEN m < 800 THEN 'model_version' WHEN m < 850 THEN 'customer' "
    "WHEN m < 950 THEN 'model_version' WHEN m < 980 THEN '' WHEN m < 999 THEN 'segment' "
    "ELSE 'drift_report' END",
    "target_id": "CASE WHEN m < 800 THEN 'kmeans 7' WHEN m < 850 THEN {digest} "
    "WHEN m < 950 THEN 'dbscan 3' WHEN m < 980 THEN '' WHEN m < 999 THEN CAST(i % 50 AS TEXT) "
    "ELSE CAST(i AS TEXT) END",
    "outcome": "CASE WHEN m < 950 THEN 'succeeded' WHEN m < 980 THEN 'refused' "
    "WHEN m < 999 THEN 'succeeded' ELSE 'failed' END",
    "status_code": "CASE WHEN m < 950 THEN 200 ELSE 401 END",
    "n_items": "1",
    "request_id": "{digest}",
    "peer_address": "'10.0.0.7'",
    "address": "'10.0.0.7'",
    "duration_ms": "3.25",
    "details": """'{{"method":"POST","path":"/predict/kmeans"}}'""",
}
AT = {
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%S', {begin} + i * 7, 'unixepoch')",
    "postgresql": "to_timestamp({begin} + i * 7)",
}
DIGEST = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "md5(i::text || random()::text)"}
OLD_INDEXES = {
    "old_at": "(at)",
    "old_action": "(action, id)",
    "old_actor": "(actor_id, id)",
    "old_target": "(target_type, target_id, id)",
}
PROBES: Mapping[str, Mapping[str, str]] = {
    "audit_by_action": {"action": "drift.checked"},
    "audit_by_actor": {"actor": "key7"},
    "audit_by_actor_label": {"q": "key7"},
    "audit_by_actor_kind": {"actor_kind": "system"},
    "audit_by_target": {"target": "no such target"},
    "audit_by_target_type": {"target_type": "drift_report"},
    "audit_by_request": {"request_id": "no such request"},
    "audit_by_outcome": {"outcome": "failed"},
}
"""For each index, the filter on a rare value that needs it."""


# -- in a process of its own, with Django ---------------------------------------------------------


def grow(size: int) -> None:
    """Write entries up to the size; ids and moments rise together."""
    from django.db import connection, transaction

    from audit.models import AuditEntry

    vendor, table = connection.vendor, AuditEntry._meta.db_table
    begin, digest = int(BEGIN.timestamp()), DIGEST[vendor]
    values = [text.format(digest=digest).replace("%", "%%") for text in COLUMNS.values()]
    n_stored = AuditEntry.objects.count()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO {table} (at, {", ".join(COLUMNS)})
            {NUMBERS[vendor]}, mixed (i, m) AS (SELECT i, (i %% 1000 * 7919) %% 1000 FROM numbers)
            SELECT {AT[vendor].format(begin=begin)}, {", ".join(values)} FROM mixed ORDER BY i""",
            [n_stored + 1, size],
        )
    if vendor == "postgresql":  # as autovacuum does before long; SQLite is shipped without
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM ANALYZE {table}")


class Reader:
    """Pages as a signed-in auditor and a key get them."""

    def __init__(self) -> None:
        from django.conf import settings
        from django.contrib.auth.models import User
        from django.test import Client

        user = User.objects.filter(username="auditor").first()
        user = user or User.objects.create_superuser("auditor", password="auditor")
        self.admin = Client(SERVER_NAME="localhost")
        self.admin.force_login(user)
        self.api = Client(SERVER_NAME="localhost", headers={"X-API-Key": settings.API_KEY})

    def list(self, **query: str) -> None:
        self._read(self.admin, "/admin/audit/auditentry/", query)

    def logs(self, **query: str) -> None:
        self._read(self.api, "/audit/logs", query)

    def timeline(self, page: str, **query: str) -> None:
        self._read(self.admin, page, query)

    def _read(self, client: Any, page: str, query: Mapping[str, str]) -> None:
        response = client.get(f"{page}?{urlencode(query)}")
        if response.status_code != 200:
            raise RuntimeError(f"{page} {query}: {response.status_code}")


def deep(filters: Mapping[str, str], size: int) -> dict[str, str]:
    """The filters, and a cursor to where most of the entries are newer."""
    from audit.filters import fingerprint
    from audit.models import AuditEntry
    from audit.pages import Place

    entry = AuditEntry.objects.get(pk=int(size * (1 - DEPTH)))
    return {**filters, "cursor": Place(entry.at, entry.pk).cursor(fingerprint(filters))}


def cases(reader: Reader, size: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is timed, by name."""
    from modelregistry.models import ModelVersion

    request_id, digest = an_entry()
    version = ModelVersion.objects.get()
    history = f"/admin/modelregistry/modelversion/{version.pk}/history/"
    about = {"target_type": "model_version", "target": str(version)}
    filters: dict[str, dict[str, str]] = {
        "no filter": {},
        "actor, common": {"actor": "crm00001"},
        "actor, rare": {"actor": "check_drift"},
        "actor_kind, common": {"actor_kind": "api_key"},
        "actor_kind, rare": {"actor_kind": "system"},
        "action, common": {"action": "segments.predicted"},
        "action, rare": {"action": "drift.checked"},
        "action, none": {"action": "nothing.done"},
        "target_type, common": {"target_type": "model_version"},
        "target_type, rare": {"target_type": "drift_report"},
        "target, common": about,
        "target, rare": {"target_type": "customer", "target": digest},
        "outcome, common": {"outcome": "succeeded"},
        "outcome, rare": {"outcome": "failed"},
        "request_id": {"request_id": request_id},
        "action and outcome": {"action": "segments.predicted", "outcome": "failed"},
        "actor and action": {"actor": "crm00001", "action": "customer.read"},
        "q, common": {"q": "crm"},
        "q, rare": {"q": "CHECK_D"},
        "q, none": {"q": "nobody at all"},
    }
    day = BEGIN + STEP * (size // 2)
    days = {"at_from": f"{day:%Y-%m-%d}", "at_to": f"{day:%Y-%m-%d}"}
    span = {"since": day.isoformat(), "until": (day + timedelta(days=1)).isoformat()}
    for name, given in filters.items():
        yield f"list: {name}", lambda given=given: reader.list(**given)
        if "common" in name or name == "no filter":
            below = deep(given, size)
            yield f"list: {name}, deep", lambda below=below: reader.list(**below)
    yield "list: one day", lambda: reader.list(**days)
    yield "list: one day and rare action", lambda: reader.list(**days, action="drift.checked")
    for name in ("no filter", "action, common", "action, rare", "q, common"):
        given = filters[name]
        yield f"API: {name}", lambda given=given: reader.logs(**given)
        below = deep(given, size)
        yield f"API: {name}, deep", lambda below=below: reader.logs(**below)
    yield "API: one day", lambda: reader.logs(**span)
    yield "API: one day and rare actor", lambda: reader.logs(**span, actor="check_drift")
    yield "timeline", lambda: reader.timeline(history)
    cursor = deep(about, size)["cursor"]
    yield "timeline, deep", lambda: reader.timeline(history, cursor=cursor)


def an_entry() -> tuple[str, str]:
    """The request id of an entry, and the digest of a customer of one."""
    from audit.models import AuditEntry

    first = AuditEntry.objects.order_by("pk").filter(target_type="customer")[0]
    return first.request_id, first.target_id


def measured(act: Callable[[], None]) -> tuple[float, int]:
    """The median milliseconds of an act, and its statements."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    act()  # the first one fills caches
    with CaptureQueriesContext(connection) as queries:
        act()
        n_statements = len(queries)  # the next request forgets them
    times = []
    for _ in range(N_CALLS):
        started = time.perf_counter()
        act()
        times.append(time.perf_counter() - started)
        if sum(times) > 10:  # a slow one needs no more
            break
    return statistics.median(times) * 1_000, n_statements


def make_version() -> None:
    """A model version that the entries are about; nobody reads more of it than its name."""
    from django.utils import timezone

    from modelregistry.models import ModelVersion

    needed: dict[str, Any] = {}
    for field in ModelVersion._meta.concrete_fields:
        if field.primary_key or field.has_default() or field.null or field.blank:
            continue
        kind = field.get_internal_type()
        needed[field.attname] = (
            timezone.now() if kind == "DateTimeField" else {} if kind == "JSONField"
            else "benchmark" if kind in ("CharField", "TextField") else 1
        )  # fmt: skip
    ModelVersion.objects.create(**needed | {"model_type": "kmeans", "number": 7})


# -- what the indexes cost and gain ---------------------------------------------------------------


def insert_us(table: str) -> float:
    """The median microseconds of an insert in a transaction of its own."""
    from django.db import connection, transaction

    from audit.models import INSERT, AuditEntry

    statement = INSERT.replace(f"INTO {AuditEntry._meta.db_table}", f"INTO {table}")
    now = time.time()
    times = []
    with connection.cursor() as cursor:
        for number in range(N_INSERTS):
            at = datetime.fromtimestamp(now + number / 1e3, UTC)
            values = [
                connection.ops.adapt_datetimefield_value(at), "api_key", "crm00001", "CRM",
                "segments.predicted", "model_version", "kmeans 7", "succeeded", 200, 1,
                os.urandom(16).hex(), "10.0.0.7", "10.0.0.7", 3.25, "{}",
            ]  # fmt: skip
            started = time.perf_counter()
            with transaction.atomic():
                cursor.execute(statement, values)
                cursor.fetchone()
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


@contextmanager
def without(index: Any) -> Iterator[None]:
    """The table of entries without one of its indexes."""
    from django.db import connection

    from audit.models import AuditEntry

    with connection.schema_editor() as editor:
        editor.remove_index(AuditEntry, index)
    yield
    with connection.schema_editor() as editor:
        editor.add_index(AuditEntry, index)


def page_ms(filters: Mapping[str, str]) -> float:
    from audit.filters import matching
    from audit.pages import page_of

    times = []
    for _ in range(N_PROBES):
        started = time.perf_counter()
        page_of(matching(filters), size=50, phrase=filters.get("q", ""))
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def show_indexes() -> None:
    """An insert with the old indexes beside the new ones, and each new one's cost and gain."""
    from django.db import connection

    from audit.models import AuditEntry

    table, vendor = AuditEntry._meta.db_table, connection.vendor
    with connection.cursor() as cursor:
        if vendor == "postgresql":  # the disk would hide the indexes
            cursor.execute("SET synchronous_commit TO off")
            cursor.execute(f"CREATE TABLE old_entries (LIKE {table} INCLUDING IDENTITY)")
            cursor.execute("ALTER TABLE old_entries ADD PRIMARY KEY (id)")
        else:
            cursor.execute("SELECT sql FROM sqlite_master WHERE name = %s", [table])
            cursor.execute(cursor.fetchone()[0].replace(table, "old_entries", 1))
        names = [field.column for field in AuditEntry._meta.concrete_fields[1:]]
        columns = ", ".join(names)
        cursor.execute(
            f"INSERT INTO old_entries ({columns}) SELECT {columns} FROM {table} ORDER BY id"
        )
        for name, definition in OLD_INDEXES.items():
            cursor.execute(f"CREATE INDEX {name} ON old_entries {definition}")
    rounds = [(insert_us("old_entries"), insert_us(table)) for _ in range(3)]
    old, new = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"  an insert, median of each of three rounds: old {old:.0f} us, new {new:.0f} us")
    for index in AuditEntry._meta.indexes:
        with_it, gain = insert_us(table), page_ms(PROBES[index.name])
        with without(index):
            cost, loss = with_it - insert_us(table), page_ms(PROBES[index.name])
        print(
            f"  {index.name:22} costs an insert {cost:6.1f} us; "
            f"a page of a rare value {gain:7.2f} ms with it, {loss:9.2f} ms without"
        )


def run(sizes: Sequence[int]) -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)
    call_command("collectstatic", verbosity=0, interactive=False)
    make_version()
    reader = Reader()
    found: dict[str, list[tuple[float, int]]] = {}
    for size in sizes:
        started = time.perf_counter()
        grow(size)
        print(f"{size:,} entries after {time.perf_counter() - started:.0f} s", flush=True)
        for name, act in cases(reader, size):
            found.setdefault(name, []).append(measured(act))
    print(f"{'ms (statements)':38}" + "".join(f"{size:>18,}" for size in sizes))
    for name, row in found.items():
        print(f"{name:38}" + "".join(f"{ms:13.1f} ({n:2})" for ms, n in row))
    show_indexes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="entries, ascending")
    parser.add_argument("--database", default="", help="an empty PostgreSQL database")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        import django

        django.setup()
        run(arguments.rows)
        return
    with tempfile.TemporaryDirectory(prefix="segmentation-audit-") as directory:
        environment = own_environment(Path(directory)) | {"DATABASE_URL": arguments.database}
        command = [sys.executable, "-m", "benchmarks.audit_reading", "--inside", "--rows"]
        subprocess.run([*command, *map(str, arguments.rows)], cwd=ROOT, env=environment, check=True)


if __name__ == "__main__":
    main()
