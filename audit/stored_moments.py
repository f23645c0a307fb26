"""Moments of entries where somebody may have stored what is none, past the triggers.

SQLite keeps any value in any column, and PostgreSQL has moments that Python has not.
"""

from __future__ import annotations

from typing import Any

from django.db.models import DateTimeField, Func, QuerySet

from audit.models import AuditEntry


class ReadableMoment(Func):
    """A stored moment, or NULL where Python could not read it."""

    output_field = DateTimeField()
    arity = 1
    # The text as Django writes it. A modifier makes 3 March of 31 February: that is another text.
    template = """CASE WHEN length(%(expressions)s) IN (19, 26)
        AND %(expressions)s >= '0001'
        AND strftime(
                '%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%S', substr(%(expressions)s, 1, 19), '+0 days'
            ) = substr(%(expressions)s, 1, 19)
        AND (length(%(expressions)s) = 19
            OR substr(%(expressions)s, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]')
        THEN %(expressions)s END"""

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = """CASE WHEN %(expressions)s >= '0001-01-02' AND %(expressions)s < '9999-12-31'
            THEN %(expressions)s END"""
        return super().as_sql(compiler, connection, template=template, **context)


def fetched(entries: QuerySet[AuditEntry]) -> list[AuditEntry]:
    """The entries; `at` is None where what is stored is no moment."""
    found: list[Any] = list(entries.defer("at").annotate(readable_at=ReadableMoment("at")))
    for entry in found:
        entry.at = entry.readable_at
    return found


def readable(entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
    """Those of the entries whose moment can be read."""
    return entries.alias(readable_at=ReadableMoment("at")).filter(readable_at__isnull=False)
