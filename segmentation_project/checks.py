"""System checks of what breaks quietly: SQLite's WAL race, network disks, unset hosts."""

from __future__ import annotations

import sqlite3
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

WAL_RACE_FIXED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
"""First SQLite releases without the race of a WAL reset, the later two on their own branches."""


@register("database")
def check_sqlite(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.DATABASES["default"]["ENGINE"] != "django.db.backends.sqlite3":
        return []
    if sqlite_is_safe(sqlite3.sqlite_version_info):
        return []
    return [
        Warning(
            f"SQLite {sqlite3.sqlite_version} has a rare race when it resets its WAL.",
            hint="Use SQLite 3.51.3 or newer, or PostgreSQL through DATABASE_URL.",
            id="segmentation.W001",
        )
    ]


def sqlite_is_safe(version: tuple[int, ...]) -> bool:
    newest, *branches = WAL_RACE_FIXED
    return version >= newest or any(
        version[:2] == branch[:2] and version >= branch for branch in branches
    )
