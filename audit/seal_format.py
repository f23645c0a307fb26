"""What a seal signs, how seals are chained, and whose signature fits.

A seal signs, with Ed25519 (RFC 8032), a header and its fields, each as in `audit.leaf`: type,
length, value. Its digest, the head of the chain while it is the last, is the SHA-256 of what was
signed and the signature; the next seal signs that digest. Needs the standard library and
`cryptography`: who verifies a bundle may not have the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.leaf import encoded

HEADER = b"audit seal 1, Ed25519\n"
NO_SEAL = "0" * 64
"""What the first seal names as the digest of the one before."""


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal as it is signed; hashes are hexadecimal, `sealed_at` is aware."""

    no: int
    kind: str
    previous: str
    n_entries: int
    first_id: int | None
    last_id: int | None
    pruned_from: int | None
    pruned_to: int | None
    root: str
    sealed_at: datetime
    key_id: str

    def signed_bytes(self) -> bytes:
        """Raises `audit.leaf.Unreadable` for a value of a type that no seal has."""
        return HEADER + encoded([getattr(self, name) for name in SEAL_FIELDS])

    def signature(self, key: Ed25519PrivateKey) -> str:
        """Return the signature, 128 hexadecimal digits."""
        return key.sign(self.signed_bytes()).hex()

    def digest(self, signature: str) -> str:
        """Return what the next seal and the anchors name it by, 64 hexadecimal digits.

        Raises `ValueError` for a signature that is not hexadecimal.
        """
        return sha256(self.signed_bytes() + bytes.fromhex(signature)).hexdigest()

    def is_signed(self, signature: str, keys: Mapping[str, Ed25519PublicKey]) -> bool:
        """Whether the key that it names is among the trusted ones, and the signature its own."""
        key = keys.get(self.key_id)
        try:
            if key is None or len(signature) != 128:
                return False
            key.verify(bytes.fromhex(signature), self.signed_bytes())
        except (InvalidSignature, ValueError):
            return False
        return True


SEAL_FIELDS = (
    "no",
    "kind",
    "previous",
    "n_entries",
    "first_id",
    "last_id",
    "pruned_from",
    "pruned_to",
    "root",
    "sealed_at",
    "key_id",
)


def key_id_of(key: Ed25519PublicKey) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the key's 32 bytes."""
    return sha256(key.public_bytes_raw()).hexdigest()[:16]
