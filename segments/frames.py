"""From stored customers to a table: the reference that a version is trained on.

The table is built column by column from chunks of one query, each chunk in the smallest form that
keeps its values, so that a customer costs some hundred bytes and not as many Python objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain, islice
from operator import methodcaller
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
from django.db.models import FilteredRelation, Q
from numpy.typing import NDArray

from ml.clusterers import NOISE
from ml.owners import Digests
from segments.customer_digests import owner_digests
from segments.models import Customer

if TYPE_CHECKING:
    import pandas as pd

IntArray: TypeAlias = NDArray[np.int64]

CHUNK = 20_000
UNASSIGNED = -2
"""In place of a segment: the version does not know the customer. `NOISE` is known and in none."""
GAP = -1
"""In place of a code, where a customer has no text or no boolean."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class ReferenceTable:
    """The stored customers in order of id, and the segments that one version gives them.

    Attributes
    ----------
    frame : pandas.DataFrame
        One row a customer, one column an attribute: numbers as float64, booleans as bool or, with
        gaps, as pandas' boolean, texts as categories, and what mixes these as objects.
    segments : int64 array (n,)
        Segment id, `NOISE`, or `UNASSIGNED`.
    digests : uint64 array (n,)
        What a model knows them by.
    """

    frame: pd.DataFrame
    segments: IntArray
    digests: Digests


def reference_table(version_id: int | None, *, secret: str) -> ReferenceTable:
    """All stored customers with their segments under a version, if any, in one query."""
    import pandas as pd  # jobs and commands only: never in a web process

    own = Q(assignments__version_id=version_id)
    rows = (
        Customer.objects.annotate(own=FilteredRelation("assignments", condition=own))
        .order_by("customer_id")
        .values_list("customer_id", "attributes_json", "own__version_id", "own__segment_id")
    )
    columns: dict[str, _Column] = {}
    segments = [np.empty(0, dtype=np.int64)]
    digests = [np.empty(0, dtype=np.uint64)]
    n_rows = 0
    for chunk in _chunks(rows.iterator(chunk_size=CHUNK)):
        ids, texts, versions, own_segments = zip(*chunk, strict=True)
        records = list(map(_decode, texts))
        for name in dict.fromkeys(chain.from_iterable(records)):
            column = columns.setdefault(name, _Column())
            column.add(list(map(methodcaller("get", name), records)), start=n_rows)
        segments.append(_segments(versions, own_segments))
        digests.append(owner_digests(ids, secret=secret))
        n_rows += len(chunk)
    # Each column leaves the mapping, so that the chunks of one alone stand beside the whole.
    whole = {name: columns.pop(name).whole(n_rows) for name in list(columns)}
    frame = pd.DataFrame(whole, index=pd.RangeIndex(n_rows), copy=False)
    return ReferenceTable(frame, np.concatenate(segments), np.concatenate(digests))


def _segments(versions: Sequence[int | None], segments: Sequence[int | None]) -> IntArray:
    known = (NOISE if segment is None else segment for segment in segments)
    pairs = zip(versions, known, strict=True)
    return np.array([UNASSIGNED if v is None else s for v, s in pairs], dtype=np.int64)


def _chunks(stream: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(islice(stream, CHUNK)):
        yield chunk


class _Form(Enum):
    """How the values of a chunk are kept."""

    NUMBERS = auto()  # float64
    BOOLEANS = auto()  # int8: 0, 1 or GAP
    TEXTS = auto()  # int32: codes of the column's texts, or GAP
    OBJECTS = auto()  # what mixes them, or leaves float64


class _Column:
    """One attribute: its chunks with the row each starts at, and its different texts by code."""

    def __init__(self) -> None:
        self._chunks: list[tuple[int, _Form, NDArray[Any]]] = []
        self._texts: dict[str, int] = {}

    def add(self, values: list[Any], *, start: int) -> None:
        kinds = set(map(type, values)) - {NoneType}
        if not kinds:
            return
        if kinds <= {int, float}:
            form, kept = _numbers(values)
        elif kinds == {bool}:
            form, kept = _Form.BOOLEANS, np.array([GAP if v is None else v for v in values], "i1")
        elif kinds == {str}:
            form, kept = _Form.TEXTS, self._coded(values)
        else:
            form, kept = _Form.OBJECTS, _objects(values)
        self._chunks.append((start, form, kept))

    def whole(self, n_rows: int) -> Any:
        """All values as an array of pandas or numpy; rows that no chunk covers are gaps."""
        import pandas as pd  # jobs and commands only: never in a web process

        forms = {form for _, form, _ in self._chunks}
        if forms <= {_Form.NUMBERS}:
            return self._filled(np.full(n_rows, np.nan))
        if forms == {_Form.BOOLEANS}:
            answers = self._filled(np.full(n_rows, GAP, dtype=np.int8))
            gaps = answers == GAP
            is_true = answers == 1
            return pd.arrays.BooleanArray(is_true, gaps) if gaps.any() else is_true
        if forms == {_Form.TEXTS}:
            codes = self._filled(np.full(n_rows, GAP, dtype=np.int32))
            return pd.Categorical.from_codes(codes, pd.Index(list(self._texts), dtype=object))
        return self._filled(np.full(n_rows, None))

    def _filled(self, whole: NDArray[Any]) -> NDArray[Any]:
        for start, form, kept in self._chunks:
            values = self._as_objects(form, kept) if whole.dtype == object else kept
            whole[start : start + len(values)] = values
        return whole

    def _as_objects(self, form: _Form, kept: NDArray[Any]) -> NDArray[Any]:
        # A gap's code, -1, points at the None in the last place.
        if form is _Form.BOOLEANS:
            return _objects([False, True, None])[kept]
        if form is _Form.TEXTS:
            return _objects([*self._texts, None])[kept]
        return kept.astype(object)

    def _coded(self, values: Sequence[str | None]) -> NDArray[np.int32]:
        codes: dict[str | None, int] = {None: GAP}
        for text in dict.fromkeys(values):
            if text is not None:
                codes[text] = self._texts.setdefault(text, len(self._texts))
        return np.fromiter(map(codes.__getitem__, values), dtype=np.int32, count=len(values))


def _numbers(values: list[Any]) -> tuple[_Form, NDArray[Any]]:
    try:
        return _Form.NUMBERS, np.array(values, dtype=np.float64)
    except OverflowError:  # an integer beyond float64: who learns the column says so
        return _Form.OBJECTS, _objects(values)


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    whole = np.empty(len(values), dtype=object)
    whole[:] = values
    return whole
