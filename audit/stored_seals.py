"""Stored seals as what they signed."""

from __future__ import annotations

from audit.models import AuditSeal
from audit.seal_format import SEAL_FIELDS, Seal


def seal_of(row: AuditSeal) -> Seal:
    """What the stored seal says it signed; `seal_format` tells whether it did."""
    return Seal(**{name: getattr(row, name) for name in SEAL_FIELDS})


def digest_of(row: AuditSeal) -> str:
    """Raises `ValueError` (also `audit.leaf.Unreadable`) for a seal that cannot be one."""
    return seal_of(row).digest(row.signature)
