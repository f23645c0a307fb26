"""Moments as people write them on the command line of the trail."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, date, datetime, time


def moment(text: str) -> datetime:
    """The beginning of a day such as 2026-01-31, or a moment; UTC unless it says otherwise.

    Raises `ArgumentTypeError`.
    """
    try:
        if len(text) == len("2026-01-31"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no date such as 2026-01-31") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)
