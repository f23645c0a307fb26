"""The settings in force: each with its value, where that came from and what it means.

The words are those of `.env.example`. Secrets never reach the page: see `Environment.in_force`.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.core.cache import caches
from django.db import connection
from django.utils.timesince import timesince

from access.counters import RedisCounterCache
from access.figures import NONE

VIEW = "access.view_settings"
HEADING = re.compile(r"# -- ([^:]+?)(?:: .+?)? -+")
VARIABLE = re.compile(r"([A-Z_]+)=")
REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^]]*\])?==(\S+)\s*(?:;[^#]*)?(?:#\s*(.*))?")
CONFIG_WORDS = {
    "logging.level": "Lines of the log from this severity on: DEBUG, INFO, WARNING or ERROR.",
    "rate_limits.default": "RATE_LIMIT where that is not set.",
    "limits.max_records": "Customers in one request.",
    "limits.max_explained_records": "Customers in one request that asks for explanations.",
    "limits.max_body_bytes": "Bytes in the body of one request.",
}


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    value: str
    source: str
    words: str


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    settings: Sequence[Setting]


@dataclass(frozen=True, slots=True)
class Library:
    """`is_other`: another release than the one that is pinned."""

    name: str
    installed: str
    pinned: str
    words: str

    @property
    def is_other(self) -> bool:
        return self.installed != self.pinned


def context() -> dict[str, Any]:
    libraries = list(_libraries())
    return {
        "title": "Settings in force",
        "groups": [*_environment_groups(), _config_group()],
        "system": list(_system()),
        "libraries": libraries,
        "n_other": sum(library.is_other for library in libraries),
    }


def _environment_groups() -> list[Group]:
    """Every variable that was asked for, as `.env.example` groups them."""
    values = settings.ENVIRONMENT.in_force()
    groups: list[Group] = []
    left = dict(values)
    for title, names in _explained().items():
        found = [
            _setting(name, left.pop(name), words) for name, words in names.items() if name in left
        ]
        if found:
            groups.append(Group(title, found))
    if left:
        groups.append(Group("Others", [_setting(*item, words="") for item in left.items()]))
    return groups


def _explained() -> dict[str, dict[str, str]]:
    """By heading of `.env.example` the variables with the words above them."""
    path = Path(settings.BASE_DIR) / ".env.example"
    found: dict[str, dict[str, str]] = {}
    title = ""
    words: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        if match := HEADING.fullmatch(line):
            title, words = match[1], []
        elif line.startswith("#"):
            words.append(line.removeprefix("#").strip())
        elif match := VARIABLE.match(line):
            found.setdefault(title, {})[match[1]] = " ".join(words)
            words = []
    return found


def _setting(name: str, value: str, words: str) -> Setting:
    in_place = getattr(settings, name, None)
    if isinstance(in_place, Path):  # what a relative one became
        value = str(in_place)
    return Setting(name, value, settings.ENVIRONMENT.source(name), words)


def _config_group() -> Group:
    found = []
    for section, values in msgspec.to_builtins(settings.API_CONFIG_VALUES).items():
        for key, value in values.items():
            name = f"{section}.{key}"
            source = "file" if name in settings.API_CONFIG_GIVEN else "default"
            found.append(Setting(name, str(value), source, CONFIG_WORDS[name]))
    return Group("The file of API_CONFIG", found)


def _system() -> Iterator[tuple[str, str]]:
    """What this process runs on, as it is now."""
    read_at = settings.SETTINGS_READ_AT
    yield "Release", settings.VERSION
    yield "Settings read", f"{read_at:%d %b %Y %H:%M:%S} UTC, {timesince(read_at)} ago"
    yield "Process", f"{os.getpid()} on {platform.node()}"
    yield "Python", f"{platform.python_version()} ({platform.platform()})"
    yield "Database", _database()
    yield "Counters of the rate limit", _counters()


def _database() -> str:
    if connection.vendor == "sqlite":
        return (
            f"SQLite {_first('SELECT sqlite_version()')}, journal {_first('PRAGMA journal_mode')}"
        )
    release = _first("SHOW server_version")
    return f"PostgreSQL {release}, {_first('SELECT count(*) FROM pg_stat_activity')} connections"


def _first(statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
    return str(row[0]) if row else NONE


def _counters() -> str:
    counters = caches["ratelimit"]
    if not isinstance(counters, RedisCounterCache):
        return "on this machine, exact over its processes"
    if counters.answers():
        return "in Redis, which answers"
    return "Redis does not answer: each machine counts for itself until it does"


def _libraries() -> Iterator[Library]:
    """What `requirements.txt` pins beside what is installed."""
    path = Path(settings.BASE_DIR) / "requirements.txt"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        if match := REQUIREMENT.fullmatch(line.strip()):
            yield Library(match[1], _installed(match[1]), match[2], match[3] or "")


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
