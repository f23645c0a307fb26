"""Uploaded tables until they are imported: each in a directory of its own, for its owner alone."""

from __future__ import annotations

import gzip
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from segments.table_problems import UnreadableTable, explained_failures

DIRECTORY = "imports"
MAX_NAME_BYTES = 120
"""Of the name a file keeps: file systems take 255, the trail 200 characters."""
MAX_UNPACKED_BYTES = 1024**3
"""Of an uploaded gzip file: what is 50 MB packed can be 50 GB of zeros."""
CHUNK_BYTES = 1024**2
STRAY_AFTER_SECONDS = 3600
"""Age from which a directory that no import names was left behind by a killed process."""
TOKEN = re.compile(r"[0-9a-f]{32}")


def keep_upload(chunks: Iterable[bytes], name: str, *, directory: Path) -> tuple[str, int]:
    """Write a file that only its owner can read; the token of its place, and its bytes."""
    token = secrets.token_hex(16)
    place = directory / DIRECTORY / token
    place.parent.mkdir(mode=0o700, exist_ok=True)
    place.mkdir(mode=0o700)
    n_bytes = 0
    try:
        handle = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            for chunk in chunks:
                n_bytes += file.write(chunk)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return token, n_bytes


def kept_file(token: str, name: str, *, directory: Path) -> Path:
    return directory / DIRECTORY / token / name


def remove_upload(token: str, *, directory: Path) -> None:
    """Nothing to do for an import without an upload, or one whose file is gone."""
    if TOKEN.fullmatch(token):
        shutil.rmtree(directory / DIRECTORY / token, ignore_errors=True)


def sweep_uploads(kept: Collection[str], *, directory: Path) -> None:
    """Remove the places that no import names, once they are old enough to be nobody's."""
    with suppress(FileNotFoundError):
        for place in (directory / DIRECTORY).iterdir():
            with suppress(FileNotFoundError):
                age = time.time() - place.stat().st_mtime
                if place.name not in kept and age > STRAY_AFTER_SECONDS:
                    remove_upload(place.name, directory=directory)


def plain_name(name: str) -> str:
    """The name of an uploaded file without what a path, a terminal or a page could trip over."""
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(letter if letter.isprintable() else "_" for letter in name).strip(" .")
    stem, dot, suffix = name.partition(".")
    suffix = (dot + suffix)[-20:]
    room = MAX_NAME_BYTES - len(suffix.encode())
    stem = stem.encode(errors="replace")[:room].decode(errors="ignore")
    return stem + suffix if stem else f"upload{suffix}"


def refuse_bomb(path: Path) -> None:
    """Raise `UnreadableTable` for a gzip file that unpacks to more than it may."""
    with explained_failures(path), path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return
        file.seek(0)
        with gzip.GzipFile(fileobj=file) as unpacked:
            n_bytes = 0
            while chunk := unpacked.read(CHUNK_BYTES):
                n_bytes += len(chunk)
                if n_bytes > MAX_UNPACKED_BYTES:
                    limit = MAX_UNPACKED_BYTES // 1024**2
                    raise UnreadableTable(
                        f"{path} unpacks to more than {limit:,} MB: import it with "
                        "`manage.py import_customers`"
                    )
