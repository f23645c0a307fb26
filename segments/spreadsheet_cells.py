"""Text that spreadsheets must not take for a formula."""

from __future__ import annotations

import re

# OWASP, CSV injection: these starts, also in full width, also behind what a spreadsheet skips.
FORMULA = re.compile(
    "[\\s\u00a0\u200b-\u200f\u2060\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]"
)


def safe_text(text: str) -> str:
    """The text with a ' in front if a spreadsheet could run it."""
    return f"'{text}" if FORMULA.match(text) else text
