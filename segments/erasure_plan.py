"""What models keep of customers who are to be erased, and the artifacts that keep nothing of them.

Everything here happens outside a transaction and changes no row: new artifacts are written beside
the old ones. All customers who stay are read once, to see what is theirs as well and that they stay
in their segments.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from django.db import DatabaseError
from django.utils import timezone

from ml.clusterers import FloatArray
from ml.encoder import FeatureEncoder
from ml.features import FeatureSchema, Kind, RawColumns
from ml.forgetting import Forgotten, forget_rows, held_rows
from ml.owners import Digests
from ml.traces import (
    Traces,
    json_without,
    profile_without,
    renamed_levels,
    schema_without,
)
from modelregistry import artifacts
from modelregistry.activation import artifact_of
from modelregistry.artifacts import TrainedModel
from modelregistry.models import ModelVersion, Stage
from modelregistry.rewriting import Replacement, rewrite
from segments.customer_digests import owner_digests
from segments.models import Customer, VersionSegment

CHUNK = 20_000
"""Customers read at a time."""
DESCRIBED = ("medians", "features", "distinguishing", "rule")
"""What a described segment says of features."""
LONGEST_REQUEST = timedelta(seconds=30)
"""Customers dated before the reading by less may have been committed after it."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True)
class VersionPlan:
    """One version without the customers; `replacement` is None where its artifact stays.

    `forgotten` is None where no core sample or centre is or was theirs; its rows are `ids`,
    customers who stay, and their `revisions`.
    """

    version: ModelVersion
    model: TrainedModel
    replacement: Replacement | None
    forgotten: Forgotten | None
    traces: Traces
    ids: Sequence[str] = ()
    revisions: Sequence[int] = ()

    @property
    def renamed_levels(self) -> dict[str, dict[str, str]]:
        """By feature the levels of them alone, with their names from now on."""
        schema = self.model.encoder.schema
        return renamed_levels(schema, schema_without(schema, self.traces))


@dataclass(frozen=True)
class Plan:
    """What changes in models; `read_from` is from when on a change of customers was not seen.

    `versions` are those that change, `hashes` say by version what all trained ones were.
    """

    read_from: datetime
    versions: Sequence[VersionPlan]
    hashes: Mapping[int, str]
    directory: Path

    def discard(self) -> None:
        """Remove the new artifacts that no row names: a failure may come after the commit."""
        names = [each.replacement.after.name for each in self.versions if each.replacement]
        try:
            named = set(
                ModelVersion.objects.filter(artifact__in=names).values_list("artifact", flat=True)
            )
        except DatabaseError:  # who sweeps strays will know
            return
        for name in names:
            if name not in named:
                (self.directory / name).unlink(missing_ok=True)


def plan_erasure(customers: Collection[Customer], *, directory: Path, secret: str) -> Plan:
    """Look through all trained versions and write the artifacts that are to replace theirs.

    Raises `DamagedArtifact` for a file that is there and cannot be read: what it holds is unknown.
    """
    read_from = timezone.now() - LONGEST_REQUEST
    gone = [_decode(customer.attributes_json) for customer in customers]
    digests = owner_digests([customer.pk for customer in customers], secret=secret)
    versions = list(ModelVersion.objects.trained().order_by("pk"))
    views = [
        _View.of(version, artifacts.read(artifact_of(version), directory=directory), gone, digests)
        for version in versions
        if (directory / version.artifact).exists()
    ]
    concerned = [view for view in views if view.is_concerned()]
    if concerned:
        for ids, records, revisions in _others({customer.pk for customer in customers}):
            for view in concerned:
                view.look_at(ids, records, revisions)
            # Most have only what others have too, and the first of these show it.
            concerned = [view for view in concerned if view.is_concerned()]
            if not concerned:
                break
    plan = Plan(
        read_from,
        plans := [],
        {version.pk: version.artifact_sha256 for version in versions},
        directory,
    )
    try:
        for view in concerned:
            plans.append(view.planned(directory, secret=secret))
    except BaseException:
        plan.discard()
        raise
    return plan


def everything_of(schema: FeatureSchema, records: Sequence[Mapping[str, Any]]) -> Traces:
    """Each value of some customers that a version may have kept as it is."""
    raw = FeatureEncoder(schema).raw_from_records(records, strict=False)
    numbers: dict[str, set[float]] = {}
    texts: dict[str, set[str]] = {}
    for feature in schema.features:
        known = raw[feature.name][~np.isnan(raw[feature.name])]
        if feature.kind is Kind.CATEGORY:
            levels = (*feature.levels, *feature.rare_levels)
            codes = known[known >= 0].astype(np.int64)
            texts[feature.name] = {levels[code] for code in codes.tolist()}
        elif feature.kind is not Kind.BOOLEAN:
            numbers[feature.name] = set(known.tolist())
    return Traces(numbers, texts)


@dataclass
class _View:
    """One version while the customers who stay are read."""

    version: ModelVersion
    model: TrainedModel
    gone: FloatArray
    gone_digests: Digests
    traces: Traces
    needs_rows: bool
    X: list[FloatArray] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    revisions: list[int] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        version: ModelVersion,
        model: TrainedModel,
        gone: Sequence[Mapping[str, Any]],
        digests: Digests,
    ) -> _View:
        raw = model.encoder.raw_from_records(gone, strict=False)
        X = model.encoder.encode(raw)[~model.encoder.missing_required(raw)]
        traces = everything_of(model.encoder.schema, gone)
        needs_rows = bool(held_rows(model.clusters, X, digests))
        return cls(version, model, X, digests, traces, needs_rows)

    def is_concerned(self) -> bool:
        """Whether the version keeps anything that could be theirs."""
        schema, profile = self.model.encoder.schema, self.model.profile
        return (
            self.needs_rows
            or schema_without(schema, self.traces) != schema
            or profile_without(profile, self.traces) != profile
            or any(True for _ in segments_without(self.version, self.traces))
        )

    def look_at(
        self, ids: Sequence[str], records: Sequence[Mapping[str, Any]], revisions: Sequence[int]
    ) -> None:
        """Take in customers who stay: what they have too is no trace."""
        encoder = self.model.encoder
        raw = encoder.raw_from_records(records, strict=False)
        self.traces = _unshared(self.traces, raw, encoder.schema)
        if self.needs_rows:
            usable = ~encoder.missing_required(raw)
            self.X.append(encoder.encode(raw)[usable])
            rows = np.flatnonzero(usable).tolist()
            self.ids += [ids[row] for row in rows]
            self.revisions += [revisions[row] for row in rows]

    def planned(self, directory: Path, *, secret: str) -> VersionPlan:
        forgotten = None
        if self.needs_rows:
            others = np.concatenate([np.empty((0, self.gone.shape[1])), *self.X])
            rng = np.random.default_rng()  # from the operating system: it cannot be drawn again
            forgotten = forget_rows(
                self.model.clusters,
                self.gone,
                others,
                rng=rng,
                gone_digests=self.gone_digests,
                digests_of=lambda rows: owner_digests(
                    [self.ids[row] for row in rows.tolist()], secret=secret
                ),
            )
        replacement = rewrite(
            self.version,
            self.model,
            clusters=forgotten.model if forgotten else self.model.clusters,
            traces=self.traces,
            directory=directory,
        )
        return VersionPlan(
            self.version,
            self.model,
            replacement,
            forgotten,
            self.traces,
            [self.ids[row] for row in forgotten.rows] if forgotten else (),
            [self.revisions[row] for row in forgotten.rows] if forgotten else (),
        )


def segments_without(
    version: ModelVersion, traces: Traces
) -> Iterator[tuple[VersionSegment, dict[str, Any]]]:
    """Described segments of a version that hold traces, with their fields without."""
    traces = with_days(traces, FeatureSchema.from_dict(version.schema))
    for segment in version.segments.all():
        fields = {name: getattr(segment, name) for name in DESCRIBED}
        without = {name: json_without(value, traces) for name, value in fields.items()}
        if without != fields:
            yield segment, without


def with_days(traces: Traces, schema: FeatureSchema) -> Traces:
    """The traces with each day as it is described to people."""
    days = {
        each.name: {
            (schema.as_of - timedelta(days=round(value))).isoformat()
            for value in traces.numbers[each.name]
        }
        for each in schema.features
        if each.kind is Kind.DATE
    }
    return Traces(traces.numbers, {**traces.texts, **days})


def failed_versions_without(
    records: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[ModelVersion, dict[str, Any]]]:
    """Failed versions, which nobody serves from, with their schema without anything of records."""
    for version in ModelVersion.objects.filter(stage=Stage.FAILED):
        schema = FeatureSchema.from_dict(version.schema)
        without = schema_without(schema, everything_of(schema, records))
        if without != schema:
            yield version, without.to_dict()


def _unshared(traces: Traces, raw: RawColumns, schema: FeatureSchema) -> Traces:
    """The traces that nobody in raw columns has."""
    numbers = {
        name: {value for value in values if not np.any(raw[name] == value)}
        for name, values in traces.numbers.items()
    }
    levels = {each.name: (*each.levels, *each.rare_levels) for each in schema.features}
    texts = {
        name: {text for text in values if not np.any(raw[name] == levels[name].index(text))}
        for name, values in traces.texts.items()
    }
    return Traces(numbers, texts)


def _others(
    gone: set[str],
) -> Iterator[tuple[list[str], list[dict[str, Any]], list[int]]]:
    rows = Customer.objects.order_by("customer_id").values_list(
        "customer_id", "attributes_json", "revision"
    )
    stream = (row for row in rows.iterator(chunk_size=CHUNK) if row[0] not in gone)
    while chunk := list(islice(stream, CHUNK)):
        ids, texts, revisions = map(list, zip(*chunk, strict=True))
        yield ids, list(map(_decode, texts)), revisions
