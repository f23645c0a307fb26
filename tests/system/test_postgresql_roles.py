"""The roles of config/postgresql_roles.sql: the product works, and the trail stays as it is."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import errors, sql

from audit.models import AuditEntry, AuditLeaf, AuditSeal
from tests.system.databases import database_url
from tests.system.server import PROJECT, Installation, fill, make_installation

pytestmark = pytest.mark.services
ROLES = ("owner", "app", "sealer")
PASSWORD = secrets.token_hex(12)
TABLES = [model._meta.db_table for model in (AuditEntry, AuditLeaf, AuditSeal)]


@dataclass(frozen=True)
class Roles:
    """A database with roles of its own; `installation` serves under the role `app`."""

    url: str
    prefix: str
    installation: Installation

    def url_of(self, role: str) -> str:
        parts = urlsplit(self.url)
        address = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{self.prefix}_{role}:{PASSWORD}@{address}"))

    def apply(self) -> None:
        statements = (PROJECT / "config" / "postgresql_roles.sql").read_text()
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statements.replace("segmentation_", f"{self.prefix}_"))

    def run(self, role: str, *arguments: str) -> str:
        self.installation.variables["DATABASE_URL"] = self.url_of(role)
        return self.installation.python(*arguments)


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roles]:
    """The file is run before the first migration, and twice after it, as one might."""
    prefix = f"roles_{secrets.token_hex(4)}"
    try:
        with database_url("postgresql") as url:
            found = Roles(url, prefix, make_installation(tmp_path_factory.mktemp("installation")))
            found.apply()
            with psycopg.connect(url, autocommit=True) as connection:
                for role in ROLES:
                    name = sql.Identifier(f"{prefix}_{role}")
                    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, PASSWORD))
            found.run("owner", "manage.py", "migrate", "--verbosity=0", "--skip-checks")
            found.apply()
            found.apply()
            found.installation.variables["DATABASE_URL"] = found.url_of("app")
            fill(found.installation, n_customers=120)
            yield found
    finally:  # the roles outlive the database
        with psycopg.connect(os.environ["TEST_POSTGRES_URL"], autocommit=True) as server:
            for role in ROLES:
                name = sql.Identifier(f"{prefix}_{role}")
                server.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(name))


A_DAY = """
import django; django.setup()
from pathlib import Path
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

api = Client(headers={"X-API-Key": settings.API_KEY, "Host": "localhost"})
table = Path(settings.DATA_DIR) / "more.csv"
table.write_text("customer_id,orders\\nz-1,7\\nz-2,8\\n")
call_command("import_customers", str(table), id_column="customer_id", verbosity=0)
record = {name: value for name, value in %(record)s.items() if name != "customer_id"}
assert api.post("/predict/kmeans", [record], content_type="application/json").status_code == 200
assert api.get("/audit/logs").status_code == 200
root = User.objects.create_superuser("root", password="a-password-of-the-tests")
client = Client(headers={"Host": "localhost"})
client.force_login(root)
saved = client.post("/admin/auth/group/add/", {"name": "saved"})
assert saved.status_code == 302, saved.content[:2000]
call_command("train_model", "kmeans", param=["n_clusters=3"], verbosity=0)
call_command("erase_customer", "z-1")
call_command("seal_audit")
print("done")
"""


def test_a_day_of_the_product_needs_no_more_than_the_role_has(roles: Roles) -> None:
    record = roles.installation.records[0]

    assert "done" in roles.run("app", "-c", A_DAY % {"record": record})

    assert stored(roles, "audit_auditseal") == 1


def stored(roles: Roles, table: str) -> int:
    with psycopg.connect(roles.url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        return int(row[0])


COLUMNS = dict(zip(TABLES, ("action", "position", "kind"), strict=True))
REFUSED = [
    statement.format(table=table, column=column)
    for table, column in COLUMNS.items()
    for statement in (
        "UPDATE {table} SET {column} = {column}",
        "DELETE FROM {table}",
        "TRUNCATE {table}",
        "DROP TABLE {table}",
        "DROP TRIGGER {table}_no_delete ON {table}",
        "ALTER TABLE {table} DISABLE TRIGGER ALL",
        "ALTER TABLE {table} ADD COLUMN note text",
        "CREATE TRIGGER mine BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_keep()",
        "CREATE RULE mine AS ON INSERT TO {table} DO INSTEAD NOTHING",
        "DROP FUNCTION {table}_keep() CASCADE",
        "CREATE OR REPLACE FUNCTION {table}_keep() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RETURN OLD; END'",
    )
] + [
    "INSERT INTO audit_auditentry (id, at) VALUES (-1, now())",
    "SET session_replication_role = replica",
    "SELECT setval('audit_auditentry_id_seq', 1)",
    "ALTER SEQUENCE audit_auditentry_id_seq RESTART",
    "CREATE TABLE public.mine (id int)",
    "CREATE TEMPORARY TABLE audit_auditseal (kind text, pruned_from int, pruned_to int)",
    "INSERT INTO django_migrations (app, name, applied) VALUES ('audit', 'x', now())",
    "ALTER ROLE CURRENT_USER SUPERUSER",
]


@pytest.mark.parametrize("role", ["app", "sealer"])
def test_nothing_else_is_allowed(roles: Roles, role: str) -> None:
    before = [stored(roles, table) for table in TABLES]
    passed = []

    with psycopg.connect(roles.url_of(role), autocommit=True) as connection:
        for statement in REFUSED:
            with suppress(errors.InsufficientPrivilege):
                connection.execute(statement)
                passed.append(statement)

    assert not passed
    assert [stored(roles, table) for table in TABLES] == before


def test_the_sealer_seals_and_reads_nothing_else(roles: Roles) -> None:
    roles.run("sealer", "manage.py", "seal_audit", "--skip-checks")

    with psycopg.connect(roles.url_of("sealer"), autocommit=True) as connection:
        for table in ("segments_customer", "auth_user", "access_apikey"):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"SELECT 1 FROM {table}")


def test_the_owner_changes_nothing_but_prunes(roles: Roles) -> None:
    """Its rights are those of a table's owner; the triggers still refuse."""
    with psycopg.connect(roles.url_of("owner"), autocommit=True) as connection:
        for table in TABLES:
            for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}"):
                with pytest.raises(errors.RaiseException, match="append-only"):
                    connection.execute(statement)
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SET session_replication_role = replica")
    said = roles.run(
        "owner", "manage.py", "prune_audit", "--before", "2026-01-01", "--yes", "--skip-checks"
    )
    assert "Nothing to prune" in said
    roles.run("owner", "-c", PRUNE)
    assert stored(roles, "audit_auditleaf") < stored(roles, "audit_auditentry")


PRUNE = """
import django; django.setup()
from datetime import timedelta
from django.conf import settings
from django.utils import timezone
from audit import pruning
from audit.sealer import SealingFiles
from audit.trail import Actor
signer = SealingFiles.of(settings).signer()
quiet = lambda share, step: None
planned = pruning.plan(before=timezone.now(), keys=signer.trusted, on_progress=quiet)
pruning.record(planned, signer=signer, by=Actor.system("tests"), at=timezone.now())
assert pruning.delete(signer.trusted, on_progress=quiet).n_entries == planned.n_entries > 0
"""
