"""Who is compared with the reference: stored customers of a window, a file, or those of a request.

They are read as a stream and turned into the engine's raw columns batch by batch; of very many a
sample stands for all. digest: what a customer's id is known by afterwards, to whoever has the key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from ml.encoder import FeatureEncoder
from ml.features import RawColumns
from ml.records import ID_FIELD, InvalidRecords, RecordProblem
from modelregistry.models import ModelVersion
from monitoring.models import DriftReport, Source, Verdict
from segments.models import Customer
from segments.tables import CustomerTable

MAX_CURRENT = 50_000
"""Customers compared at the most: the standard error of a share is then below 0.0023, a tenth of
the floors, so that the luck of one sample is never a finding."""
CHUNK = 5_000
"""Stored customers read at a time."""
DIGEST_BYTES = 8
NOBODY = 0
"""The digest of who was sent without an id, and so cannot be found again."""

GIVEN = (Source.REQUEST, Source.FILE)
"""Customers that somebody hands over for one check, and so may be the wrong ones."""
LEAST_NAMED_SHARE = 1 / 2
"""Of the features, that customers who are handed over must name; by judgement. A feed that lost a
column, or the columns of one source, is a finding; where most are absent the table is another."""
MAX_NAMED = 20
"""Missing features that one sentence names."""

Digests: TypeAlias = NDArray[np.uint64]
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Batch:
    """Some customers: ids, None for who has none, and what `decode` makes a record of."""

    ids: Sequence[str | None]
    rows: Sequence[Any]
    decode: Callable[[Any], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Customers:
    """Current customers yet to be read; each call of `batches` reads them anew."""

    source: Source
    batches: Callable[[], Iterable[Batch]]
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Current:
    """Current customers as the engine sees them.

    Attributes
    ----------
    raw : one float64 (n,) a feature, in raw units; NaN = missing
    digests : uint64 (n,), NOBODY for who has no id
    unreadable : values by feature that were given, but of another type; without zeros
    unnamed : features that no customer has so much as an empty value of
    n_seen : customers there were; n of them are here
    """

    raw: RawColumns
    digests: Digests
    unreadable: dict[str, int]
    unnamed: tuple[str, ...]
    n_seen: int

    @property
    def n_customers(self) -> int:
        return len(self.digests)


def of_records(records: Sequence[Mapping[str, Any]]) -> Customers:
    """The customers of a request's body."""
    ids = [record.get(ID_FIELD) for record in records]
    return Customers(Source.REQUEST, lambda: [Batch(ids, records, _as_it_is)])


def of_table(table: CustomerTable) -> Customers:
    """The good rows of a file."""

    def batches() -> Iterator[Batch]:
        for rows in table.batches():
            ids, records = zip(*rows, strict=True)
            yield Batch(ids, records, _as_it_is)

    return Customers(Source.FILE, batches)


def of_stored(since: datetime, *, source: Source = Source.STORED) -> Customers:
    """The customers stored or changed since a moment.

    A moment that somebody chose makes another source: what is found there says nothing of the
    customers that come in turn.
    """
    found = Customer.objects.filter(updated_at__gte=since).order_by()

    def batches() -> Iterator[Batch]:
        rows = found.values_list("customer_id", "attributes_json").iterator(chunk_size=CHUNK)
        while chunk := list(islice(rows, CHUNK)):
            ids, texts = zip(*chunk, strict=True)
            yield Batch(ids, texts, _decode)

    return Customers(source, batches, since)


def window_start(version: ModelVersion, *, at: datetime, interval: timedelta) -> datetime:
    """From when on a customer is recent: an interval ago, or longer if nobody was judged since.

    So customers too few for one check add up until they are enough.
    """
    judged = DriftReport.objects.exclude(verdict=Verdict.INSUFFICIENT_DATA)
    last = judged.filter(version=version, source=Source.STORED, created_at__lte=at)
    checked_at = last.order_by("-created_at").values_list("created_at", flat=True).first()
    return min(filter(None, (checked_at, at - interval)))


class WrongCustomers(InvalidRecords):
    """The table is another one: most of what the version looks at is not in it."""

    def __init__(self, version: ModelVersion, unnamed: Sequence[str], *, n_features: int) -> None:
        super().__init__(
            [
                RecordProblem(-1, None, "missing-feature", f"no customer has {name}")
                for name in unnamed
            ],
            len(unnamed),
        )
        more = f" and {len(unnamed) - MAX_NAMED} more" if len(unnamed) > MAX_NAMED else ""
        self.sentence = (
            f"These customers cannot be compared: {len(unnamed)} of the {n_features} features of "
            f"{version} are missing: {', '.join(unnamed[:MAX_NAMED])}{more}."
        )

    def __str__(self) -> str:
        return self.sentence


def require_features(current: Current, customers: Customers, version: ModelVersion) -> None:
    """Raise `WrongCustomers` where those handed over name less than half of the features."""
    n_features = len(current.raw)
    n_named = n_features - len(current.unnamed)
    is_given = customers.source in GIVEN and current.n_seen
    if is_given and n_named < LEAST_NAMED_SHARE * n_features:
        raise WrongCustomers(version, current.unnamed, n_features=n_features)


def digests_of(ids: Iterable[str | None], *, key: bytes) -> Digests:
    """Keyed BLAKE2 (RFC 7693) of each id: evenly spread, and no id can be told without the key."""
    keyed = hashlib.blake2b(key=key, digest_size=DIGEST_BYTES)

    def digest(customer_id: str | None) -> bytes:
        if customer_id is None:
            return bytes(DIGEST_BYTES)
        one = keyed.copy()
        one.update(customer_id.encode())
        return one.digest()

    return np.frombuffer(b"".join(map(digest, ids)), dtype="<u8").astype(np.uint64)


def read(
    customers: Customers, encoder: FeatureEncoder, *, key: bytes, limit: int = MAX_CURRENT
) -> Current:
    """Read all of them; keep the `limit` whose digests are smallest.

    Which these are depends on the ids and the key alone: a fair sample, and the same for the same
    customers, in the order of their digests, however they come. Hardly more than twice the limit
    is ever in memory.
    """
    kept = _Kept(encoder, limit)
    n_seen = 0
    for batch in customers.batches():
        n_seen += len(batch.ids)
        kept.add(batch, digests_of(batch.ids, key=key))
    return kept.whole(n_seen)


class _Kept:
    """The customers with the smallest digests so far, and some more until it is worth sorting."""

    def __init__(self, encoder: FeatureEncoder, limit: int) -> None:
        self._encoder = encoder
        self._limit = limit
        self._largest: int | None = None
        self._n_rows = 0
        self._unnamed = [feature.name for feature in encoder.schema.features]
        empty = encoder.raw_from_records([], strict=False)
        self._chunks = [_Chunk(np.empty(0, np.uint64), empty, _unreadable([], empty))]

    def add(self, batch: Batch, digests: Digests) -> None:
        rows = np.arange(len(digests))
        if self._largest is not None:
            rows = np.flatnonzero(digests < self._largest)
        if not len(rows):
            return
        records = [batch.decode(batch.rows[row]) for row in rows.tolist()]
        self._unnamed = [
            name for name in self._unnamed if not any(name in record for record in records)
        ]
        raw = self._encoder.raw_from_records(records, strict=False)
        self._chunks.append(_Chunk(digests[rows], raw, _unreadable(records, raw)))
        self._n_rows += len(rows)
        if self._n_rows > 2 * self._limit:
            self._thin()

    def whole(self, n_seen: int) -> Current:
        self._thin()
        (chunk,) = self._chunks
        counts = {name: int(values.sum()) for name, values in chunk.unreadable.items()}
        found = {name: count for name, count in counts.items() if count}
        return Current(chunk.raw, chunk.digests, found, tuple(self._unnamed), n_seen)

    def _thin(self) -> None:
        whole = _joined(self._chunks)
        order = np.argsort(whole.digests, kind="stable")[: self._limit]
        if self._n_rows > self._limit:
            self._largest = int(whole.digests[order[-1]])
            self._n_rows = self._limit
        self._chunks = [whole.taken(order)]


@dataclass(frozen=True, slots=True)
class _Chunk:
    digests: Digests
    raw: RawColumns
    unreadable: dict[str, NDArray[np.bool_]]

    def taken(self, rows: NDArray[np.intp]) -> _Chunk:
        return _Chunk(
            self.digests[rows],
            {name: values[rows] for name, values in self.raw.items()},
            {name: values[rows] for name, values in self.unreadable.items()},
        )


def _joined(chunks: Sequence[_Chunk]) -> _Chunk:
    names = list(chunks[0].raw)
    return _Chunk(
        np.concatenate([chunk.digests for chunk in chunks]),
        {name: np.concatenate([chunk.raw[name] for chunk in chunks]) for name in names},
        {name: np.concatenate([chunk.unreadable[name] for chunk in chunks]) for name in names},
    )


def _unreadable(
    records: Sequence[Mapping[str, Any]], raw: RawColumns
) -> dict[str, NDArray[np.bool_]]:
    """Mark the values that were given and read as missing; only what reads so is looked at."""
    marks = {}
    for name, values in raw.items():
        marked = np.isnan(values)
        for row in np.flatnonzero(marked).tolist():
            marked[row] = records[row].get(name) is not None
        marks[name] = marked
    return marks


def _as_it_is(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return record
