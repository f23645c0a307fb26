"""The audit trail: one append-only row for each fact.

Actor and target are text, not foreign keys, so the trail neither blocks nor follows a deletion.
"""

from __future__ import annotations

from typing import Any, Never

from django.db import connection, models


class AppendOnly(TypeError):
    """The trail takes new entries only; nothing in it is changed or removed."""

    def __init__(self) -> None:
        super().__init__("Audit entries cannot be changed or deleted.")


class ActorKind(models.TextChoices):
    USER = "user"
    API_KEY = "api_key"
    COMMAND = "command"
    SYSTEM = "system"
    ANONYMOUS = "anonymous"


class Outcome(models.TextChoices):
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    """Reads only; triggers in the database guard what the ORM cannot see."""

    def update(self, **kwargs: Any) -> Never:
        raise AppendOnly

    def bulk_update(self, *args: Any, **kwargs: Any) -> Never:
        raise AppendOnly

    def delete(self) -> Never:
        raise AppendOnly

    def _raw_delete(self, using: str | None) -> Never:
        raise AppendOnly


class AuditEntry(models.Model):
    """Who did what to what, when, with what outcome."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_index=True)
    actor_kind = models.CharField(max_length=16, choices=ActorKind)
    actor_id = models.CharField(max_length=150, blank=True)
    actor_label = models.CharField(max_length=200, blank=True)
    action = models.CharField(max_length=80)
    target_type = models.CharField(max_length=40, blank=True)
    target_id = models.CharField(max_length=200, blank=True)
    outcome = models.CharField(max_length=16, choices=Outcome)
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    n_items = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="How many customers or rows the action touched."
    )
    request_id = models.CharField(max_length=64, blank=True)
    peer_address = models.CharField(
        max_length=64, blank=True, help_text="The address of the connection itself."
    )
    address = models.CharField(
        max_length=64, blank=True, help_text="The client's address behind trusted proxies."
    )
    duration_ms = models.FloatField(null=True, blank=True)
    details = models.TextField(default="{}", help_text="Canonical JSON text.")

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["action", "id"], name="audit_action"),
            models.Index(fields=["actor_id", "id"], name="audit_actor"),
            models.Index(fields=["target_type", "target_id", "id"], name="audit_target"),
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor_label or self.actor_kind}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly
        super().save(*args, **{**kwargs, "force_insert": True})

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        raise AppendOnly

    def insert(self) -> None:
        """Write a new entry as `save` does, for a fraction of its cost: every request does it."""
        if not self._state.adding:
            raise AppendOnly
        fields = self._meta.local_concrete_fields[1:]  # the first is the key
        values = [
            field.get_db_prep_save(getattr(self, field.attname), connection) for field in fields
        ]
        with connection.cursor() as cursor:
            cursor.execute(INSERT, values)
            self.id = cursor.fetchone()[0]
        self._state.adding = False
        self._state.db = connection.alias


_columns = [str(field.column) for field in AuditEntry._meta.local_concrete_fields[1:]]
INSERT = (
    f"INSERT INTO {AuditEntry._meta.db_table} ({', '.join(_columns)}) "
    f"VALUES ({', '.join(['%s'] * len(_columns))}) RETURNING id"
)
