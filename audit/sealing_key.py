"""The key that seals, and the public keys by which seals are trusted.

The private key is a file that its owner alone may read; no web process opens it. The public keys
are a file of PEM blocks, the keys of earlier days included. Whoever verifies should hold a copy of
that file elsewhere: who can change it here could put a key of his own into it.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from audit.seal_format import key_id_of

MAX_FILE_BYTES = 1_000_000
"""Of a file of keys: thousands of them."""
PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class KeyRefused(Exception):
    """A key file that cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The private key, and the public keys by which it trusts the seals before its own."""

    key: Ed25519PrivateKey = field(repr=False)
    key_id: str
    trusted: Mapping[str, Ed25519PublicKey] = field(repr=False)


def load_or_make_signer(path: Path, public_path: Path) -> Signer:
    """Return the signer of the key file, which is made when there is neither it nor a public key.

    Raises `KeyRefused`, also for a key that the public keys do not trust: somebody put it there.
    """
    with _locked(path.parent):
        if not path.exists():
            if public_path.exists():
                raise KeyRefused(
                    f"The sealing key {path} is missing, though {public_path} trusts an earlier "
                    "one. Put the key back; if it is lost, `manage.py seal_audit --new-key` makes "
                    "another and says so in the trail."
                )
            _write_new(path, private_pem(Ed25519PrivateKey.generate()), mode=0o600)
        key = load_private_key(path)
        key_id = key_id_of(key.public_key())
        if not public_path.exists():
            _trusting(key.public_key(), public_path)
        trusted = trusted_keys(public_path)
        if key_id not in trusted:
            raise KeyRefused(
                f"The sealing key {path} is none that {public_path} trusts: another was put in its "
                "place. Put the key back, or let `manage.py seal_audit --new-key` make a new one "
                "and say so in the trail."
            )
    return Signer(key, key_id, trusted)


def make_new_key(
    path: Path, public_path: Path, *, record: Callable[[str], object] = lambda key_id: None
) -> Signer:
    """Put a new key in the place of the old one, whose public key stays trusted.

    `record` is called with the id of the new key before anything is written; what it raises keeps
    the old one. Raises `KeyRefused` when a file cannot be read or written.
    """
    key = Ed25519PrivateKey.generate()
    key_id = key_id_of(key.public_key())
    record(key_id)
    with _locked(path.parent):
        if path.exists() and not public_path.exists():  # a crash kept the public key back
            _trusting(load_private_key(path).public_key(), public_path)
        trusted = _trusting(key.public_key(), public_path)
        _write_new(path, private_pem(key), mode=0o600)
    return Signer(key, key_id, trusted)


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Raises `KeyRefused` for a file that others may read, or that holds no such key."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise KeyRefused(
                    f"The sealing key {path} can be read by others than its owner; "
                    f"`chmod 600 {path}`, and `manage.py seal_audit --new-key` if somebody did."
                )
            content = file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise KeyRefused(f"The sealing key {path} cannot be read: {error.strerror}.") from error
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyRefused(f"{path} holds no private key without a password in PEM.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyRefused(f"{path} holds a private key, but none for Ed25519.")
    return key


def trusted_keys(path: Path) -> dict[str, Ed25519PublicKey]:
    """Return the keys of a file of PEM blocks by their key ids; text between them is a remark.

    Raises `KeyRefused`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyRefused(f"The public keys {path} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_FILE_BYTES:
        raise KeyRefused(f"{path} is too large for a file of public keys.")
    keys = {}
    for number, block in enumerate(PEM_BLOCK.finditer(content), start=1):
        try:
            key = load_pem_public_key(block.group())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyRefused(f"Block {number} of {path} is not a public key in PEM.") from error
        if not isinstance(key, Ed25519PublicKey):
            raise KeyRefused(f"Block {number} of {path} is a public key, but none for Ed25519.")
        keys[key_id_of(key)] = key
    if not keys:
        raise KeyRefused(f"{path} holds no public key in PEM.")
    return keys


def public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _trusting(key: Ed25519PublicKey, path: Path) -> dict[str, Ed25519PublicKey]:
    """The trusted keys, after this one joined them."""
    trusted = trusted_keys(path) if path.exists() else {}
    if key_id_of(key) not in trusted:
        before = path.read_bytes() if path.exists() else b""
        if before and not before.endswith(b"\n"):
            before += b"\n"
        _write_new(path, before + public_pem(key), mode=0o644)
        trusted[key_id_of(key)] = key
    return trusted


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Put a file in the place of `path`, whole or not at all, also when the power fails."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.write(content)
            file.flush()
            os.fsync(handle)
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise KeyRefused(f"{path} cannot be written: {error.strerror}.") from error


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process at a time makes keys in a directory, however the others end."""
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise KeyRefused(f"{directory} cannot be opened: {error.strerror}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
