"""What customers are known by where their ids must not stay: in the trail and in receipts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from ml.owners import Digests

PURPOSE = b"customer digest"
OWNER_PURPOSE = b"owner digest"
"""Another key: what a model knows customers by leads to no entry of the trail."""
DIGEST_BYTES = 16
OWNER_BYTES = 8


def customer_digest(customer_id: str, *, secret: str) -> str:
    """Keyed BLAKE2 (RFC 7693) of an id, in hex: without the secret no id can be told from it."""
    key = _key(secret, PURPOSE)
    return hashlib.blake2b(customer_id.encode(), key=key, digest_size=DIGEST_BYTES).hexdigest()


def owner_digests(customer_ids: Iterable[str], *, secret: str) -> Digests:
    """What a model knows its customers by; uint64, as the ids come."""
    keyed = hashlib.blake2b(key=_key(secret, OWNER_PURPOSE), digest_size=OWNER_BYTES)

    def digest(customer_id: str) -> bytes:
        one = keyed.copy()
        one.update(customer_id.encode())
        return one.digest()

    return np.frombuffer(b"".join(map(digest, customer_ids)), dtype="<u8").astype(np.uint64)


def _key(secret: str, purpose: bytes) -> bytes:
    return hashlib.blake2b(secret.encode(), digest_size=32, person=purpose).digest()
