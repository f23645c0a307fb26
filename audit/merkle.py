"""Merkle trees of RFC 6962, section 2.1, over hashes of leaves.

An odd node rises to the next level as it is; it is never paired with itself, which would let two
different lists have one root (CVE-2012-2459). Needs nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, n of 32 bytes; that of none is the hash of nothing."""
    if not leaves:
        return sha256().digest()
    level = list(leaves)
    while len(level) > 1:
        level = _next(level)
    return level[0]


def path(leaves: Sequence[bytes], position: int) -> list[bytes]:
    """Return the inclusion proof of one leaf: its siblings from the bottom up.

    Raises `IndexError` for a position outside the tree.
    """
    if not 0 <= position < len(leaves):
        raise IndexError(f"no leaf {position} in a tree of {len(leaves)}")
    siblings = []
    level, place = list(leaves), position
    while len(level) > 1:
        if place ^ 1 < len(level):
            siblings.append(level[place ^ 1])
        level, place = _next(level), place // 2
    return siblings


def root_from_path(leaf: bytes, position: int, n_leaves: int, siblings: Sequence[bytes]) -> bytes:
    """Return the root that a proof leads to: RFC 9162, section 2.1.3.2.

    Raises `ValueError` when the proof has not the length that the place asks for.
    """
    if not 0 <= position < n_leaves:
        raise ValueError(f"no leaf {position} in a tree of {n_leaves}")
    place, last, found, rest = position, n_leaves - 1, leaf, iter(siblings)
    while last > 0:
        if place & 1 or place < last:
            sibling = next(rest, None)
            if sibling is None:
                raise ValueError("the proof is too short")
            found = node_hash(sibling, found) if place & 1 else node_hash(found, sibling)
        place, last = place // 2, last // 2
    if next(rest, None) is not None:
        raise ValueError("the proof is too long")
    return found


def _next(level: list[bytes]) -> list[bytes]:
    pairs = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return pairs + level[-1:] if len(level) % 2 else pairs
