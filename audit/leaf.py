"""An entry as bytes, and its leaf hash.

An entry is encoded as a header and then each of its fields in the order of `FIELDS`: one byte for
the type, eight for the length of what follows (big-endian), then the value. So neither a value of
another type nor a text moved from one field into the next gives the same bytes. The hash of a leaf
is that of RFC 6962, section 2.1: SHA-256 of a zero byte and the leaf.

Needs nothing but the standard library: who verifies a bundle may not have the server.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

HEADER = b"audit entry 1\n"
FIELDS = (
    "id",
    "at",
    "actor_kind",
    "actor_id",
    "actor_label",
    "action",
    "target_type",
    "target_id",
    "outcome",
    "status_code",
    "n_items",
    "request_id",
    "peer_address",
    "address",
    "duration_ms",
    "details",
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_length = struct.Struct(">cQ").pack
_double = struct.Struct(">d").pack


class Unreadable(ValueError):
    """A field holds what no entry can hold."""


def leaf_hash(values: Sequence[object]) -> bytes:
    """Return the 32 bytes of an entry, given its values in the order of `FIELDS`.

    Raises `Unreadable` for a value of a type that no field has.
    """
    return sha256(b"\0" + encoded(values)).digest()


def encoded(values: Sequence[object]) -> bytes:
    """Return the bytes of an entry; see the head of the module. Raises `Unreadable`."""
    parts = [HEADER]
    for value in values:
        if type(value) is str:
            kind, content = b"S", value.encode("utf-8", "surrogatepass")
        elif value is None:
            kind, content = b"N", b""
        elif type(value) is int:
            kind, content = b"I", b"%d" % value
        elif type(value) is float:
            kind, content = b"F", _double(value)
        elif isinstance(value, datetime):
            kind, content = b"T", b"%d" % microseconds(value)
        else:
            raise Unreadable(f"a value of the type {type(value).__name__}")
        parts.append(_length(kind, len(content)))
        parts.append(content)
    return b"".join(parts)


def microseconds(moment: datetime) -> int:
    """Return microseconds from 1970 to an aware moment. Raises `Unreadable` for a naive one."""
    if moment.tzinfo is None:
        raise Unreadable("a moment without a zone")
    return (moment - EPOCH) // MICROSECOND
