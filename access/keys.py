"""Issuing and revoking keys, each with its audit entry in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from access.models import ApiKey
from audit import trail


@transaction.atomic
def create_key(
    *,
    name: str,
    scopes: Sequence[str],
    by: trail.Actor,
    rate: str = "",
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is not stored. Raises ValidationError for bad fields."""
    key = ApiKey(name=name, scopes=sorted(set(scopes)), rate=rate, expiry_date=expires_at)
    secret = issue(key, by=by)
    return key, secret


@transaction.atomic
def issue(key: ApiKey, *, by: trail.Actor) -> str:
    """Give an unsaved key its secret and save it; returns the secret, this once.

    Raises ValidationError for bad fields.
    """
    refuse_past_expiry(key.expiry_date)
    secret = ApiKey.objects.assign_key(key)
    key.full_clean()
    key.save(force_insert=True)
    trail.record(
        "api_key.created",
        by=by,
        target=("api_key", key.prefix),
        details={
            "name": key.name,
            "scopes": key.scopes,
            "rate": key.rate,
            "expires_at": key.expiry_date.isoformat() if key.expiry_date else None,
        },
    )
    return secret


def refuse_past_expiry(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= timezone.now():
        raise ValidationError("The key would have expired already.")


@transaction.atomic
def revoke(key: ApiKey, *, by: trail.Actor) -> None:
    """Refuse the key from now on; this is not undone. Revoking twice changes nothing."""
    if ApiKey.objects.filter(pk=key.pk, revoked=False).update(revoked=True):
        trail.record(
            "api_key.revoked", by=by, target=("api_key", key.pk), details={"name": key.name}
        )
