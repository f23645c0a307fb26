"""What stands for many ids in one entry: they can be told to be the same, not read off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def ids_sha256(ids: Iterable[object]) -> str:
    """SHA-256 in hex of the ids as text, sorted, one a line."""
    return hashlib.sha256("\n".join(sorted(map(str, ids))).encode()).hexdigest()
