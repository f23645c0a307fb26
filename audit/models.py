"""The audit trail: one append-only row for each fact, and the seals that make it evidence.

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


class AppendOnlyQuerySet(models.QuerySet):
    """Reads and inserts only; triggers in the database guard what the ORM cannot see."""

    def update(self, **kwargs: Any) -> Never:
        raise AppendOnly

    def bulk_update(self, *args: Any, **kwargs: Any) -> Never:
        raise AppendOnly

    def delete(self) -> Never:
        raise AppendOnly

    def _raw_delete(self, using: str | None) -> Never:
        raise AppendOnly


class AppendOnlyModel(models.Model):
    """Rows that are inserted once and never again touched by the ORM."""

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly
        super().save(*args, **{**kwargs, "force_insert": True})

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        raise AppendOnly


class AuditEntry(AppendOnlyModel):
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

    class Meta:
        ordering = ["-at", "-id"]
        default_permissions = ("view",)
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        # Every request inserts an entry; benchmarks/audit_reading.py says what each index costs it.
        indexes = [
            models.Index(fields=["action", "at"], name="audit_by_action"),
            models.Index(fields=["actor_id", "at"], name="audit_by_actor"),
            models.Index(fields=["actor_label", "at"], name="audit_by_actor_label"),
            models.Index(fields=["actor_kind", "at"], name="audit_by_actor_kind"),
            models.Index(fields=["target_id", "at"], name="audit_by_target"),
            models.Index(fields=["target_type", "at"], name="audit_by_target_type"),
            models.Index(fields=["request_id", "at"], name="audit_by_request"),
            # Nearly all succeed: those are found on the way through `at`.
            models.Index(
                fields=["outcome", "at"],
                condition=~models.Q(outcome=Outcome.SUCCEEDED),
                name="audit_by_outcome",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor_label or self.actor_kind}"

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


class SealKind(models.TextChoices):
    ENTRIES = "entries"
    PRUNED = "pruned"


class AuditSeal(AppendOnlyModel):
    """One link of the signed chain: a Merkle tree of entries, or the record of a pruning.

    `audit.seal_format` says what is signed and how. Of a seal of the kind `entries`, `root` is the
    root over the hashes of its leaves. Of one of the kind `pruned`, the entries of the seals from
    `pruned_from` to `pruned_to` were removed, and `root` is the root over the digests of those
    seals.
    """

    no = models.PositiveBigIntegerField(primary_key=True, help_text="1, 2, 3 and so on.")
    kind = models.CharField(max_length=16, choices=SealKind)
    previous = models.CharField(
        max_length=64, help_text="The digest of the seal before, in hexadecimal; 64 zeros for 1."
    )
    n_entries = models.PositiveBigIntegerField(help_text="Entries sealed, or removed.")
    first_id = models.PositiveBigIntegerField(null=True, help_text="The smallest id sealed.")
    last_id = models.PositiveBigIntegerField(null=True, help_text="The largest id sealed.")
    pruned_from = models.PositiveBigIntegerField(null=True)
    pruned_to = models.PositiveBigIntegerField(null=True)
    root = models.CharField(max_length=64, help_text="Merkle root in hexadecimal.")
    sealed_at = models.DateTimeField()
    key_id = models.CharField(max_length=16, help_text="Of the key that signed.")
    signature = models.CharField(max_length=128, help_text="Ed25519, in hexadecimal.")

    class Meta:
        ordering = ["-no"]
        default_permissions = ("view",)
        verbose_name = "audit seal"
        indexes = [
            # The triggers look for the record of a pruning at each row that is to go.
            models.Index(
                fields=["pruned_from"],
                condition=models.Q(kind=SealKind.PRUNED),
                name="audit_pruned",
            )
        ]

    def __str__(self) -> str:
        return f"seal {self.no}"


class AuditLeaf(AppendOnlyModel):
    """Which seal holds an entry, at which place, and the hash that the entry had then."""

    entry_id = models.PositiveBigIntegerField(primary_key=True)
    seal_no = models.PositiveBigIntegerField()
    position = models.PositiveIntegerField(help_text="From 0, in its seal.")
    hash = models.BinaryField(help_text="32 bytes; see audit.leaf.")

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["seal_no", "position"], name="audit_leaf_place")
        ]

    def __str__(self) -> str:
        return f"entry {self.entry_id} at {self.position} of seal {self.seal_no}"
