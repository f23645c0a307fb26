"""Text that spreadsheets must not take for a formula."""

from __future__ import annotations

import re

# OWASP, CSV injection: these starts, also in full width, also behind what a spreadsheet skips.
FORMULA = re.compile(
    "[\\s\u00a0\u200b-\u200f\u2060\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]"
)


def safe_text(text: str) -> str:
    """The text with a ' in front if a spreadsheet could run it, or if it begins with one itself.

    So a ' at the beginning is always one too many, and taking it away gives the text back.
    """
    return f"'{text}" if text.startswith("'") or FORMULA.match(text) else text
