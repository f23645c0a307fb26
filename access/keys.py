"""Issuing, rotating and revoking keys, each with its audit entry in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from access.models import ApiKey
from audit import trail

CREATED, ROTATED, REVOKED = "api_key.created", "api_key.rotated", "api_key.revoked"
"""What the trail calls what happens to keys."""
OVERLAP_HOURS = 24
"""How long a key goes on beside the one that takes its place, unless told."""
MAX_OVERLAP_HOURS = 30 * 24


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
        CREATED,
        by=by,
        target=("api_key", key.prefix),
        details={
            "name": key.name,
            "scopes": key.scopes,
            "rate": key.rate,
            "expires_at": _written(key.expiry_date),
        },
    )
    return secret


def refuse_past_expiry(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= timezone.now():
        raise ValidationError("The key would have expired already.")


@transaction.atomic
def rotate(
    key: ApiKey, *, by: trail.Actor, overlap_hours: int = OVERLAP_HOURS
) -> tuple[ApiKey, str]:
    """A key that takes the place of this one, and its secret, this once.

    Both work for the overlap, and the old one never longer than it would have. The new one lives
    as long as the old one was meant to, from now on. Raises ValidationError.
    """
    old = ApiKey.objects.select_for_update().get(pk=key.pk)
    refuse_rotation(old, overlap_hours=overlap_hours)
    now = timezone.now()
    ends_at = now + timedelta(hours=overlap_hours)
    old_end = old.expiry_date
    new = ApiKey(name=old.name, scopes=old.scopes, rate=old.rate, rotated_from=old)
    new.lineage = old.lineage or old.pk
    if old.expiry_date is not None:
        new.expiry_date = now + (old.expiry_date - old.created)
        ends_at = min(ends_at, old.expiry_date)
    secret = ApiKey.objects.assign_key(new)
    new.full_clean()
    new.save(force_insert=True)
    ApiKey.objects.filter(pk=old.pk).update(expiry_date=ends_at)
    trail.record(
        ROTATED,
        by=by,
        target=("api_key", old.pk),
        details={
            "name": old.name,
            "rotated_to": new.pk,
            "scopes": new.scopes,
            "rate": new.rate,
            "old_expires_at": _written(ends_at),
            "new_expires_at": _written(new.expiry_date),
            "changes": {"expires_at": [_written(old_end), _written(ends_at)]},
        },
    )
    return new, secret


def refuse_rotation(key: ApiKey, *, overlap_hours: int) -> None:
    """Raises ValidationError for a key that is dead or has a successor, or for no fit overlap."""
    if not 0 <= overlap_hours <= MAX_OVERLAP_HOURS:
        raise ValidationError(f"The overlap must be 0 to {MAX_OVERLAP_HOURS} hours.")
    if key.revoked or key.has_expired:
        raise ValidationError("The key is not usable any more; issue a new one.")
    successor = ApiKey.objects.filter(rotated_from=key).first()
    if successor is not None:
        raise ValidationError(f"The key was rotated to {successor.pk}; rotate that one.")


@transaction.atomic
def revoke(key: ApiKey, *, by: trail.Actor) -> bool:
    """Refuse the key from now on; this is not undone. False when it was revoked before."""
    if not ApiKey.objects.filter(pk=key.pk, revoked=False).update(revoked=True):
        return False
    trail.record(
        REVOKED,
        by=by,
        target=("api_key", key.pk),
        details={"name": key.name, "changes": {"revoked": [False, True]}},
    )
    return True


def _written(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
