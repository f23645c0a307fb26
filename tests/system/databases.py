"""The databases that a system test runs on: SQLite always, PostgreSQL where there is one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.services)]


@contextmanager
def database_url(kind: str) -> Iterator[str]:
    """The DATABASE_URL of a database that lasts as long as the block; empty for SQLite."""
    if kind == "sqlite":
        yield ""
        return
    server = os.environ["TEST_POSTGRES_URL"]
    name = f"segmentation_system_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )
