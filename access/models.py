"""API keys: hashed at rest, shown once, with scopes, expiry and a rate of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, models
from django.utils import timezone
from rest_framework_api_key.crypto import KeyGenerator
from rest_framework_api_key.models import AbstractAPIKey, BaseAPIKeyManager

from access.key_format import SECRET_LENGTH, key_id_of, key_text
from access.rates import RATE, RATE_FORM
from access.scopes import ALL_SCOPES


def validate_scopes(scopes: Any) -> None:
    unknown = set(scopes) - ALL_SCOPES if isinstance(scopes, list) else {"(not a list)"}
    if unknown:
        raise ValidationError(f"Unknown scopes: {', '.join(sorted(map(str, unknown)))}.")


def validate_rate(rate: str) -> None:
    if rate and not RATE.match(rate):
        raise ValidationError(RATE_FORM)


# Written out because every request runs it, and composing it through the ORM costs more than
# ten times as much as running it.
USABLE_KEY = """SELECT name, hashed_key, scopes, rate, expiry_date, lineage
    FROM access_apikey
    WHERE prefix = %s AND NOT revoked AND (expiry_date IS NULL OR expiry_date >= %s)"""


@dataclass(frozen=True, slots=True)
class UsableKey:
    """What is asked of a key at the door; `lineage` is the id of the first of its rotations."""

    prefix: str
    name: str
    hashed_key: str
    scopes: frozenset[str]
    rate: str
    expires_at: datetime | None
    lineage: str


class ApiKeyGenerator(KeyGenerator):
    """Keys in our form, hashed the library's way."""

    def generate(self) -> tuple[str, str, str]:
        prefix = self.get_prefix()
        key = key_text(prefix, self.get_secret_key())
        return key, prefix, self.hash(key)


class ApiKeyManager(BaseAPIKeyManager):
    key_generator = ApiKeyGenerator(secret_key_length=SECRET_LENGTH)

    def get_from_key(self, key: str) -> ApiKey:
        """The library's look-up, for both forms of a key."""
        found: ApiKey = self.get_usable_keys().get(prefix=key_id_of(key))
        if not found.is_valid(key):
            raise ApiKey.DoesNotExist
        return found

    def usable(self, prefix: str) -> UsableKey | None:
        """The unrevoked, unexpired key with this prefix; its secret is not yet checked."""
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        with connection.cursor() as cursor:
            cursor.execute(USABLE_KEY, [prefix, now])
            row = cursor.fetchone()
        if row is None:
            return None
        name, hashed_key, scopes, rate, expires_at, lineage = row
        if expires_at is not None and expires_at.tzinfo is None:  # SQLite keeps it in UTC
            expires_at = expires_at.replace(tzinfo=UTC)
        granted = frozenset(json.loads(scopes))
        return UsableKey(
            prefix, name, hashed_key, granted, rate, expires_at, lineage=lineage or prefix
        )


class ApiKey(AbstractAPIKey):
    """The prefix is the primary key, so that no page, log or trail shows the hash."""

    id = None  # type: ignore[assignment]  # Django's way to drop an inherited field
    prefix = models.CharField(max_length=8, primary_key=True, editable=False)
    scopes = models.JSONField(default=list, blank=True, validators=[validate_scopes])
    rate = models.CharField(
        max_length=20,
        blank=True,
        validators=[validate_rate],
        help_text="Requests per period, such as 600/m; empty for the default rate.",
    )
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    rotated_from = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        editable=False,
        related_name="rotated_to",
    )
    lineage = models.CharField(max_length=8, blank=True, editable=False)
    """Id of the key that was rotated first; empty for that key itself."""

    objects = ApiKeyManager()  # type: ignore[assignment, misc]  # a manager may be replaced

    class Meta(AbstractAPIKey.Meta):
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        permissions = [("view_settings", "Can view the settings in force")]


class IdempotentRequest(models.Model):
    """A POST or DELETE with an Idempotency-Key: claimed, done with its work, then answered.

    `digest` is of the caller, the method, the path and the key, and of the server's secret;
    `fingerprint` of query and body.
    `answer` is compressed, and null while there is none, when it was too large, or erased: with any
    customer, unless it can name none.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    fingerprint = models.CharField(max_length=64)
    holder = models.CharField(max_length=32)
    request_id = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_index=True)
    claimed_until = models.DateTimeField()
    is_done = models.BooleanField(default=False)
    names_customers = models.BooleanField(default=True)
    status_code = models.PositiveSmallIntegerField(null=True)
    location = models.CharField(max_length=500, blank=True)
    answer = models.BinaryField(null=True)

    def __str__(self) -> str:
        return f"request {self.request_id}"


class RecoveryCode(models.Model):
    """A code that signs its user in once in place of the phone's; only its hash is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["user", "digest"], name="recovery_code_of_a_user")
        ]

    def __str__(self) -> str:
        return f"recovery code {self.pk}"
