"""A trail that takes no entry, as on a full disk, and all that must stay as it was meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import connection

APPS = (
    *("access", "audit", "auth", "django_q", "modelregistry", "monitoring", "segments"),
    *("otp_totp", "sessions"),
)


@contextmanager
def no_entries() -> Iterator[None]:
    """The database refuses each new entry in the block."""
    execute(refuse_entries())
    try:
        yield
    finally:
        execute(allow_entries())


def all_rows() -> dict[str, list[Any]]:
    """Every row of every table, by model."""
    return {
        model._meta.label: sorted(map(repr, model._base_manager.values_list()))
        for app in APPS
        for model in apps.get_app_config(app).get_models(include_auto_created=True)
    }


def refuse_entries() -> list[str]:
    if connection.vendor == "sqlite":
        return [
            "CREATE TRIGGER refuse_entries BEFORE INSERT ON audit_auditentry "
            "BEGIN SELECT RAISE(ABORT, 'no space'); END"
        ]
    return [
        "CREATE FUNCTION refuse_entries() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no space'; END $$",
        "CREATE TRIGGER refuse_entries BEFORE INSERT ON audit_auditentry "
        "FOR EACH ROW EXECUTE FUNCTION refuse_entries()",
    ]


def allow_entries() -> list[str]:
    if connection.vendor == "sqlite":
        return ["DROP TRIGGER refuse_entries"]
    return ["DROP FUNCTION refuse_entries() CASCADE"]


def execute(statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
