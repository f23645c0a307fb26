"""Customers with their segment as a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from modelregistry.models import ModelVersion

SCHEMA = pa.schema(
    [
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("segment", pa.int64()),
        pa.field("segment_name", pa.string()),
        pa.field("distance", pa.float64()),
        pa.field("status", pa.string()),
        pa.field("assigned_at", pa.timestamp("us", "UTC"), nullable=False),
    ]
)


ROW_GROUP = 100_000
"""Rows gathered for a row group, 6 MB or so."""


def write_parquet(
    chunks: Iterator[list[tuple[Any, ...]]], file: IO[bytes], version: ModelVersion
) -> int:
    """Write the rows; the file's metadata say which version they are of. Returns how many."""
    n_rows = 0
    metadata = {"model_type": version.model_type, "version": str(version.number)}
    with pq.ParquetWriter(file, SCHEMA.with_metadata(metadata), compression="zstd") as writer:
        gathered: list[pa.RecordBatch] = []
        for rows in chunks:
            columns = map(pa.array, zip(*rows, strict=True), SCHEMA.types)
            gathered.append(pa.record_batch(list(columns), schema=SCHEMA))
            n_rows += len(rows)
            if len(gathered) * len(rows) >= ROW_GROUP:
                writer.write_table(pa.Table.from_batches(gathered))
                gathered = []
        writer.write_table(pa.Table.from_batches(gathered, SCHEMA))
    return n_rows
