"""From stored customers to a table: the reference that a version is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
from django.db.models import FilteredRelation, Q
from numpy.typing import NDArray

from ml.clusterers import NOISE
from segments.models import Customer

if TYPE_CHECKING:
    import pandas as pd

IntArray: TypeAlias = NDArray[np.int64]

CHUNK = 20_000
UNASSIGNED = -2
"""In place of a segment: the version does not know the customer. `NOISE` is known and in none."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class ReferenceTable:
    """The stored customers in order of id, and the segments that one version gives them.

    Attributes
    ----------
    frame : pandas.DataFrame
        One row a customer, one column an attribute.
    segments : int64 array (n,)
        Segment id, `NOISE`, or `UNASSIGNED`.
    """

    frame: pd.DataFrame
    segments: IntArray


def reference_table(version_id: int | None) -> ReferenceTable:
    """All stored customers with their segments under a version, if any, in one query."""
    import pandas as pd  # jobs and commands only: never in a web process

    own = Q(assignments__version_id=version_id)
    rows = (
        Customer.objects.annotate(own=FilteredRelation("assignments", condition=own))
        .order_by("customer_id")
        .values_list("attributes_json", "own__version_id", "own__segment_id")
    )
    frames: list[pd.DataFrame] = []
    segments: list[int] = []
    for chunk in _chunks(rows.iterator(chunk_size=CHUNK)):
        frames.append(pd.DataFrame.from_records([_decode(text) for text, _, _ in chunk]))
        segments += [
            UNASSIGNED if version is None else NOISE if segment is None else segment
            for _, version, segment in chunk
        ]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return ReferenceTable(frame, np.array(segments, dtype=np.int64))


def _chunks(stream: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(islice(stream, CHUNK)):
        yield chunk
