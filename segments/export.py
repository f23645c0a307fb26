"""All customers with their segment under the version that serves, as one file.

The file is finished, counted and recorded in the trail before its first byte leaves the house: the
entry names exactly what left, a failure is an answer and no short file, and a slow reader holds
nothing of the database. It is read from the table in chunks, so memory does not grow with it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import starmap
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec
from django.db import transaction

from audit import trail
from modelregistry import activation
from modelregistry.models import ModelVersion
from segments.models import Assignment, VersionSegment
from segments.spreadsheet_cells import safe_text

AUDIT_ACTION = "segments.exported"
CHUNK = 5_000
"""Rows read at a time."""
MAX_IN_MEMORY = 1 << 20
"""Bytes of a file that stay in memory; a larger one goes to disk, where nobody can name it."""


class ExportedCustomer(msgspec.Struct, frozen=True, gc=False):
    """One row. Noise has no `segment`, K-means no `status`, a version of noise no `distance`."""

    customer_id: str
    segment: int | None
    segment_name: str | None
    distance: float | None
    status: str | None
    assigned_at: datetime


COLUMNS = ExportedCustomer.__struct_fields__
Rows: TypeAlias = list[tuple[Any, ...]]
"""Customers, each with the COLUMNS."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to export: `format` is one of FORMATS, `segment` the only one, NOISE_KEY for noise."""

    model_type: str
    format: str
    segment: int | None = None


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A finished file, at its start; who takes it closes it."""

    version: ModelVersion
    content: IO[bytes]
    n_bytes: int
    n_rows: int
    sha256: bytes


def export_segments(asked: Asked, *, directory: Path, by: trail.Actor) -> ExportedFile:
    """Write the file, then its entry; `directory` is where a large one has room.

    A customer is in it as stored when their chunk was read. Raises `NoActiveVersion`.
    """
    version = activation.active_version(asked.model_type)
    file = tempfile.SpooledTemporaryFile(max_size=MAX_IN_MEMORY, dir=str(directory))  # noqa: SIM115
    try:
        n_rows = WRITERS[asked.format](_chunks(version, asked.segment), file, version)
        n_bytes = file.tell()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256")
        file.seek(0)
        with transaction.atomic():
            trail.record(
                AUDIT_ACTION,
                by=by,
                target=("model_version", str(version)),
                status_code=200,
                n_items=n_rows,
                details={
                    "format": asked.format,
                    "segment": asked.segment,
                    "n_bytes": n_bytes,
                    "sha256": digest.hexdigest(),
                },
            )
    except BaseException:
        file.close()
        raise
    return ExportedFile(version, file, n_bytes, n_rows, digest.digest())


def _chunks(version: ModelVersion, segment: int | None) -> Iterator[Rows]:
    """All rows in order of id, each chunk by a query of its own: none stays open in between."""
    assigned = Assignment.objects.filter(version=version)
    if segment is not None:
        assigned = assigned.in_segment(segment)
    found = assigned.order_by("customer_id").values_list(
        "customer_id", "segment_id", "distance", "status", "assigned_at"
    )
    described = VersionSegment.objects.filter(version=version)
    names: dict[int | None, str | None] = {None: None}
    names.update(described.values_list("segment_id", "segment__name"))
    above = ""
    while chunk := list(found.filter(customer_id__gt=above)[:CHUNK]):
        yield [
            (key, own, names[own], None if math.isinf(distance) else distance, status or None, at)
            for key, own, distance, status, at in chunk
        ]
        above = chunk[-1][0]


def _write_csv(chunks: Iterator[Rows], file: IO[bytes], version: ModelVersion) -> int:
    """RFC 4180; ids and names as `safe_text` gives them."""
    n_rows = 0
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for rows in chunks:
        writer.writerows(
            (safe_text(key), own, name and safe_text(name), distance, status, at.isoformat())
            for key, own, name, distance, status, at in rows
        )
        file.write(text.getvalue().encode())
        text.seek(0)
        text.truncate()
        n_rows += len(rows)
    file.write(text.getvalue().encode())  # of nobody only the header
    return n_rows


def _write_ndjson(chunks: Iterator[Rows], file: IO[bytes], version: ModelVersion) -> int:
    n_rows = 0
    encoder = msgspec.json.Encoder()
    for rows in chunks:
        file.write(encoder.encode_lines(starmap(ExportedCustomer, rows)))
        n_rows += len(rows)
    return n_rows


def _write_parquet(chunks: Iterator[Rows], file: IO[bytes], version: ModelVersion) -> int:
    # A web process that never writes Parquet does without the library.
    from segments.parquet_export import write_parquet

    return write_parquet(chunks, file, version)


WRITERS: Mapping[str, Callable[[Iterator[Rows], IO[bytes], ModelVersion], int]] = {
    "csv": _write_csv,
    "ndjson": _write_ndjson,
    "parquet": _write_parquet,
}
