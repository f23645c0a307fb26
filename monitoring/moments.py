"""Moments as people write them on the command line."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone
from django.utils.dateparse import parse_datetime


def moment_of(text: str) -> datetime | None:
    """A moment such as 2026-01-31T00:00; None for what is none. Without a zone it is UTC."""
    try:
        stated = parse_datetime(text)
    except ValueError:  # of the right form, and no day of any calendar
        return None
    if stated is None or stated.tzinfo:
        return stated
    return timezone.make_aware(stated)
