"""Damage of the database itself: errors at reading, and tables that their indexes do not fit."""

from __future__ import annotations

import sqlite3

from django.db import DatabaseError, connection

from audit.append_only import KEYS
from audit.findings import Findings, Place

SQLITE_OUTSIDE = {
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
"""What has its cause outside of the file; of the other codes most say that it is damaged."""
POSTGRESQL_WITHIN = ("22", "42", "XX")
"""Classes of SQLSTATE: data that cannot be, tables or columns that are not there, corruption."""
NO_RIGHT = "42501"


def is_damage(error: DatabaseError) -> bool:
    """Whether what is in the database caused the error; else it could not be asked, or not now."""
    cause = error.__cause__
    if connection.vendor == "postgresql":
        state = getattr(cause, "sqlstate", None) or ""
        return state.startswith(POSTGRESQL_WITHIN) and state != NO_RIGHT
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF not in SQLITE_OUTSIDE


def check_indexes(findings: Findings) -> None:
    """Let SQLite compare each table with its indexes: who damages one hides rows from lists.

    PostgreSQL has no such check without an extension, and lets nobody write into its indexes.
    """
    if connection.vendor != "sqlite":
        return
    for table in KEYS:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA integrity_check({table})")
            said = [row[0] for row in cursor.fetchall()]
        if said != ["ok"]:
            more = f" ({len(said) - 1} more like it)" if len(said) > 1 else ""
            words = " ".join(str(said[0]).split())
            findings.broken(Place.DATABASE, None, f"has a damaged {table}: {words}{more}")
