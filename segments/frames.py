"""From stored customers to a table: the reference that a version is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from segments.models import Customer

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 20_000

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def customers_frame() -> pd.DataFrame:
    """All stored customers, one row each in order of id, one column an attribute."""
    import pandas as pd  # jobs and commands only: never in a web process

    rows = Customer.objects.order_by("customer_id").values_list("attributes_json", flat=True)
    stream = rows.iterator(chunk_size=CHUNK)
    frames = [pd.DataFrame.from_records(records) for records in _decoded(stream)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _decoded(stream: Iterator[str]) -> Iterator[list[dict[str, Any]]]:
    while chunk := list(map(_decode, islice(stream, CHUNK))):
        yield chunk
