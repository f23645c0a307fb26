"""What a report was made of: kept so that it can be made again, and without who was erased."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
from django.db import transaction
from safetensors.numpy import load, save

from audit.models import AuditEntry
from ml.drift import DriftResult, Floors, compare
from ml.features import RawColumns
from ml.scored import Scored, score
from modelregistry import activation
from modelregistry.artifacts import TrainedModel
from monitoring.current_customers import Current, digests_of
from monitoring.models import DriftInput, DriftReport, MonitoringPolicy
from segments.assignment import SegmentLabels
from segments.models import Erasure

DIGESTS = "digests"
COLUMN = "column {}"
"""Name of a raw column in the file: its place, for names of features are anything."""
KEY_MARK = "key"
"""Holds its own digest, by which a key is known again."""
ERASURES = ("customer.erased", "customer.deleted")
"""What the trail calls it when customers go; the second in entries of earlier releases."""
LONGEST_REQUEST = timedelta(minutes=5)
COMPRESSION = 1
"""Of zlib: higher levels take four times as long for a tenth less, as measured."""


class NoInput(Exception):
    """The customers that a report compared are no longer kept."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a comparison is given beside the customers; `to_dict` is its JSON."""

    threshold: float
    checks_per_year: float
    previous_subjects: tuple[str, ...]
    floors: Floors
    days_since_training: int
    unreadable: Mapping[str, int]
    labels: SegmentLabels
    random_state: int
    with_all_tables: bool = True

    def to_dict(self) -> dict[str, Any]:
        labels = [[key, self.labels.ids[key], name] for key, name in self.labels.names.items()]
        plain = {name: getattr(self, name) for name in self.__slots__}
        return plain | {
            "previous_subjects": list(self.previous_subjects),
            "floors": asdict(self.floors),
            "unreadable": dict(self.unreadable),
            "labels": labels,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(
            **{name: stored[name] for name in ("threshold", "checks_per_year", "random_state")},
            days_since_training=stored["days_since_training"],
            previous_subjects=tuple(stored["previous_subjects"]),
            floors=Floors(**stored["floors"]),
            unreadable=stored["unreadable"],
            labels=SegmentLabels.named(map(tuple, stored["labels"])),
            with_all_tables=stored.get("with_all_tables", False),  # unknown of earlier releases
        )


def scored_by(model: TrainedModel, raw: RawColumns, *, random_state: int) -> Scored:
    """Customers in the clusters of a version, as its reference was scored."""
    return score(
        model.encoder,
        model.clusters,
        raw,
        random_state=random_state,
        ignores_own_place=model.profile.ignores_own_place,
    )


def compared(
    model: TrainedModel, raw: RawColumns, scored: Scored, arguments: Arguments
) -> tuple[DriftResult, dict[str, Any]]:
    """Compare, and return the result with the report that is stored of it."""
    names = arguments.labels.names
    result = compare(
        model.profile,
        raw,
        scored,
        threshold=arguments.threshold,
        checks_per_year=arguments.checks_per_year,
        previous_subjects=arguments.previous_subjects,
        floors=arguments.floors,
        days_since_training=arguments.days_since_training,
        unreadable=arguments.unreadable,
        segment_names={cluster: name for cluster, name in names.items() if name},
        random_state=arguments.random_state,
        with_all_tables=arguments.with_all_tables,
    )
    return result, named_segments(result.to_dict(), arguments.labels)


def named_segments(report: dict[str, Any], labels: SegmentLabels) -> dict[str, Any]:
    """The report with each cluster under the id and name of its segment."""

    def named(shift: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "segment": labels.ids.get(shift["cluster"]),
            "segment_name": labels.names.get(shift["cluster"]),
            **{key: value for key, value in shift.items() if key != "cluster"},
        }

    return {**report, **{key: list(map(named, report[key])) for key in ("segments", "inside")}}


def packed(current: Current, *, key: bytes) -> bytes:
    """Current customers as they are kept."""
    columns = {COLUMN.format(place): raw for place, raw in enumerate(current.raw.values())}
    marks = {DIGESTS: current.digests, KEY_MARK: digests_of([KEY_MARK], key=key)}
    return _compressed(columns | marks)


def keep(report: DriftReport, content: bytes) -> None:
    """Keep the customers of a report, unless some may have been erased since they were read.

    In the transaction of the report.
    """
    one_writer()
    if not erased_since(report.created_at):
        DriftInput.objects.create(report=report, content=content, n_rows=report.n_current)


def recompute(report: DriftReport, *, directory: Path) -> dict[str, Any]:
    """Make the report again from what was kept; equal to `report.report` while nobody was erased.

    Raises `NoInput`, or `DamagedArtifact` for the version's file.
    """
    kept = DriftInput.objects.filter(report=report).first()
    if kept is None or not report.arguments:
        raise NoInput(f"The customers of report {report.pk} are no longer kept.")
    model = activation.load(report.version, directory=directory)
    names = [feature.name for feature in model.encoder.schema.features]
    raw = _columns_of(kept.content, names)
    arguments = Arguments.from_dict(report.arguments)
    scored = scored_by(model, raw, random_state=arguments.random_state)
    _, again = compared(model, raw, scored, arguments)
    as_stored: dict[str, Any] = json.loads(json.dumps(again))
    return as_stored


@dataclass(frozen=True, slots=True)
class Recomputed:
    """A report made again beside the stored one."""

    is_same: bool
    n_erased: int
    sentence: str


def verify(report: DriftReport, *, directory: Path) -> Recomputed:
    """Make the report again and say whether it is the same. Raises as `recompute`."""
    is_same = recompute(report, directory=directory) == report.report
    n_erased = DriftInput.objects.values_list("n_erased", flat=True).get(report=report)
    if is_same:
        sentence = "Computed again, every figure is the same."
    elif n_erased:
        sentence = (
            f"Computed again it differs: since then {n_erased:,} of its customers were erased."
        )
    elif _is_rewritten(report):
        sentence = (
            "Computed again it differs: since then customers of the version's training were erased."
        )
    else:
        sentence = "Computed again it differs, although it was made of the same customers."
    return Recomputed(is_same, n_erased, sentence)


def _is_rewritten(report: DriftReport) -> bool:
    """Whether an erasure has changed the version's reference since the report was made."""
    own = {"model_type": report.version.model_type, "version": report.version.number}
    receipts = Erasure.objects.filter(erased_at__gte=report.created_at).values_list(
        "receipt", flat=True
    )
    return any(own.items() <= each.items() for receipt in receipts for each in receipt["versions"])


@transaction.atomic
def forget(customer_ids: Iterable[str], *, key: bytes) -> int:
    """Drop these customers from all that is kept; returns the number of rows dropped.

    What was kept under another key (SECRET_KEY was changed) cannot be searched, and goes whole.
    """
    one_writer()
    gone, own_key = digests_of(customer_ids, key=key), digests_of([KEY_MARK], key=key)
    n_dropped = 0
    for pk in list(DriftInput.objects.order_by("pk").values_list("pk", flat=True)):
        kept = DriftInput.objects.get(pk=pk)
        columns = load(zlib.decompress(kept.content))
        if columns.pop(KEY_MARK)[0] != own_key[0]:
            n_dropped += kept.n_rows
            kept.delete()
            continue
        stays = ~np.isin(columns[DIGESTS], gone)
        n_gone = len(stays) - int(stays.sum())
        if n_gone:
            left = {name: values[stays] for name, values in columns.items()}
            kept.content = _compressed({**left, KEY_MARK: own_key})
            kept.n_rows, kept.n_erased = kept.n_rows - n_gone, kept.n_erased + n_gone
            kept.save(update_fields=["content", "n_rows", "n_erased"])
            n_dropped += n_gone
    return n_dropped


def one_writer() -> None:
    """Wait for any other transaction that keeps or forgets customers."""
    MonitoringPolicy.objects.select_for_update().get_or_create(pk=1)


def erased_since(moment: datetime) -> bool:
    """Whether customers were erased after a moment, or in a request that began before it."""
    erasures = AuditEntry.objects.filter(action__in=ERASURES, at__gte=moment - LONGEST_REQUEST)
    return erasures.exists()


def _compressed(columns: dict[str, Any]) -> bytes:
    return zlib.compress(save(columns), COMPRESSION)


def _columns_of(content: bytes | memoryview, names: list[str]) -> RawColumns:
    columns = load(zlib.decompress(content))
    return {name: columns[COLUMN.format(place)] for place, name in enumerate(names)}
