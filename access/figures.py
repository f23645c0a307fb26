"""Figures as people read them: thousands apart, four digits that mean something, shares in %."""

from __future__ import annotations

import math
from typing import Any

NONE = "–"


def figure(value: Any) -> str:
    """A number for a page; None is a dash, a yes is a yes."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if value.is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if not math.isfinite(value) or 0 < abs(value) < 1e-4 or abs(value) >= 1e15:
        return f"{value:.3g}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 4)}f}"


def share(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


def p_value(value: float | None) -> str:
    if value is None:
        return NONE
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"
