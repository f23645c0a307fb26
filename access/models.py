"""API keys: hashed at rest, shown once, with scopes, expiry and a rate of their own."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from rest_framework_api_key.models import AbstractAPIKey, BaseAPIKeyManager

from access.rates import RATE, RATE_FORM
from access.scopes import ALL_SCOPES


def validate_scopes(scopes: Any) -> None:
    unknown = set(scopes) - ALL_SCOPES if isinstance(scopes, list) else {"(not a list)"}
    if unknown:
        raise ValidationError(f"Unknown scopes: {', '.join(sorted(map(str, unknown)))}.")


def validate_rate(rate: str) -> None:
    if rate and not RATE.match(rate):
        raise ValidationError(RATE_FORM)


class ApiKeyManager(BaseAPIKeyManager):
    def usable(self, prefix: str) -> ApiKey | None:
        """The unrevoked, unexpired key with this prefix; its secret is not yet checked."""
        key = self.get_usable_keys().filter(prefix=prefix).first()
        return None if key is None or key.has_expired else key


class ApiKey(AbstractAPIKey):
    """The prefix is the primary key, so that no page, log or trail shows the hash."""

    id = None  # type: ignore[assignment]  # Django's way to drop an inherited field
    prefix = models.CharField(max_length=8, primary_key=True, editable=False)
    scopes = models.JSONField(default=list, validators=[validate_scopes])
    rate = models.CharField(
        max_length=20,
        blank=True,
        validators=[validate_rate],
        help_text="Requests per period, such as 600/m; empty for the default rate.",
    )

    objects = ApiKeyManager()  # type: ignore[assignment, misc]  # a manager may be replaced

    class Meta(AbstractAPIKey.Meta):
        verbose_name = "API key"
        verbose_name_plural = "API keys"
