"""The databases that a system test runs on: SQLite, or PostgreSQL where there is one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.services)]


def databases(chosen: str) -> list[Any]:
    """Both with SYSTEM_DATABASES=all; else the chosen one, SQLite where there is no PostgreSQL."""
    if os.environ.get("SYSTEM_DATABASES") == "all":
        return BOTH
    return [chosen if "TEST_POSTGRES_URL" in os.environ else "sqlite"]


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
