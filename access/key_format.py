"""How an API key is written: `seg_`, its public id, the secret, and a checksum of all before it.

The checksum tells a typo from a key without asking the database, and a scanner of source code a
key from what only looks like one. Keys issued in the earlier form have neither prefix nor checksum.
"""

from __future__ import annotations

import re
import string
import zlib

SECRET_LENGTH = 43
"""Letters and digits: 256 bits."""
CHECKSUM_LENGTH = 6
KEY = re.compile(r"(seg_([A-Za-z0-9]{8})_[A-Za-z0-9]{43})([A-Za-z0-9]{6})")
EARLIER_KEY = re.compile(r"([A-Za-z0-9]{8})\.[A-Za-z0-9]{32}")
KEY_ID = re.compile(r"[A-Za-z0-9]{8}")
TOKEN_TEXT = r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
SECRET_TEXT = re.compile(
    r"seg_[A-Za-z0-9]{8}_[A-Za-z0-9]+"
    r"|(?<![A-Za-z0-9])[A-Za-z0-9]{8}\.[A-Za-z0-9]{32}(?![A-Za-z0-9])"
    rf"|{TOKEN_TEXT}"
)
"""A key, whole or cut off, one of the earlier form, or a token, wherever it stands in a text."""
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase


def key_text(key_id: str, secret: str) -> str:
    text = f"seg_{key_id}_{secret}"
    return text + checksum(text)


def key_id_of(key: str) -> str | None:
    """The public id in a well-formed key; None for a typo and for anything else."""
    if match := KEY.fullmatch(key):
        text, key_id, given = match.groups()
        return key_id if checksum(text) == given else None
    earlier = EARLIER_KEY.fullmatch(key)
    return earlier[1] if earlier else None


def checksum(text: str) -> str:
    """CRC-32 in base 62, six characters."""
    number, found = zlib.crc32(text.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(DIGITS))
        found = DIGITS[digit] + found
    return found
