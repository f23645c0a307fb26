"""Trails in databases of their own: three tables, made in a moment and put back for each test.

They are filled, sealed and verified by the real code, whose default connection leads to them for a
while; an attacker has a connection that knows nothing of Django.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection, connections
from django.db.utils import ConnectionHandler
from environ import Env

from audit import append_only
from audit.anchors import Anchor
from audit.append_only import ENTRIES, LEAVES, SEALS
from audit.models import ActorKind, AuditEntry, AuditLeaf, AuditSeal, Outcome
from audit.seal_format import key_id_of
from audit.sealing import SealedBatch
from audit.sealing_key import Signer
from segmentation_project.settings import SQLITE_OPTIONS

VENDORS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.services)]
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


TABLES = (ENTRIES, SEALS, LEAVES)
SEQUENCE = f"pg_get_serial_sequence('{ENTRIES}', 'id')"


@dataclass(frozen=True)
class Dump:
    """The file of SQLite, or PostgreSQL's rows of each of `TABLES` and the next id."""

    contents: tuple[bytes, ...]
    next_id: int = 1


@dataclass(frozen=True)
class TrailDatabase:
    """`place` is a path, or the URL of a PostgreSQL database."""

    vendor: str
    place: str

    @classmethod
    def new(cls, vendor: str, directory: Path) -> TrailDatabase:
        """An empty trail with its triggers."""
        name = f"trail_{secrets.token_hex(6)}"
        if vendor == "sqlite":
            database = cls(vendor, str(directory / f"{name}.db"))
        else:
            _on_server(f"CREATE DATABASE {name}")
            _on_server(f"ALTER DATABASE {name} SET synchronous_commit = off")  # no test needs it
            server = urlsplit(os.environ["TEST_POSTGRES_URL"])
            database = cls(vendor, urlunsplit(server._replace(path=f"/{name}")))
        database._make_tables()
        return database

    def _make_tables(self) -> None:
        with self.as_default():
            with connection.schema_editor() as editor:
                for model in (AuditEntry, AuditSeal, AuditLeaf):
                    editor.create_model(model)
            append_only.install(connection)

    def drop(self) -> None:
        if self.vendor == "postgresql":
            _on_server(f"DROP DATABASE IF EXISTS {self.place.rpartition('/')[2]} WITH (FORCE)")

    def dump(self) -> Dump:
        """While nobody is connected."""
        if self.vendor == "sqlite":
            return Dump((Path(self.place).read_bytes(),))
        contents = []
        with psycopg.connect(self.place) as raw, raw.cursor() as cursor:
            for table in TABLES:
                with cursor.copy(f"COPY {table} TO STDOUT") as rows:
                    contents.append(b"".join(map(bytes, rows)))
            (next_id,) = cursor.execute(f"SELECT nextval({SEQUENCE})").fetchone() or (1,)
            cursor.execute(f"SELECT setval({SEQUENCE}, %s, false)", [next_id])
        return Dump(tuple(contents), next_id)

    def restore(self, dump: Dump) -> None:
        """Everything as it was, whatever was done to tables and triggers since."""
        if self.vendor == "sqlite":
            for ending in ("-wal", "-shm"):
                Path(self.place + ending).unlink(missing_ok=True)
            Path(self.place).write_bytes(dump.contents[0])
            return
        with psycopg.connect(self.place, autocommit=True) as raw:
            raw.execute("DROP SCHEMA public CASCADE")
            raw.execute("CREATE SCHEMA public")
        self._make_tables()
        with psycopg.connect(self.place) as raw, raw.cursor() as cursor:
            for table, content in zip(TABLES, dump.contents, strict=True):
                with cursor.copy(f"COPY {table} FROM STDIN") as rows:
                    rows.write(content)
            cursor.execute(f"SELECT setval({SEQUENCE}, %s, false)", [dump.next_id])

    @contextmanager
    def as_default(self) -> Iterator[None]:
        """Within, Django's default connection leads here; the test unblocks databases."""
        config: dict[str, Any] = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": self.place,
            "OPTIONS": SQLITE_OPTIONS,
        }
        if self.vendor == "postgresql":
            config = Env.db_url_config(self.place)
        usual = connections["default"]
        ours = ConnectionHandler({"default": config})["default"]
        connections["default"] = ours
        try:
            yield
        finally:
            ours.close()
            connections["default"] = usual

    @contextmanager
    def raw(self) -> Iterator[sqlite3.Connection | psycopg.Connection]:
        """A connection as anybody would open it who holds the database; autocommit."""
        if self.vendor == "sqlite":
            with closing(sqlite3.connect(self.place, isolation_level=None)) as opened:
                yield opened
        else:
            with psycopg.connect(self.place, autocommit=True) as opened:
                yield opened


def _on_server(statement: str) -> None:
    with psycopg.connect(os.environ["TEST_POSTGRES_URL"], autocommit=True) as server:
        server.execute(statement)  # type: ignore[call-overload]


def new_signer(*others: Signer) -> Signer:
    """A key of its own that trusts itself and what the others trust."""
    key = Ed25519PrivateKey.generate()
    trusted = {key_id_of(key.public_key()): key.public_key()}
    for other in others:
        trusted |= other.trusted
    return Signer(key, key_id_of(key.public_key()), trusted)


def add_entry(at: datetime, **values: Any) -> AuditEntry:
    """One entry of a moment that the caller chooses."""
    given: dict[str, Any] = {
        "actor_kind": ActorKind.API_KEY,
        "actor_id": "ab",
        "actor_label": "c",
        "action": "customers.predicted",
        "target_type": "model_version",
        "target_id": "kmeans 1",
        "outcome": Outcome.SUCCEEDED,
        "n_items": 3,
        "duration_ms": 1.5,
        "details": '{"n":1}',
    }
    entry = AuditEntry(at=at, **{**given, **values})
    entry.insert()
    return entry


def write_anchors(path: Path, batches: Sequence[SealedBatch]) -> None:
    heads = [Anchor(0, each.seal.sealed_at, each.seal.no, each.digest) for each in batches]
    path.write_text("".join(f"{head}\n" for head in heads))
